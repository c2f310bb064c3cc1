"""Which job measures which points: drafts that differ in capacity alone share one; parts of one measurement."""

from collections.abc import Iterable

from selfdraft.checkpoints import Checkpoint, temperature_text
from selfdraft.provenance.config_hash import Config, as_json
from selfdraft.study.entries import drafter_files, drafter_settings
from selfdraft.study.sweeps import FIXED, Other, Point, by_policy, depths, list_of, points, trained

OTHERS = "others"  # the group of all drafters that are not trained


def group_of(draft: Checkpoint | Other) -> str:
    """The job that measures a draft, such as `layer21_T1.0_seed1`: drafts that differ in capacity alone have one.

    All that is no exit has one too.
    """
    if isinstance(draft, Other):
        return OTHERS
    return f"layer{draft.layer}_T{temperature_text(draft.T)}{draft.variant}"


def by_group(config: Config, chosen: Iterable[Point]) -> dict[str, list[Point]]:
    """Points by the job that measures their acceptance, both in the order given.

    A group of more points than the config's `points_a_job` has several jobs: `layer21_T1.0`, `layer21_T1.0_more1`, ….
    """
    groups: dict[str, list[Point]] = {}
    for point in chosen:
        groups.setdefault(group_of(point.draft), []).append(point)
    most = config.get("points_a_job", max(map(len, groups.values()), default=1))
    return {
        f"{group}_more{begin // most}" if begin else group: found[begin : begin + most]
        for group, found in groups.items()
        for begin in range(0, len(found), most)
    }


def groups(config: Config) -> list[str]:
    """The names of all jobs of acceptance and quality; on other text they are some of them."""
    return list(dict.fromkeys([*by_group(config, points(config)), *trained_together(points(config))]))


def drafts_by_group(config: Config, chosen: Iterable[Point]) -> dict[str, list[Checkpoint]]:
    """The trained drafts of each job of acceptance."""
    return {group: trained(points) for group, points in by_group(config, chosen).items()}


def files_by_group(config: Config, chosen: Iterable[Point]) -> dict[str, list[str]]:
    """The files of the drafters, other than exits, of each job of acceptance; see `drafter_files`."""
    return {group: drafter_files(config, found) for group, found in by_group(config, chosen).items()}


def trained_together(chosen: Iterable[Point]) -> dict[str, list[Checkpoint]]:
    """The trained drafts by the job that measures their quality."""
    groups: dict[str, list[Checkpoint]] = {}
    for draft in trained(chosen):
        groups.setdefault(group_of(draft), []).append(draft)
    return groups


def depths_together(chosen: Iterable[Point]) -> dict[str, list[int]]:
    """The depths of the captured states that each job of quality reads."""
    return {group: depths(drafts) for group, drafts in trained_together(chosen).items()}


def asked_of_groups(config: Config, chosen: Iterable[Point]) -> dict[str, list[str]]:
    """What the acceptance stage is told in each job, as options: its points by policy, and only what they need."""
    asked = {
        group: {
            "points": as_json(
                {policy: [list_of(point) for point in some] for policy, some in by_policy(found).items()}
            ),
            "policies": as_json({point.policy: config["policies"][point.policy] for point in found}),
            "drafting": as_json({p.drafting: config["drafting"][p.drafting] for p in found if p.drafting != FIXED}),
            "drafters": "{}" if trained(found) else drafter_settings(config),
        }
        for group, found in by_group(config, chosen).items()
    }
    return {group: [word for key, value in of.items() for word in (f"--{key}", value)] for group, of in asked.items()}


def truth_of(config: Config, chosen: Iterable[Point], text: str) -> dict[str, list[str]]:
    """The file of the target's own answers to the prompts of a data set, by group; none where none is compared."""
    return {
        group: list(dict.fromkeys(path for point in found for path in truth(config, point.policy, text)))
        for group, found in by_group(config, chosen).items()
    }


def truth(config: Config, policy: str, text: str) -> list[str]:
    """The file of the target's own answers to the prompts of a data set; none if a policy's are not compared."""
    compared = config["policies"][policy]["temperature"] == 0 and config["acceptance"]["dtype"] == "float32"
    return [f"results/raw/vanilla/{text}.json"] if compared else []


def shards(config: Config) -> list[str]:
    """What file names say of the parts that acceptance and speed are measured in: nothing if it is one part."""
    count = config.get("shards", 1)
    return [""] if count == 1 else [f"_part{number}of{count}" for number in range(1, count + 1)]


def shard_numbers(config: Config) -> dict[str, str]:
    """What a stage is told of each part, such as 2/4, by what file names say of it."""
    endings = shards(config)
    return {ending: f"{number}/{len(endings)}" for number, ending in enumerate(endings, start=1)}
