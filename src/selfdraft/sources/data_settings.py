"""The settings of the data stage, checked: budgets and lengths, and the parts that data are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.sequences import SPLITS
from selfdraft.settings.check import check
from selfdraft.settings.rules import section

ALONE = ""  # the name of the one part of data that are no mixture
EVALUATION_ONLY = ("held_out",)
BUDGETS = tuple(f"{split}_tokens" for split in SPLITS)
PART_KEYS = ("shape", "columns", "roles", "max_records")


@dataclass(frozen=True)
class DataSettings:
    """What the data section of the config says of all its parts. Budgets and lengths are in tokens.

    A budget of 0 means no such sequences, or no prompts; only data that are never trained on, with
    `splits` (held_out,), may have it.
    """

    held_out_fraction: float | None = None
    sequence_length: int | None = None
    train_tokens: int = 0
    validation_tokens: int = 0
    held_out_tokens: int = 0
    prompts: int = 0
    prompt_length: tuple[int, int] | None = None
    seed: int = 0
    english_only: bool = True
    splits: tuple[str, ...] = SPLITS

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "DataSettings":
        """Check and take over settings. Raises StudyError naming the key that is wrong or missing."""
        known = {key: section("data")["properties"][key] for key in cls.__dataclass_fields__}
        check(dict(values), {"additionalProperties": False, "properties": known}, "data")
        splits = values.get("splits", list(SPLITS))
        needed = ["held_out_fraction", "sequence_length", *BUDGETS, "prompts", "prompt_length"]
        if splits == list(EVALUATION_ONLY):
            needed = ["sequence_length"] * bool(values.get("held_out_tokens"))
            needed += ["prompt_length"] * bool(values.get("prompts"))
            if not needed:
                raise StudyError("data.held_out_tokens: missing; splits [held_out] needs it, or prompts, or both")
            if budget := next((key for key in BUDGETS[:2] if values.get(key)), None):
                raise StudyError(f"data.{budget}: does not go with splits [held_out], data that are never trained on")
        if missing := [key for key in needed if key not in values]:
            raise StudyError(f"data.{missing[0]}: missing")
        shortest, longest = values.get("prompt_length", (1, 1))
        if shortest > longest:
            raise StudyError(f"data.prompt_length: {shortest} > {longest}; the shortest comes first")
        own: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**own)

    def budget(self, split: str) -> int:
        """Tokens of a split's sequences; 0 if it has none."""
        return int(getattr(self, f"{split}_tokens")) if split in self.splits else 0

    def record(self) -> dict[str, Any]:
        """What sources.json keeps: all that is set."""
        set_ones = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        if self.splits == SPLITS:
            del set_ones["splits"]
        return {key: value for key, value in set_ones.items() if value is not None}

    def check_context(self, context: int) -> None:
        """Raise StudyError for prompts or sequences that the target cannot read (`context` tokens)."""
        for key, longest in (
            ("prompt_length", self.prompt_length[1] if self.prompt_length else 0),
            ("sequence_length", self.sequence_length or 0),
        ):
            if longest > context:
                raise StudyError(f"data.{key}: {longest} tokens are longer than the target's context of {context}")


@dataclass(frozen=True)
class Part:
    """One source of records, their shape, the source's own names of columns and roles, and its share in a mixture."""

    source: Mapping[str, Any]
    shape: str = "conversations"
    columns: Mapping[str, str] = field(default_factory=dict)
    max_records: int | None = None
    weight: float = 1.0
    roles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], key: str) -> "Part":
        """Check and take over one part's keys. Raises StudyError naming the one that is wrong, below `key`."""
        rule = section("data")["properties"]["mixture"]["additionalProperties"]
        check(values, rule | {"required": ["source"]}, key)
        shape, columns, limit = values.get("shape", cls.shape), values.get("columns", {}), values.get("max_records")
        roles, weight = values.get("roles", {}), values.get("weight", cls.weight)
        if roles and shape != "conversations":
            raise StudyError(f"{key}.roles: does not go with shape {shape}, which has no turns")
        return cls(values["source"], shape, columns, limit, weight, roles)

    @property
    def place(self) -> str:
        """The source in few words, for errors about what is in it."""
        return str(self.source.get("path") or self.source.get("member") or self.source["repo"])

    def record(self) -> dict[str, Any]:
        """What sources.json keeps beside the source: all that is not the default."""
        own = {"shape": self.shape, "columns": dict(self.columns), "max_records": self.max_records}
        own["roles"] = dict(self.roles)
        defaults: dict[str, Any] = {"shape": Part.shape, "columns": {}, "max_records": None, "roles": {}}
        return {key: value for key, value in own.items() if value != defaults[key]}


def only_part(source: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[dict[str, Part], DataSettings]:
    """Data of one source: `settings` holds the part's keys (shape, columns, roles, max_records) and the rest."""
    own = {key: settings[key] for key in PART_KEYS if key in settings}
    rest = {key: value for key, value in settings.items() if key not in PART_KEYS}
    return checked({ALONE: Part.from_mapping({"source": source, **own}, "data")}, DataSettings.from_mapping(rest))


def parts_of(mixture: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[dict[str, Part], DataSettings]:
    """Data of several sources: NAME -> {weight, source, shape, columns, roles, max_records}; `settings` is the rest."""
    if misplaced := [key for key in PART_KEYS if key in settings]:
        raise StudyError(f"data.{misplaced[0]}: does not go with a mixture; each of its parts has its own")
    check(mixture, section("data")["properties"]["mixture"], "data", "mixture")
    parts = {name: Part.from_mapping(values, f"data.mixture.{name}") for name, values in mixture.items()}
    return checked(parts, DataSettings.from_mapping(settings))


def checked(parts: dict[str, Part], settings: DataSettings) -> tuple[dict[str, Part], DataSettings]:
    """Both, if they go together. Raises StudyError for training, or any sequences, on prompts alone."""
    asked = [split for split in settings.splits if settings.budget(split)]
    for name, part in parts.items():
        if part.shape == "prompts" and asked:
            raise StudyError(
                f"{key_of(name)}.shape: prompts have no answers, so there are no {asked[0]} sequences of them; "
                "expected splits [held_out] without held_out_tokens, or another shape"
            )
    return parts, settings


def key_of(name: str) -> str:
    """The config's key of a part."""
    return f"data.mixture.{name}" if name != ALONE else "data"


def weights_of(parts: Mapping[str, Part]) -> dict[str, float]:
    """The weight of each part."""
    return {name: part.weight for name, part in parts.items()}
