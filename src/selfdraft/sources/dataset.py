"""Conversations from anywhere -> sequences and prompts on disk, split by origin, every loss counted."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json, whole_folder
from selfdraft.sequences import SPLITS, pack, write_sequences
from selfdraft.sources.answers import AnswerMask
from selfdraft.sources.chat import ChatTokenizer
from selfdraft.sources.cleaning import Conversation, clean_records
from selfdraft.sources.conversation_files import read_source
from selfdraft.sources.origins import chats_in_turn, origins_of, split_origins

# The date that some templates (Llama 3) print: fixed, so that the same seed gives the same tokens any day.
TEMPLATE_DATE = datetime(2024, 7, 26)


@dataclass(frozen=True)
class DataSettings:
    """The data section of the config, but for name and source. Budgets and lengths are in tokens."""

    held_out_fraction: float
    sequence_length: int
    train_tokens: int
    validation_tokens: int
    held_out_tokens: int
    prompts: int
    prompt_length: tuple[int, int]
    seed: int = 0
    english_only: bool = True

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "DataSettings":
        """Check and take over settings. Raises StudyError naming the key that is wrong."""
        known = {setting.name: setting for setting in fields(cls)}
        if unknown := sorted(set(values) - set(known)):
            raise StudyError(f"data.{unknown[0]}: unknown key; known are {', '.join(known)}")
        missing = [key for key in known if key not in values and key not in ("seed", "english_only")]
        if missing:
            raise StudyError(f"data.{missing[0]}: missing")
        lengths = values["prompt_length"]
        if not isinstance(lengths, list | tuple) or len(lengths) != 2 or not 0 < lengths[0] <= lengths[1]:
            raise StudyError(f"data.prompt_length: found {lengths!r}, expected [fewest, most] tokens")
        if not 0 < values["held_out_fraction"] < 1:
            found = values["held_out_fraction"]
            raise StudyError(f"data.held_out_fraction: found {found!r}, expected more than 0 and less than 1")
        for key in ("sequence_length", "train_tokens", "validation_tokens", "held_out_tokens", "prompts"):
            if not isinstance(values[key], int) or values[key] < 1:
                raise StudyError(f"data.{key}: found {values[key]!r}, expected a whole number above 0")
        return cls(**{**values, "prompt_length": (lengths[0], lengths[1])})

    def check_context(self, context: int) -> None:
        """Raise StudyError for prompts or sequences that the target cannot read (`context` tokens)."""
        for key, longest in (
            ("prompt_length", self.prompt_length[1]),
            ("sequence_length", self.sequence_length),
        ):
            if longest > context:
                raise StudyError(f"data.{key}: {longest} tokens are longer than the target's context of {context}")


def build_dataset(
    name: str,
    source: Mapping[str, Any],
    target: str | Path,
    out_dir: str | Path,
    settings: DataSettings,
    cache_dir: str | Path,
) -> dict[str, Any]:
    """Write the folder `out_dir` (see `selfdraft.sequences` for its files) and return sources.json's content.

    The same settings and files give the same bytes. Raises StudyError, and writes nothing, for an
    unreadable source, no conversation left after cleaning, or lengths beyond the target's context.
    """
    target = Path(target)
    chat = ChatTokenizer.from_folder(target, today=TEMPLATE_DATE)
    settings.check_context(int(read_json(target / "config.json")["max_position_embeddings"]))
    records, origin = read_source(source, cache_dir)
    where = source.get("path") or source.get("member") or source["repo"]
    cleaned = clean_records(records.records, chat.special_tokens, settings.english_only, where)
    conversations = cleaned.conversations
    groups: dict[str, list[Conversation]] = defaultdict(list)
    for conversation, group in zip(conversations, origins_of(conversations), strict=True):
        groups[group].append(conversation)
    share = settings.validation_tokens / (settings.validation_tokens + settings.held_out_tokens)
    splits = split_origins(groups, settings.seed, settings.held_out_fraction, share)
    summary: dict[str, Any] = {
        "name": name,
        "source": origin,
        "read": cleaned.read,
        "kept": len(conversations),
        "dropped": dict(cleaned.dropped.most_common()),
        "changed": dict(cleaned.changed.most_common()),
        "origins": len(groups),
        "truncated": {"characters_lost": records.lost_characters, "reason": records.reason},
        "splits": {},
    }
    own = [*(f"{split}.safetensors" for split in SPLITS), "index.json", "prompts.json", "sources.json"]
    with whole_folder(out_dir, own) as folder:
        index = {}
        for split in SPLITS:
            index[split], summary["splits"][split] = write_split(
                folder, split, {name: groups[name] for name in splits[split]}, AnswerMask(chat), settings
            )
        prompts = choose_prompts({name: groups[name] for name in splits["held_out"]}, chat, settings)
        summary["prompts"] = len(prompts)
        summary["settings"] = {setting.name: getattr(settings, setting.name) for setting in fields(settings)}
        for file, value in (("index.json", index), ("prompts.json", prompts), ("sources.json", summary)):
            text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
            (folder / file).write_text(text, encoding="utf-8")
    return summary


def write_split(
    folder: Path,
    split: str,
    groups: Mapping[str, list[Conversation]],
    masker: AnswerMask,
    settings: DataSettings,
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Write one split's sequences; return its part of index.json and of sources.json.

    Conversations come in shuffled order, a piece of each chat before second pieces, until the split's
    budget of tokens is reached: the last one may go over it. Each is cut at sequence_length; one
    without an answer before the cut is left out.
    """
    budget = getattr(settings, f"{split}_tokens")
    by_id = {row.id: (row, origin) for origin, rows in groups.items() for row in rows}
    rows, index, total, unanswered = [], [], 0, 0
    for identity in chats_in_turn(groups, settings.seed, "order"):
        if total >= budget:
            break
        conversation, origin = by_id[identity]
        tokens, mask = masker.tokens(list(conversation.messages))
        tokens, mask = tokens[: settings.sequence_length], mask[: settings.sequence_length]
        if not any(mask):
            unanswered += 1
            continue
        rows.append((tokens, mask))
        index.append({"id": identity, "origin": origin})
        total += len(tokens)
    if not rows:
        raise StudyError(
            f"data: {split}: no conversation has an answer within sequence_length {settings.sequence_length} "
            f"({len(by_id)} conversations of {len(groups)} origins); expected more data or a longer sequence"
        )
    sequences = pack(rows, index)
    write_sequences(folder, split, sequences)
    return index, {
        "origins": len({row["origin"] for row in index}),
        "conversations": len(rows),
        "tokens": total,
        "answer_tokens": int(sequences.mask.sum()),
        "budget": budget,
        "no_answer_within_sequence_length": unanswered,
        "available": {"origins": len(groups), "conversations": len(by_id)},
    }


