"""From the config to the points that are measured: which drafts, draft lengths, policies and ways of drafting."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from selfdraft.capacities import CAPACITIES as CAPACITIES
from selfdraft.capacities import shared_depth
from selfdraft.checkpoints import OBJECTIVE, SEED
from selfdraft.checkpoints import VARIANT as VARIANT
from selfdraft.checkpoints import Checkpoint as Checkpoint
from selfdraft.provenance.config_hash import Config as Config
from selfdraft.provenance.config_hash import as_json

FIXED = "fixed"  # the way of drafting that needs no entry in the config: gamma tokens, whole vocabulary


@dataclass(frozen=True)
class Other:
    """A drafter that is no exit: an entry of the config's `drafters`."""

    name: str


@dataclass(frozen=True)
class Point:
    """One measured point: a draft, the tokens drafted per cycle, a sampling policy, and how it drafts."""

    draft: Checkpoint | Other
    gamma: int
    policy: str
    drafting: str = FIXED

    @property
    def name(self) -> str:
        """The name of its acceptance table, such as `layer21_T1.0_head_block_gamma4_greedy`.

        A way of drafting other than `fixed` follows the policy: `…_greedy_trimmed`.
        """
        return f"{self.draft.name}_gamma{self.gamma}_{self.policy}{suffix(self.drafting)}"


def suffix(drafting: str) -> str:
    """What file names say of the way of drafting: nothing of the usual one."""
    return "" if drafting == FIXED else f"_{drafting}"


def points_of(sweep: dict[str, Any]) -> list[Point]:
    """All combinations of one sweep's lists, in the order in which they are written.

    A checked config has `objective` and `seed` in each sweep of trained drafts, those of `training` where the
    sweep names none.
    """
    drafts: list[Checkpoint | Other] = [Other(name) for name in sweep.get("drafter", [])]
    if not drafts:
        how = sweep.get("objective", [OBJECTIVE]), sweep.get("seed", [SEED])
        trained = product(sweep["layer"], sweep["T"], sweep["capacity"], *how)
        drafts = [Checkpoint(layer, float(T), *others) for layer, T, *others in trained]
    grid = product(drafts, sweep["gamma"], sweep["policy"], sweep.get("drafting", [FIXED]))
    return [Point(*settings) for settings in grid]


def points(config: Config) -> list[Point]:
    """The union of all sweeps without repeats, in the order of the config."""
    return list(dict.fromkeys(point for sweep in config["sweeps"].values() for point in points_of(sweep)))


def checkpoints(config: Config) -> list[Checkpoint]:
    """The trained drafts that the points need, without repeats, in the order of the config."""
    drafts = (point.draft for point in points(config))
    return list(dict.fromkeys(draft for draft in drafts if isinstance(draft, Checkpoint)))


def policies(config: Config) -> list[str]:
    """The sampling policies that the points use, without repeats, in the order of the config."""
    return list(dict.fromkeys(point.policy for point in points(config)))


def layers(config: Config) -> list[int]:
    """The exit layers of all sweeps, of peers and of compile, ascending: the target must have them."""
    beside = [config["peers"]["layer"]] if "layer" in config.get("peers", {}) else []
    beside += config.get("compile", {}).get("layers", [])
    return sorted({checkpoint.layer for checkpoint in checkpoints(config)} | set(beside))


def depth(draft: Checkpoint) -> int:
    """The depth (hidden state after that many layers) whose captured states the draft trains on."""
    return shared_depth(draft.layer, draft.capacity)


def depths(drafts: Iterable[Checkpoint]) -> list[int]:
    """The depths that the drafts train on, ascending, without repeats."""
    return sorted({depth(draft) for draft in drafts})


def depth_by_draft(config: Config) -> dict[str, str]:
    """The depth that each draft trains on, by the draft's name, as text."""
    return {draft.name: str(depth(draft)) for draft in checkpoints(config)}


def drafts_by_policy(chosen: Iterable[Point]) -> dict[str, list[Checkpoint]]:
    """The trained drafts that are measured under each policy: one job interleaves them all."""
    return {policy: trained(group) for policy, group in by_policy(chosen).items()}


def points_by_policy(chosen: Iterable[Point]) -> dict[str, str]:
    """JSON lists of [draft's name, gamma, drafting], the points of each policy's job."""
    return {policy: as_json([list_of(point) for point in group]) for policy, group in by_policy(chosen).items()}


def by_policy(chosen: Iterable[Point]) -> dict[str, list[Point]]:
    """Points by their policy, both in the order given."""
    groups: dict[str, list[Point]] = {}
    for point in chosen:
        groups.setdefault(point.policy, []).append(point)
    return groups


def list_of(point: Point) -> list[Any]:
    """[draft's name, gamma, drafting]: a point as the stages that measure several of them read it."""
    return [point.draft.name, point.gamma, point.drafting]


def points_for(config: Config, section: str, key: str = "sweeps") -> list[Point]:
    """The points of the sweeps that a section of the config names, without repeats; none without the section."""
    names = config.get(section, {}).get(key, [])
    return list(dict.fromkeys(point for name in names for point in points_of(config["sweeps"][name])))


def identity_points(config: Config) -> list[Point]:
    """The section's points whose policy is greedy: only there must the output be the target's own, token by token."""
    chosen = points_for(config, "identity")
    return [point for point in chosen if config["policies"][point.policy]["temperature"] == 0]


def points_beside(config: Config) -> list[Point]:
    """The points of the tables beside results.csv."""
    return [*points_for(config, "batch"), *points_for(config, "lengths"), *identity_points(config)]


def compile_depths(config: Config) -> list[int]:
    """How many layers the early exits of the compile stage run."""
    return [layer + 1 for layer in config.get("compile", {}).get("layers", [])]


def trained(chosen: Iterable[Point]) -> list[Checkpoint]:
    """The trained drafts among some points, without repeats."""
    return list(dict.fromkeys(point.draft for point in chosen if isinstance(point.draft, Checkpoint)))


def ways_of_drafting(config: Config) -> dict[str, str]:
    """The settings of each way of drafting as JSON, by what file names say of it."""
    ways: dict[str, Any] = {FIXED: {}} | config.get("drafting", {})
    return {suffix(name): as_json({"name": name, **settings}) for name, settings in ways.items()}


def draft_of(wildcards: Any) -> Checkpoint:
    """The draft that a rule's wildcards layer, T, capacity and variant name."""
    return Checkpoint.named(f"layer{wildcards.layer}_T{wildcards.T}_{wildcards.capacity}{wildcards.variant}")
