"""A tiny random target and small conversations in exactly the formats the stages read.

`python tests/tiny.py OUT_DIR` writes OUT_DIR/target and OUT_DIR/conversations.json.
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

SUBJECTS = {
    "a bicycle": ("its chain", "ride", "oil"),
    "a vegetable garden": ("the soil", "plant", "compost"),
    "a sourdough loaf": ("the starter", "bake", "flour"),
    "a small web server": ("the log file", "restart", "memory"),
    "a school timetable": ("the lunch break", "plan", "time"),
    "an old violin": ("the bow", "tune", "rosin"),
    "a mountain walk": ("the weather", "prepare", "water"),
    "a python script": ("the loop", "debug", "a test"),
    "a family budget": ("the rent", "review", "savings"),
    "a chess opening": ("the centre", "study", "patience"),
    "a rain barrel": ("the filter", "clean", "a lid"),
    "a short story": ("the first line", "write", "a reader"),
}
QUESTIONS = (
    "How do I {verb} {subject} for the first time?",
    "What should I know about {part} of {subject} before I start?",
    "I have {subject} at home and {part} worries me. Can you explain what to do?",
    "Give me {number} tips to {verb} {subject}, please.",
    "Why does everyone say that {need} is so important for {subject}?",
)
ANSWERS = (
    "Start with {part}. Look at it for {number} minutes, and then decide whether you need {need}.",
    "The best way to {verb} {subject} is to be slow and careful: first {part}, then the rest of it.",
    "Most people forget {need}. You will need about {number} times more of it than you think.",
    "It is easier than it looks. When {part} is in order, you can {verb} it every week without trouble.",
    "There are {number} steps. First, check {part}. Second, find {need}. After that you only repeat them.",
    "If {part} still gives you trouble on day {number}, ask somebody who has worked with {subject} before.",
)
FOLLOW_UPS = (
    "Thank you. And what about {need}?",
    "That was clear. How often should I check {part}?",
    "Could you say that again in {number} words?",
    "What is the most common mistake with {subject}?",
)


def conversations(n: int, seed: int = 0) -> list[dict[str, Any]]:
    """`n` ShareGPT-shaped records with ids `BASE_N`; about every third long chat is split in two pieces."""
    rng = random.Random(seed)
    records: list[dict[str, Any]] = []
    base = 0
    while len(records) < n:
        for piece in range(rng.choice((1, 1, 2))):
            subject = rng.choice(list(SUBJECTS))
            part, verb, need = SUBJECTS[subject]

            def say(
                frames: tuple[str, ...],
                count: int = 1,
                words: dict[str, str] = dict(subject=subject, part=part, verb=verb, need=need),  # noqa: B006, C408
            ) -> str:
                chosen = rng.sample(frames, count)
                return " ".join(frame.format(number=rng.randint(2, 30), **words) for frame in chosen)

            turns = []
            for turn in range(rng.randint(1, 3)):
                turns.append({"from": "human", "value": say(FOLLOW_UPS if turn else QUESTIONS)})
                turns.append({"from": "gpt", "value": say(ANSWERS, rng.randint(2, 5))})
            records.append({"id": f"t{base:04d}_{piece}", "conversations": turns})
        base += 1
    return records[:n]


def tiny_conversations(path: str | Path, n: int = 60, seed: int = 0) -> Path:
    """Write `n` conversations as one JSON list, the shape of the ShareGPT file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(conversations(n, seed), indent=1), encoding="utf-8")
    return path


def tiny_tokenizer(vocab_size: int = 512) -> Tokenizer:
    """A byte-level BPE tokenizer trained on the tiny conversations; ids 0, 1, 2 are the special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [turn["value"] for record in conversations(80, seed=1) for turn in record["conversations"]]
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tiny_target(folder: str | Path, seed: int = 0, **config: Any) -> Path:
    """Write a random Llama target in the plain format of `selfdraft target`.

    `config` overrides keys of config.json (hidden_size, num_hidden_layers, tie_word_embeddings, …).
    Weights are bf16 and large enough that next-token distributions are far from uniform.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "dtype": "bfloat16",
    } | config
    settings.setdefault("head_dim", settings["hidden_size"] // settings["num_attention_heads"])
    save_file(random_weights(settings, seed), folder / "model.safetensors", metadata={"format": "pt"})
    files = {
        "config.json": settings,
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": settings["eos_token_id"]},
        "tokenizer_config.json": {
            "bos_token": TURN_START,
            "eos_token": TURN_END,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
        "source.json": {"kind": "path", "name": folder.name, "note": f"random weights, seed {seed}"},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    return folder


def random_weights(settings: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """State dict with transformers' Llama names, bf16, from its own generator."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * std).to(torch.bfloat16)

    hidden, inner, vocab = (settings[key] for key in ("hidden_size", "intermediate_size", "vocab_size"))
    queries = settings["num_attention_heads"] * settings["head_dim"]
    keys = settings["num_key_value_heads"] * settings["head_dim"]
    state = {"model.embed_tokens.weight": normal(vocab, hidden, std=0.3)}
    for layer in range(settings["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        for part, rows, columns in (
            ("self_attn.q_proj", queries, hidden),
            ("self_attn.k_proj", keys, hidden),
            ("self_attn.v_proj", keys, hidden),
            ("self_attn.o_proj", hidden, queries),
            ("mlp.gate_proj", inner, hidden),
            ("mlp.up_proj", inner, hidden),
            ("mlp.down_proj", hidden, inner),
        ):
            state[f"{name}.{part}.weight"] = normal(rows, columns, std=columns**-0.5)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            state[f"{name}.{norm}.weight"] = 1 + normal(hidden, std=0.1)
    state["model.norm.weight"] = 1 + normal(hidden, std=0.1)
    if not settings["tie_word_embeddings"]:
        state["lm_head.weight"] = normal(vocab, hidden, std=0.3)
    return state


def main(out_dir: str) -> None:
    """Write OUT_DIR/target, OUT_DIR/small (a draft model for it) and OUT_DIR/conversations.json."""
    tiny_target(Path(out_dir) / "target")
    tiny_target(Path(out_dir) / "small", seed=1, num_hidden_layers=2)
    tiny_conversations(Path(out_dir) / "conversations.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