def choose_prompts(
    groups: Mapping[str, list[Conversation]], chat: ChatTokenizer, settings: DataSettings
) -> list[dict[str, Any]]:
    """Prompts of held-out chats: at most one an origin, the first question whose text so far fits.

    A prompt is the conversation up to where an answer would begin; its length in tokens lies inside
    prompt_length, both ends included. Raises StudyError if there is none.
    """
    fewest, most = settings.prompt_length
    by_id = {row.id: (row, origin) for origin, rows in groups.items() for row in rows}
    prompts: list[dict[str, Any]] = []
    used: Counter[str] = Counter()
    for identity in chats_in_turn(groups, settings.seed, "prompts"):
        conversation, origin = by_id[identity]
        if len(prompts) == settings.prompts or used[origin]:
            continue
        for turn in range(1, len(conversation.messages), 2):
            text = chat.render(list(conversation.messages[:turn]), add_generation_prompt=True)
            tokens = chat.encode(text)
            if len(tokens) > most:
                break
            if len(tokens) >= fewest:
                prompts.append({"id": identity, "origin": origin, "tokens": tokens, "text": text})
                used[origin] += 1
                break
    if not prompts:
        raise StudyError(
            f"data.prompt_length: none of {len(by_id)} held-out conversations has a prompt of {fewest} to {most} tokens"
        )
    return prompts
