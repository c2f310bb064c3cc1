"""What a model folder or GGUF file is taken for: read like a target, but nothing is kept."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.models.config import LlamaConfig, sliding_windows
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.hf_folder import read_config, weight_files
from selfdraft.sources.hf_tokenizer import read_hf_tokenizer
from selfdraft.sources.labelled import labelled_chat
from selfdraft.sources.plain_model import PlainModel
from selfdraft.sources.reference import policy_of
from selfdraft.sources.target import read_model, write_settings

CHAT = ({"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi there."})


def survey_model(path: Path) -> Iterator[str]:
    """Lines for people: family, sizes, head, rope, ends of answers, chat template, and what is not supported.

    Raises StudyError, after what can be said, for a model that `target` would refuse.
    """
    yield f"{path}: a model"
    try:
        model = read_model(path, None)
    except StudyError as error:
        if (path / "config.json").is_file():
            yield from refused_folder(path, str(error))
        raise
    config = LlamaConfig.from_dict(model.config, f"{path}/config.json")
    weights = sum(tensor.numel() for tensor in model.state.values())
    yield f"  family: {config.model_type}, {config.n_layers} layers, hidden {config.hidden_size}, {weights:,} weights"
    windows = [window for window in sliding_windows(model.config, config.model_type, str(path)) if window is not None]
    slides = f", where {len(windows)} layers begin to slide" if config.max_positions in windows else ""
    with TemporaryDirectory() as folder:
        write_settings(Path(folder), model)
        chat = ChatTokenizer.from_folder(folder)
    head = "the embedding itself (tied)" if config.tied else "of its own"
    yield f"  head: {head}, {config.vocab_size:,} rows for {chat.tokenizer.get_vocab_size():,} tokens"
    if "head" in model.notes:
        yield f"  {model.notes['head']}"
    yield f"  rope: {config.rope['rope_type']}; context {config.max_positions:,} tokens{slides}"
    yield f"  answers end with: {', '.join(f'{chat.tokenizer.id_to_token(end)} ({end})' for end in chat.eos_ids)}"
    yield from template_lines(model, chat)
    if asked := policy_of(model.generation_config):
        said = ", ".join(f"{key} {value}" for key, value in asked.items())
        yield f"  not applied: {said} of generation_config.json; the policies of a study alone are"
    yield "  unsupported: nothing found; `target` also compares its token ids and logits with transformers'"


def template_lines(model: PlainModel, chat: ChatTokenizer) -> Iterator[str]:
    """What the chat template is, and one chat as it writes it."""
    marks = "marks answers itself" if chat.marks_answers else "answers are found by their place"
    yield f"  chat template: {len(model.template):,} characters; {marks}; a chat, labels marked:"
    try:
        yield labelled_chat(chat, CHAT).rstrip("\n")
    except StudyError as error:
        yield f"  {error}"


def refused_folder(path: Path, reason: str) -> Iterator[str]:
    """What a folder's config.json says of it, and what else of it is refused beside the `reason`."""
    raw: Any = {}
    for look in (lambda: read_json(path / "config.json"), *looks(path)):
        try:
            raw = look() or raw
        except StudyError as error:
            if str(error) != reason:
                yield f"  unsupported: {error}"
    if isinstance(raw, dict):
        told = ("model_type", "num_hidden_layers", "hidden_size", "vocab_size")
        yield "  " + ", ".join(f"{key} {raw.get(key, 'unknown')}" for key in told)


def looks(path: Path) -> tuple[Callable[[], Any], ...]:
    """The parts of a folder, each of which is refused on its own."""

    def config() -> None:
        LlamaConfig.from_dict(read_config(path / "config.json"), f"{path}/config.json")

    def weights() -> None:
        weight_files(path)

    def tokenizer() -> None:
        read_hf_tokenizer(path)

    return config, weights, tokenizer
