"""Records from anywhere -> sequences and prompts on disk, split by origin, every loss counted."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfdraft.errors import StudyError
from selfdraft.files import whole_folder
from selfdraft.models.config import LlamaConfig
from selfdraft.sequences import SPLITS, pack, write_sequences
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.data_files import read_source
from selfdraft.sources.data_settings import (
    ALONE,
    EVALUATION_ONLY,
    DataSettings,
    Part,
    key_of,
    weights_of,
)
from selfdraft.sources.mixture import interleaved, shares
from selfdraft.sources.origins import chats_in_turn, shuffled, split_origins
from selfdraft.sources.readable import readable_name
from selfdraft.sources.shapes import SHAPES, Shape
from selfdraft.sources.shapes.shape import Making, Row

# Tokens of the training split, at most, on which the words of a draft vocabulary are counted: seconds of work.
COUNTED = 1_000_000

# The date that some templates (Llama 3) print: fixed, so that the same seed gives the same tokens any day.
TEMPLATE_DATE = datetime(2024, 7, 26)


@dataclass
class Material:
    """One part's clean items by origin, the origins of each split, and what sources.json says of the part.

    `prefix` stands before its ids and origins, so that those of two parts are never the same.
    """

    shape: Shape
    making: Making
    groups: dict[str, list[Any]]
    splits: dict[str, list[str]]
    report: dict[str, Any]
    prefix: str

    def of(self, split: str) -> dict[str, list[Any]]:
        """The items of a split by origin."""
        return {origin: self.groups[origin] for origin in self.splits[split]}


def build_dataset(
    name: str,
    parts: Mapping[str, Part],
    target: str | Path,
    out_dir: str | Path,
    settings: DataSettings,
    cache_dir: str | Path,
) -> dict[str, Any]:
    """Write the folder `out_dir` (see `selfdraft.sequences` for its files) and return sources.json's content.

    `parts` are those of a mixture by name, or one part under the name ALONE. The same settings and
    files give the same bytes. Raises StudyError, and writes nothing, for an unreadable source, nothing
    left of one after cleaning, or lengths beyond the target's context.
    """
    target = Path(target)
    chat = ChatTokenizer.from_folder(target, today=TEMPLATE_DATE)
    settings.check_context(LlamaConfig.read(target).max_positions)
    materials = {part: read_part(part, parts[part], chat, settings, cache_dir) for part in parts}
    weights = weights_of(parts)
    own = [*(f"{split}.safetensors" for split in SPLITS), "index.json", "prompts.json", "sources.json"]
    with whole_folder(out_dir, own) as folder:
        files: dict[str, Any] = {"index.json": {}}
        totals = {}
        for split in settings.splits:
            if budget := settings.budget(split):
                files["index.json"][split], totals[split] = write_split(
                    folder, split, materials, shares(budget, weights), settings
                )
        if settings.prompts:
            files["prompts.json"] = choose_prompts(materials, shares(settings.prompts, weights), settings)
        for material in materials.values():
            changed = material.report["changed"] + material.making.changed
            material.report["changed"] = dict(changed.most_common())
        if ALONE in materials:
            summary = {"name": name, **materials[ALONE].report}
        else:
            reports = {part: {"weight": weights[part], **materials[part].report} for part in materials}
            summary = {"name": name, "parts": reports, "splits": totals}
            summary["prompts"] = sum(report["prompts"] for report in reports.values())
        files["sources.json"] = {**summary, "settings": settings.record()}
        for file, value in files.items():
            # A source's own path may hold bytes of another encoding.
            text = readable_name(json.dumps(value, indent=1, ensure_ascii=False)) + "\n"
            (folder / file).write_text(text, encoding="utf-8")
    return summary


def read_part(name: str, part: Part, chat: ChatTokenizer, settings: DataSettings, cache_dir: str | Path) -> Material:
    """Read and clean one part, and split its origins. Raises StudyError; of a mixture it names the part."""
    making = Making(
        chat, settings.sequence_length or 0, settings.seed, settings.english_only, part.columns, roles=part.roles
    )
    try:
        shape = SHAPES[part.shape](making)
        reading = read_source(part.source, cache_dir, part.max_records)
        sifted = shape.clean(reading.records, part.place)
    except StudyError as error:
        raise error if name == ALONE else StudyError(f"{key_of(name)}: {error}") from None
    groups: dict[str, list[Any]] = defaultdict(list)
    for item, origin in zip(sifted.items, shape.origins(sifted.items), strict=True):
        groups[origin].append(item)
    if settings.splits == EVALUATION_ONLY or settings.held_out_fraction is None:
        splits = {"held_out": shuffled(groups, settings.seed, "split")}
    else:
        share = settings.validation_tokens / (settings.validation_tokens + settings.held_out_tokens)
        splits = split_origins(groups, settings.seed, settings.held_out_fraction, share)
    report = {
        **part.record(),
        "source": reading.origin,
        "read": sifted.read,
        "kept": len(sifted.items),
        "dropped": dict(sifted.dropped.most_common()),
        "changed": sifted.changed + reading.losses.changed,
        "origins": len(groups),
        "truncated": {"characters_lost": reading.losses.characters, "reason": reading.losses.reason},
        "splits": {},
        "prompts": 0,
    }
    return Material(shape, making, groups, splits, report, "" if name == ALONE else f"{name}/")


def write_split(
    folder: Path,
    split: str,
    materials: Mapping[str, Material],
    budgets: Mapping[str, int],
    settings: DataSettings,
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Write one split's sequences; return its part of index.json and its totals, and report each part's.

    Every part gives sequences until its budget of tokens is reached: the last one may go over it.
    Raises StudyError for a part that has none at all.
    """
    empty = dict.fromkeys(materials, 0)
    unanswered: dict[str, int] = dict(empty)
    streams = {name: sequences_in_turn(materials[name], split, settings.seed, unanswered, name) for name in materials}
    rows, index, owners = [], [], []
    for name, (row, entry) in interleaved(streams, budgets):
        rows.append(row)
        index.append(entry)
        owners.append(name)
    for name, material in materials.items():
        mine = [number for number, owner in enumerate(owners) if owner == name]
        there = material.of(split)
        items = sum(map(len, there.values()))
        if budgets[name] and not there:
            raise StudyError(f"{key_of(name)}: {split}: {too_few_origins(material)}")
        if budgets[name] and not mine:
            raise StudyError(
                f"{key_of(name)}: {split}: no {material.shape.item_name[:-1]} has an answer within sequence_length "
                f"{settings.sequence_length} ({items} {material.shape.item_name} of {len(there)} origins); "
                "expected more data or a longer sequence"
            )
        material.report["splits"][split] = {
            "origins": len({index[number]["origin"] for number in mine}),
            material.shape.sequence_name: len(mine),
            "tokens": sum(len(rows[number][0]) for number in mine),
            "answer_tokens": sum(sum(rows[number][1]) for number in mine),
            "budget": budgets[name],
            "no_answer_within_sequence_length": unanswered[name],
            "available": {"origins": len(there), material.shape.item_name: items},
        }
    sequences = pack(rows, index)
    counts = word_counts(materials, budgets, settings) if split == "train" else None
    write_sequences(folder, split, sequences, counts)
    return index, {
        "origins": len(set(sequences.origins)),
        "sequences": len(rows),
        "tokens": len(sequences.tokens),
        "answer_tokens": int(sequences.mask.sum()),
        "budget": sum(budgets.values()),
    }


