"""Trees of messages (OpenAssistant) -> the one conversation that follows the best-ranked reply at every turn."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any


def is_tree(record: Any) -> bool:
    """Whether a record is a tree: a first message, `prompt`, with `replies` that have replies themselves."""
    root = record.get("prompt") if isinstance(record, dict) else None
    return isinstance(root, dict) and "text" in root and "role" in root


def best_path(root: dict[str, Any]) -> list[tuple[str, str]]:
    """(role, text) from the root along the best replies: rank 0 before 1, unranked ones last, deleted ones never."""
    path: list[tuple[str, str]] = []
    node: dict[str, Any] | None = root
    while node is not None:
        path.append((str(node.get("role")), str(node.get("text") or "")))
        replies = [reply for reply in node.get("replies") or [] if isinstance(reply, dict) and not reply.get("deleted")]
        node = min(replies, key=rank_of, default=None)
    return path


def rank_of(message: dict[str, Any]) -> float:
    """The rank of a reply among its siblings, 0 the best; infinite if it has none."""
    rank = message.get("rank")
    return float("inf") if rank is None else float(rank)


def joined_messages(records: Iterable[Any]) -> Iterator[Any]:
    """Rows of single messages joined to trees; records of any other kind pass as they are.

    Rows may come in any order, so all are read first. A message whose parent is not among them begins
    a tree of its own, under the same tree id.
    """
    records = iter(records)
    first = next(records, None)
    if first is None:
        return iter(())
    everything = chain([first], records)
    if isinstance(first, dict) and {"message_id", "parent_id"} <= set(first):
        return trees(everything)
    return everything


def trees(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """One record {message_tree_id, prompt, lang} for each message without a parent here, in order of the rows."""
    messages = [dict(row) for row in rows if isinstance(row, dict)]
    known = {message.get("message_id") for message in messages}
    replies: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    roots: list[dict[str, Any]] = []
    for message in messages:
        parent = message.get("parent_id")
        (replies[parent] if parent in known else roots).append(message)
    for message in messages:
        message["replies"] = replies[message.get("message_id")]
    for root in roots:
        tree = root.get("message_tree_id") or root.get("message_id")
        yield {"message_tree_id": tree, "prompt": root, "lang": root.get("lang")}
