"""A teacher that is not the target itself: any model with the same vocabulary."""

from typing import TYPE_CHECKING

from selfdraft.errors import StudyError

if TYPE_CHECKING:
    from selfdraft.models.llama import Llama


def load_teacher(folder: str | None, target_folder: str, target: "Llama") -> "Llama | None":
    """The teacher in `folder`, in the target's number format and on its device; None without a folder.

    Raises StudyError if it has not the same tokens under the same ids.
    """
    if folder is None:
        return None
    from pathlib import Path

    from selfdraft.models.llama import load_target
    from selfdraft.sources.chat import read_tokenizer

    teacher = load_target(folder, target.dtype, target.device)
    ours, theirs = target.config.vocab_size, teacher.config.vocab_size
    if ours != theirs:
        raise StudyError(
            f"--teacher: {folder} has {theirs} tokens, the target {ours}; a teacher needs the same vocabulary"
        )
    tokens = [read_tokenizer(Path(place) / "tokenizer.json").get_vocab() for place in (target_folder, folder)]
    if tokens[0] != tokens[1]:
        text = min((text for text, number in tokens[0].items() if tokens[1].get(text) != number), default="")
        raise StudyError(
            f"--teacher: {folder} has another vocabulary: {text!r} is token {tokens[0].get(text)} of the target and "
            f"{tokens[1].get(text)} of the teacher"
        )
    return teacher
