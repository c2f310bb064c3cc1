"""Which chat or document an item came from, and the split of these origins into train, validation and held-out.

ShareGPT cuts long chats into records `BASE_0`, `BASE_12`, …, numbered by the turn that they begin with, and the
same chat was often uploaded under several bases; news and web pages come in several versions. A split by
record, or by base alone, would train on what it is measured on. But `identity_0`, `identity_1`, … are chats
that have nothing in common but the name of their set: pieces are told from these by their numbers.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

from selfdraft.sources.cleaning import Conversation

PIECE = re.compile(r"(.+?)(?:_\d+)?(?:#\d+)?")
NUMBER = re.compile(r"_(\d{1,15})(?:#\d+)?\Z")
FEW = 12  # records of a base that need no numbers of turns to be pieces,
MOST_A_BASE = 3  # where a base has so many on average, and not more
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
    """The origin of each conversation: its base if that is one chat in pieces, else its own id.

    One name for all that share a long exchange: a question with its answer, word for word, of at least
    LONG_EXCHANGE characters. The name is the alphabetically first of the group.
    """
    passages = []
    for conversation in conversations:
        texts = [message["content"] for message in conversation.messages]
        exchanges = zip(texts[::2], texts[1::2], strict=True)
        passages.append([pair for pair in exchanges if len(pair[0]) + len(pair[1]) >= LONG_EXCHANGE])
    whole = bases_in_pieces(conversations)
    names = [base_of(row.id) if base_of(row.id) in whole else row.id for row in conversations]
    return joined(names, passages)


def bases_in_pieces(conversations: Sequence[Conversation]) -> set[str]:
    """The bases whose records are pieces of one chat.

    By their numbers: a third of the pieces begin at the turn where the piece before them ends (one
    earlier if they begin with an answer, whose question that one has too). A few records of a base,
    where the set has many bases, are taken for pieces without such numbers: some are numbered 0, 1, …,
    and of some the neighbours were dropped.
    """
    groups: dict[str, list[Conversation]] = defaultdict(list)
    for row in conversations:
        groups[base_of(row.id)].append(row)
    many_bases = len(conversations) <= MOST_A_BASE * len(groups)
    return {
        base
        for base, rows in groups.items()
        if (many_bases and len(rows) <= FEW) or continued(rows) >= max(1, (len(rows) - 1) / 3)
    }


def continued(rows: Sequence[Conversation]) -> int:
    """How many records of one base begin at the turn where the one with the next lower number ends."""
    numbered = [(int(piece[1]), row) for row in rows if (piece := NUMBER.search(row.id))]
    numbered.sort(key=lambda pair: pair[0])
    return sum(
        later + behind.begins_with_answer == number + row.turns for (number, row), (later, behind) in pairwise(numbered)
    )


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
