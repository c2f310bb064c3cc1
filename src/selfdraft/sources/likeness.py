"""The last check of a target: its token ids and logits are those of transformers on the source itself."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from selfdraft.errors import StudyError
from selfdraft.models.llama import load_target
from selfdraft.sources.chat import ChatTokenizer, TemplateError
from selfdraft.sources.plain_model import PlainModel
from selfdraft.sources.reference import load_tokenizer

# Real text and odd: what tokenizers are known to disagree on.
TEXTS = (
    "The water of the river rose all night, and by morning the old bridge stood alone in the fields.",
    "Don't say it's 3.14159 or 2,718,281 -- say “42”; they'll've known since 1999–2024!",
    "def f(x):\n    if x is None:\n\t\treturn {'a': [1, 2], \"b\": x ** 2}  # done\r\n\n\n    return -x\n",
    "  two leading blanks,\ttabs\t\tand three trailing   ",
    "Straße, naïve café, cafe\u0301, ﬁn, İstanbul, εὐχαριστώ",
    "Привет, мир! 你好，世界。こんにちは 안녕 مرحبا שלום नमस\u094dत\u0947",
    "🙂 👨\u200d👩\u200d👧 🇫🇷 ❤\ufe0f € ≈ ∞ 𝔘",
    "https://example.org/a_b?c=%20d&e#f user@example.com C:\\Users\\x ../y <b>bold</b> $\\frac{1}{2}$",
    "\u00a0non-breaking\u200bzero-width\ufeffmark\u2028line\u0085next\x0bpage\x0c\x07 end",
    "AAAAAAAAAAAAAAAAaaaaaaaaaaaaaaaa----------------________________!!!!!!!!",
    "",
    " ",
    "\n",
)
CHATS = (
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "user", "content": " What's 2 + 2? "},
        {"role": "assistant", "content": "It is 4.\n"},
        {"role": "user", "content": "Thanks \U0001f642"},
    ],
)
TOKENS = 320  # whose logits are compared
SIZE = 1.5e9  # weights that are compared at once in float32: of a larger model the first layers alone
WITHIN = 0.01  # of the logits' standard deviation: twenty times what the order of float32 sums makes


def check_likeness(folder: Path, model: PlainModel, source: Path) -> dict[str, Any]:
    """What source.json says of the comparison of the target in `folder` with transformers' reading of `source`.

    Raises StudyError that names what differs: the text, or the logits.
    """
    chat = ChatTokenizer.from_folder(folder)
    ids = same_ids(chat, (model.stock_tokenizer or (lambda: load_tokenizer(folder)))(), source)
    layers = same_logits(folder, model, ids, source)
    compared = {"transformers": version("transformers"), "texts": len(TEXTS) + len(CHATS), "tokens": len(ids)}
    return compared | {"layers": layers, "logits_within": f"{WITHIN} of their standard deviation"}


def same_ids(chat: ChatTokenizer, stock: Any, source: Path) -> list[int]:
    """Ids of all texts, one after the other. Raises StudyError for the first text whose ids are others."""
    texts = [*TEXTS, *(f"a{token} b" for token in chat.special_tokens[:20])]
    for messages in CHATS:
        for prompt in (False, True):
            theirs = rendered_by(stock, messages, prompt)
            try:
                ours: str | None = chat.render(messages, add_generation_prompt=prompt)
            except TemplateError:
                ours = None
            if ours != theirs:
                raise StudyError(
                    f"{source}: chat template: {messages[0]['content']!r} becomes {ours!r:.150} here and "
                    f"{theirs!r:.150} in transformers; expected the same"
                )
            texts += [ours] if ours else []
    found: list[int] = []
    for text in texts:
        mine, its = chat.encode(text), list(stock(text, add_special_tokens=False)["input_ids"])
        if mine != its:
            at = next((n for n, (a, b) in enumerate(zip(mine, its, strict=False)) if a != b), min(len(mine), len(its)))
            raise StudyError(
                f"{source}: tokenizer.json: {text!r:.100} has the ids {mine[at : at + 4]} here and "
                f"{its[at : at + 4]} in transformers from token {at} on; expected the same"
            )
        found += mine
    return found


def rendered_by(stock: Any, messages: list[dict[str, str]], prompt: bool) -> str | None:
    """transformers' rendering of a chat; None if its template refuses it."""
    try:
        return str(stock.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))
    except Exception:  # templates raise what they like
        return None


@torch.inference_mode()
def same_logits(folder: Path, model: PlainModel, ids: list[int], source: Path) -> int:
    """How many layers were compared. Raises StudyError if the logits after them are not transformers'."""
    theirs = model.stock_model()
    weights = sum(tensor.numel() for tensor in model.state.values())
    depth = len(theirs.model.layers)
    if weights > SIZE:
        layer = sum(tensor.numel() for tensor in theirs.model.layers[0].parameters())
        depth = min(depth, max(2, int((SIZE - (weights - depth * layer)) / layer)))
    theirs.model.layers = theirs.model.layers[:depth]
    ours = load_target(folder, torch.float32, layers=depth)
    tokens = torch.tensor([ids[: min(TOKENS, ours.config.max_positions)]])
    expected = theirs.float()(tokens, use_cache=False).logits[0]
    found = ours(tokens)[0]
    off = (found - expected).abs().amax(-1)
    if not bool(off.max() <= WITHIN * expected.std()):
        at = int(off.nan_to_num(nan=float("inf")).argmax())
        raise StudyError(
            f"{source}: logits differ from transformers' by up to {float(off[at]):.3g} (their standard deviation is "
            f"{float(expected.std()):.3g}), most after token {at}; expected the same: a setting of config.json is read "
            "otherwise there"
        )
    return depth
