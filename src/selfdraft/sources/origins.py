"""Which chat or document an item came from, and the split of these origins into train, validation and held-out.

ShareGPT cuts long chats into records `BASE_0`, `BASE_1`, …, and the same chat was often uploaded under
several bases; news and web pages come in several versions. A split by record, or by base alone, would
train on what it is measured on.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Protocol

from selfdraft.sources.cleaning import Conversation

PIECE = re.compile(r"(.+?)(?:_\d+)?(?:#\d+)?")
LONG_EXCHANGE = 200  # characters of question and answer, or of a paragraph, that are not shared by chance


class HasId(Protocol):
    """An item of any shape: its id is unique among the kept ones."""

    @property
    def id(self) -> str:
        """The id."""


def base_of(identity: str) -> str:
    """BASE of `BASE_N`, `BASE#2` and `BASE_N#2`; an id of another form is its own base."""
    piece = PIECE.fullmatch(identity)
    return piece[1] if piece else identity


def origins_of(conversations: Sequence[Conversation]) -> list[str]:
    """The origin of each conversation: its base, one name for all bases that share a long exchange.

    An exchange is a question with its answer, word for word, of at least LONG_EXCHANGE characters.
    The name is the alphabetically first base of the group.
    """
    passages = []
    for conversation in conversations:
        texts = [message["content"] for message in conversation.messages]
        exchanges = zip(texts[::2], texts[1::2], strict=True)
        passages.append([pair for pair in exchanges if len(pair[0]) + len(pair[1]) >= LONG_EXCHANGE])
    return joined([base_of(conversation.id) for conversation in conversations], passages)


def joined(bases: Sequence[str], passages: Iterable[Iterable[Hashable]]) -> list[str]:
    """The origin of each item, of its base and what it shares: one name for all bases with a common passage."""
    parent: dict[str, str] = {}

    def root(base: str) -> str:
        while parent.setdefault(base, base) != base:
            parent[base] = parent[parent[base]]
            base = parent[base]
        return base

    owner: dict[Hashable, str] = {}
    for base, shared in zip(bases, passages, strict=True):
        for passage in shared:
            first, second = sorted((root(base), root(owner.setdefault(passage, base))))
            parent[second] = first
    return [root(base) for base in bases]


def chats_in_turn(groups: Mapping[str, Sequence[HasId]], seed: int, purpose: str) -> list[str]:
    """Ids in shuffled order, one of each origin first, then the second ones, and so on.

    So that a chat of hundreds of pieces counts no more than others while there are others. Items of any
    shape have their turn so.
    """
    ids = shuffled((row.id for rows in groups.values() for row in rows), seed, purpose)
    origin = {row.id: name for name, rows in groups.items() for row in rows}
    taken: Counter[str] = Counter()
    rounds: dict[str, int] = {}
    for identity in ids:
        rounds[identity] = taken[origin[identity]]
        taken[origin[identity]] += 1
    return sorted(ids, key=rounds.__getitem__)


def shuffled(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """Names without repeats in an order that looks random and depends on seed, purpose and name alone."""
    return sorted(set(names), key=lambda name: (hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest(), name))


def split_origins(
    origins: Iterable[str], seed: int, held_out_fraction: float, validation_share: float
) -> dict[str, list[str]]:
    """Origins of train, validation and held_out, disjoint, each in shuffled order.

    `held_out_fraction` of the origins stay out of training; `validation_share` of those are for
    the training log. With three origins or more no split is empty.
    """
    order = shuffled(origins, seed, "split")
    out = min(max(2, round(held_out_fraction * len(order))), max(0, len(order) - 1))
    validation = min(max(1, round(validation_share * out)), max(0, out - 1))
    return {
        "train": order[out:],
        "validation": order[:validation],
        "held_out": order[validation:out],
    }