def word_counts(
    materials: Mapping[str, Material], budgets: Mapping[str, int], settings: DataSettings
) -> NDArray[np.int64]:
    """How often each token id occurs in the training split, what is not trained on included.

    All of the split, up to COUNTED tokens in the shares of `budgets`, in the order in which it would be trained on.
    """
    unanswered: dict[str, int] = dict.fromkeys(materials, 0)
    streams = {name: sequences_in_turn(materials[name], "train", settings.seed, unanswered, name) for name in materials}
    whole = {name: max(budget, COUNTED * budget // sum(budgets.values())) for name, budget in budgets.items()}
    tokens = np.fromiter((token for _, (row, _) in interleaved(streams, whole) for token in row[0]), dtype=np.int32)
    return np.bincount(tokens).astype(np.int64)


def too_few_origins(material: Material) -> str:
    """Why a split has nothing: what is told apart as one origin goes into one split."""
    items = sum(map(len, material.groups.values()))
    what, count = material.shape.item_name, len(material.groups)
    return (
        f"{items} {what} have only {count} origin{'s' * (count != 1)} (chats in pieces, and texts that share long "
        "passages, are one), and one goes into one split; expected more data, or splits [held_out]"
    )


def sequences_in_turn(
    material: Material, split: str, seed: int, unanswered: dict[str, int], name: str
) -> Iterator[tuple[int, tuple[Row, dict[str, str]]]]:
    """(tokens, (sequence, its names)) in shuffled order, a piece of each origin before second pieces.

    An item without a label within sequence_length is left out and counted in `unanswered[name]`.
    """
    groups = material.of(split)
    by_id = {item.id: (item, origin) for origin, items in groups.items() for item in items}
    waiting: dict[str, list[Row]] = {}

    def piece(identity: str, rows: list[Row], number: int) -> tuple[int, tuple[Row, dict[str, str]]]:
        own = identity if len(rows) == 1 else f"{identity}:{number}"
        origin = material.prefix + by_id[identity][1]
        return len(rows[number][0]), (rows[number], {"id": material.prefix + own, "origin": origin})

    for identity in chats_in_turn(groups, seed, "order"):
        rows = material.shape.sequences(by_id[identity][0])
        if not rows:
            unanswered[name] += 1
            continue
        if len(rows) > 1:
            waiting[identity] = rows
        yield piece(identity, rows, 0)
    number = 1
    while waiting:
        yield from (piece(identity, rows, number) for identity, rows in waiting.items())
        number += 1
        waiting = {identity: rows for identity, rows in waiting.items() if len(rows) > number}


def choose_prompts(
    materials: Mapping[str, Material], budgets: Mapping[str, int], settings: DataSettings
) -> list[dict[str, Any]]:
    """Prompts of held-out items, at most one an origin, mixed so that the first ones have the shares of all.

    Their length in tokens lies inside prompt_length, both ends included. Raises StudyError for a part
    that has none.
    """
    fewest, most = settings.prompt_length or (1, 1)
    streams = {name: prompts_in_turn(material, settings.seed, fewest, most) for name, material in materials.items()}
    prompts = []
    for name, prompt in interleaved(streams, budgets):
        prompts.append(prompt)
        materials[name].report["prompts"] += 1
    for name, material in materials.items():
        if budgets[name] and not material.report["prompts"]:
            items = sum(map(len, material.of("held_out").values()))
            if not items:
                raise StudyError(f"{key_of(name)}: prompts: {too_few_origins(material)}")
            raise StudyError(
                f"{'data' if name == ALONE else key_of(name)}.prompt_length: none of {items} held-out "
                f"{material.shape.item_name} has a prompt of {fewest} to {most} tokens"
            )
    return prompts


def prompts_in_turn(material: Material, seed: int, fewest: int, most: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """(1, prompt) of one held-out item after the other in shuffled order, each of another origin."""
    groups = material.of("held_out")
    by_id = {item.id: (item, origin) for origin, items in groups.items() for item in items}
    used: set[str] = set()
    for identity in chats_in_turn(groups, seed, "prompts"):
        item, origin = by_id[identity]
        found = None if origin in used else material.shape.prompt(item, fewest, most)
        if found:
            used.add(origin)
            tokens, text = found
            names = {"id": material.prefix + identity, "origin": material.prefix + origin}
            yield 1, {**names, "tokens": tokens, "text": text}
