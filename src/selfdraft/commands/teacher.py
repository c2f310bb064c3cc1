"""A teacher that is not the target itself: any model with the same tokens, whatever its padding rows."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfdraft.models.llama import Llama


def load_teacher(folder: str | None, target_folder: str, target: "Llama") -> "Llama | None":
    """The teacher in `folder`, in the target's number format and on its device; None without a folder.

    Raises StudyError if it has not the same tokens under the same ids.
    """
    if folder is None:
        return None
    from selfdraft.models.llama import load_target
    from selfdraft.models.vocabulary import check_same_tokens

    check_same_tokens(target_folder, folder, "--teacher")
    return load_target(folder, target.dtype, target.device)
