"""From the config to the list of points to measure: which drafts, draft lengths, policies and figures."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from selfdraft.capacities import CAPACITIES as CAPACITIES
from selfdraft.capacities import capacity_named, shared_depth
from selfdraft.checkpoints import OBJECTIVE, SEED, temperature_text
from selfdraft.checkpoints import VARIANT as VARIANT
from selfdraft.checkpoints import Checkpoint as Checkpoint
from selfdraft.drafters import KINDS, kind_of
from selfdraft.provenance import PACKAGE
from selfdraft.provenance.config_hash import Config, as_json
from selfdraft.provenance.config_hash import config_hash as config_hash
from selfdraft.provenance.config_hash import recorded as recorded

CHECKOUT = PACKAGE.parents[1]

# Each figure draws one sweep; `figures: {NAME: {sweep: …}}` in the config chooses another one.
FIGURES = {
    "layer_sweep": "layers",
    "acceptance_sweep": "layers",
    "pareto": "layers",
    "gamma": "gamma",
    "temperature": "temperature",
    "capacity": "layers",
    "histograms": "layers",
    "training_curves": "layers",
    "predicted_speedup": "layers",
    "cycle_time": "layers",
    "drafting": "drafting",
    "domains": "domains",  # no sweep: all that the section `domains` measures
}
# Figures of the study as a whole, whatever its sweeps.
WHOLE_FIGURES = ("methods", "learning", "heads", "exits", "unverified", "online", "shift")
# Figures of tables that `results.csv` does not hold; each is drawn if the config has the section.
TABLE_FIGURES = {"batch": "batch", "lengths": "lengths", "peers": "peers", "compile": "compile"}
EARLY = "lengths"  # the one of them that `all_figures` draws too: where nothing is trained for it, it is the first
ALL_FIGURES = [*FIGURES, *WHOLE_FIGURES, *TABLE_FIGURES]

# Figures that the text of paper/ shows, as far as the study draws them.
PAPER_FIGURES = ("acceptance_sweep", "pareto", "cycle_time", "predicted_speedup", "gamma")

OTHERS = "others"  # the group of all drafters that are not trained
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


def list_of(point: Point) -> list[Any]:
    """[draft's name, gamma, drafting]: a point as the stages that measure several of them read it."""
    return [point.draft.name, point.gamma, point.drafting]


def points_for(config: Config, section: str) -> list[Point]:
    """The points of the sweeps that a section of the config names, without repeats; none without the section."""
    names = config.get(section, {}).get("sweeps", [])
    return list(dict.fromkeys(point for name in names for point in points_of(config["sweeps"][name])))


def identity_points(config: Config) -> list[Point]:
    """The section's points whose policy is greedy: only there must the output be the target's own, token by token."""
    chosen = points_for(config, "identity")
    return [point for point in chosen if config["policies"][point.policy]["temperature"] == 0]


def points_beside(config: Config) -> list[Point]:
    """The points of the tables beside results.csv."""
    return [*points_for(config, "batch"), *points_for(config, "lengths"), *identity_points(config)]


def peers_draft_model(config: Config) -> list[str]:
    """The option of the peers stage that names the folder of its separate draft model; none if there is none."""
    name = config.get("peers", {}).get("draft_model")
    return ["--draft-model", f"results/target/{name}"] if name else []


def compile_depths(config: Config) -> list[int]:
    """How many layers the early exits of the compile stage run."""
    return [layer + 1 for layer in config.get("compile", {}).get("layers", [])]


def side_tables(config: Config) -> list[str]:
    """The tables beside results.csv whose sections the config has."""
    return [name for name in ("batch", "lengths", "peers", "identity", "compile") if name in config]


def sets(config: Config) -> dict[str, dict[str, Any]]:
    """The data sets of `domains` by name; none without the section."""
    return config.get("domains", {}).get("sets", {})


def sets_with(config: Config, *keys: str, without: str | None = None) -> list[str]:
    """The data sets of `domains` that have the keys: `held_out_tokens` for quality, `prompts` for acceptance."""
    return [name for name, made in sets(config).items() if {*keys} <= {*made} and without not in made]


def set_settings(config: Config) -> dict[str, str]:
    """What the data stage is told of each set of `domains`, as JSON, by name: nothing of it is trained on."""
    return {
        name: as_json({key: value for key, value in made.items() if key != "source"} | {"splits": ["held_out"]})
        for name, made in sets(config).items()
    }


def acceptance_settings(config: Config, text: str) -> str:
    """The acceptance section as JSON for one data set: of those of `domains` all prompts are answered."""
    return settings_of(config, "acceptance", without=["prompts"] if text in sets(config) else [])


def truth(config: Config, policy: str, text: str) -> list[str]:
    """The file of the target's own answers to the prompts of a data set; none if a policy's are not compared."""
    compared = config["policies"][policy]["temperature"] == 0 and config["acceptance"]["dtype"] == "float32"
    return [f"results/raw/vanilla/{text}.json"] if compared else []


def options(name: str, values: Iterable[str]) -> list[str]:
    """An option before each of its values."""
    return [word for value in values for word in (name, value)]


def shards(config: Config) -> list[str]:
    """What file names say of the parts that acceptance and speed are measured in: nothing if it is one part."""
    count = config.get("shards", 1)
    return [""] if count == 1 else [f"_part{number}of{count}" for number in range(1, count + 1)]


def shard_numbers(config: Config) -> dict[str, str]:
    """What a stage is told of each part, such as 2/4, by what file names say of it."""
    endings = shards(config)
    return {ending: f"{number}/{len(endings)}" for number, ending in enumerate(endings, start=1)}


def any_of(names: Iterable[str]) -> str:
    """The pattern of a wildcard that is one of the names; of none if there are none."""
    return "|".join(map(re.escape, names)) or "none"


def one_of(endings: Iterable[str]) -> str:
    """The pattern of a wildcard that is one of the endings of a file's name, of which one may be empty."""
    return f"(?:{'|'.join(map(re.escape, endings))})"  # an empty pattern would be none, and match anything


def paper_figures(config: Config) -> list[str]:
    """The figures that the paper shows."""
    drawn = figures(config)
    return [name for name in PAPER_FIGURES if name in drawn]


def domains_grid(config: Config) -> dict[str, list[str]]:
    """What the figure `domains` draws: the study's own data set, then the others, in all ways of drafting."""
    ways = dict.fromkeys([FIXED, *(point.drafting for point in points_for(config, "domains"))])
    return {"dataset": [config["data"]["name"], *sets(config)], "drafting": list(ways)}


def traced(config: Config) -> list[Point]:
    """The points whose generations are shown token by token; none without the section."""
    return points_for(config, "traces")


def traced_draft(config: Config) -> list[Checkpoint]:
    """The one draft that is traced: the first trained one."""
    return trained(traced(config))[:1]


def traced_policies(config: Config) -> list[str]:
    """The policies that are traced, a page each."""
    return list(dict.fromkeys(point.policy for point in traced(config)))


def trace_options(config: Config, policy: str) -> list[str]:
    """What `generate` is told of a traced policy: its first draft length, the answers' length and the warps."""
    gamma = next(point.gamma for point in traced(config) if point.policy == policy)
    warps = {f"--{key.replace('_', '-')}": value for key, value in config["policies"][policy].items()}
    options = {"--gamma": gamma, "--max-new-tokens": config["traces"]["max_new_tokens"], **warps}
    return [word for option, value in options.items() for word in (option, str(value))]


def trained(chosen: Iterable[Point]) -> list[Checkpoint]:
    """The trained drafts among some points, without repeats."""
    return list(dict.fromkeys(point.draft for point in chosen if isinstance(point.draft, Checkpoint)))


def ways_of_drafting(config: Config) -> dict[str, str]:
    """The settings of each way of drafting as JSON, by what file names say of it."""
    ways: dict[str, Any] = {FIXED: {}} | config.get("drafting", {})
    return {suffix(name): as_json({"name": name, **settings}) for name, settings in ways.items()}


def draft_models(config: Config) -> dict[str, Any]:
    """The sources of the separate draft models, by the drafter's name."""
    return {name: made["source"] for name, made in config.get("drafters", {}).items() if "source" in made}


def trained_drafters(config: Config) -> dict[str, Any]:
    """The entries of `drafters` that are trained, by name."""
    kinds = [kind for kind in KINDS if kind_of(kind).trained]
    return {name: made for name, made in config.get("drafters", {}).items() if made.get("kind") in kinds}


def from_elsewhere(config: Config) -> dict[str, str]:
    """The folders of the drafters that were trained elsewhere, by name: as they are written, or in the checkout."""
    written = {
        name: Path(made["folder"])
        for name, made in config.get("drafters", {}).items()
        if made.get("kind") == "trained_elsewhere"
    }
    return {name: str(folder if folder.exists() else CHECKOUT / folder) for name, folder in written.items()}


def drafters_in_use(config: Config) -> dict[str, Any]:
    """Those of `trained_drafters` that a sweep measures, alone or in a hybrid."""
    used = drafting_with(config, points(config))
    return {name: made for name, made in trained_drafters(config).items() if name in used}


def in_use_by(config: Config, rule: str) -> dict[str, Any]:
    """Those of `drafters_in_use` that a rule trains."""
    return {name: made for name, made in drafters_in_use(config).items() if kind_of(made["kind"]).rule == rule}


def several_heads(config: Config) -> bool:
    """Whether a sweep measures a drafter whose tokens leave at several layers."""
    kinds, used = ("adaptive_early_exit", "dynamic"), drafting_with(config, points(config))
    return any(made["kind"] in kinds for name, made in config.get("drafters", {}).items() if name in used)


def _given_in_use(config: Config) -> dict[str, str]:
    used = drafting_with(config, points(config))
    return {name: folder for name, folder in from_elsewhere(config).items() if name in used}


def _own_folders(config: Config) -> list[str]:
    exits = [f"results/checkpoints/{draft.name}" for draft in checkpoints(config)]
    return exits + [f"results/drafters/{name}" for name in drafters_in_use(config)]


def trained_folders(config: Config) -> list[str]:
    """The folders of all that the sweeps measure and that was trained: exits, then other drafters."""
    return [*_own_folders(config), *_given_in_use(config).values()]


def folders_called(config: Config) -> list[str]:
    """The same as `results` takes them: NAME=FOLDER of what was trained elsewhere, under another name."""
    return _own_folders(config) + [f"{name}={folder}" for name, folder in _given_in_use(config).items()]


def drafting_with(config: Config, chosen: Iterable[Point]) -> set[str]:
    """The names of the drafters, other than exits, that some points draft with, and of those that these name."""
    used = {point.draft.name for point in chosen if isinstance(point.draft, Other)}
    made = config.get("drafters", {})
    while more := {made[name]["drafter"] for name in used if "drafter" in made[name]} - used:
        used |= more
    return used


def drafter_files(config: Config, chosen: Iterable[Point]) -> list[str]:
    """The files of the drafters, other than exits, that some points need: what was trained, and all separate models."""
    used = drafting_with(config, chosen)
    folders = {name: f"results/drafters/{name}" for name in trained_drafters(config) if name in used}
    folders |= {name: folder for name, folder in from_elsewhere(config).items() if name in used}
    folders |= {name: f"results/target/{name}" for name in draft_models(config) if used}
    return [
        f"{folder}/{file}"
        for name, folder in folders.items()
        for file in kind_of(config["drafters"][name]["kind"]).files
    ]


def regenerating(config: Config) -> dict[str, Any]:
    """Those of `drafters_in_use` that learn from the target's own answers."""
    used = drafters_in_use(config)
    return {name: made for name, made in used.items() if made.get("answers") == "regenerated"}


def answers_folder(config: Config) -> str:
    """Where the target's own answers lie, as data and as captured states."""
    return f"results/answers/{config['data']['name']}"


def answered_depths(config: Config) -> list[int]:
    """The depths whose states are kept of the target's own answers, the final one left out."""
    return sorted({depth for made in regenerating(config).values() for depth in made["features"]})


def question_settings(config: Config) -> str:
    """The data section as JSON for the questions: as many tokens of the training split as `answers` says."""
    more = {"train_tokens": config.get("answers", {}).get("questions", 0)}
    kept = {key: value for key, value in config["data"].items() if key not in ("name", "source", "mixture")}
    return as_json(kept | more)


def answering(config: Config) -> Config:
    """The config with the one policy that the target answers by: another one changes no answer."""
    policy = config.get("answers", {}).get("policy")
    return config | {"policies": {name: made for name, made in config["policies"].items() if name == policy}}


def answer_options(config: Config) -> list[str]:
    """What `regenerate` is told of the section `answers`."""
    made = config.get("answers", {})
    policy = made.get("policy", "")
    settings = {key: value for key, value in made.items() if key not in ("questions", "policy")}
    given = {
        "--policy": policy,
        "--policy-settings": as_json(config["policies"].get(policy, {})),
        "--settings": as_json(settings),
        "--length": str(config["data"].get("sequence_length", 0)),
    }
    return [word for pair in given.items() for word in pair]


def taught_by(config: Config) -> dict[str, dict[str, Any]]:
    """The files that each trained drafter learns from: index, sequences, capture and states, by the drafter's name."""
    found = {}
    for name, made in trained_drafters(config).items():
        own = made.get("answers") == "regenerated"
        text = answers_folder(config) if own else f"results/data/{config['data']['name']}"
        states = text if own else f"results/capture/{config['data']['name']}"
        splits = ["train", "validation"] if own else config["data"]["splits"]
        found[name] = {
            "index": f"{text}/index.json",
            "sequences": [f"{text}/{split}.safetensors" for split in splits if f"{split}_tokens" in config["data"]],
            "capture": f"{states}/capture.json",
            "states": [f"{states}/depth{depth}.safetensors" for depth in made.get("features", depths_read(made))],
        }
    return found


def heads_online(made: dict[str, Any]) -> bool:
    """Whether an entry of kind exits is trained on states that are computed in every step."""
    usual = "offline" if "heads" in made else "online"
    return bool(made.get("training", {}).get("mode", usual) == "online")


def depths_read(made: dict[str, Any]) -> list[int]:
    """The depths whose captured states a trained drafter learns from: those it fuses, or those of its heads.

    None if it learns from the target's own answers, whose states are kept elsewhere, or from its verifications.
    """
    if made["kind"] != "exits":
        return [] if made.get("answers") == "regenerated" else list(made.get("features", []))
    if heads_online(made):
        return []
    return sorted({shared_depth(layer, made["capacity"]) for layer in made["heads"]})


def depths_by_drafter(config: Config) -> dict[str, list[int]]:
    """The depths whose captured states each trained drafter learns from."""
    return {name: depths_read(made) for name, made in trained_drafters(config).items()}


def captured_depths(config: Config) -> list[int]:
    """The depths whose states are kept for all that is trained on the data's answers, ascending, without repeats."""
    read = (depth for made in drafters_in_use(config).values() for depth in depths_read(made))
    return sorted({*depths(checkpoints(config)), *read})


def drafters_by_weights(config: Config) -> dict[str, list[str]]:
    """The names of the trained drafters by what their weights' file is called, draft or aux_heads; without dvi's."""
    rules = {"draft": "train_drafter", "aux_heads": "train_exits"}
    made_by = {name: kind_of(made["kind"]).rule for name, made in trained_drafters(config).items()}
    return {file: [name for name, own in made_by.items() if own == rule] for file, rule in rules.items()}


def drafter_hash(config: Config, name: str) -> str:
    """The hash of all that decides one trained drafter."""
    made = trained_drafters(config)[name]
    own = ["answers", "policies"] if made.get("answers") == "regenerated" else []
    alone = answering(config) | {"drafters": {name: made}}
    return config_hash(alone, "target", "data", "drafters", *own)


def teachers(config: Config) -> list[str]:
    """The name of the teacher that is not the target itself; none if there is none."""
    return [config["teacher"]["name"]] if "teacher" in config else []


def teacher_option(config: Config) -> list[str]:
    """The option that names the teacher's folder to the stages; none if the target is its own teacher."""
    return [word for name in teachers(config) for word in ("--teacher", f"results/target/{name}")]


def other_models(config: Config) -> dict[str, Any]:
    """The sources of all models beside the target, by name: separate draft models, and a teacher of its own."""
    return draft_models(config) | {name: config["teacher"]["source"] for name in teachers(config)}  # noqa: C420 (may be absent)


def offline(config: Config) -> bool:
    """Whether drafts are trained on states kept from one pass of the teacher."""
    return config["training"].get("mode", "offline") == "offline"


def captured_splits(config: Config) -> list[str]:
    """The splits whose states are kept: those that are trained on, where that is done offline, and the held-out one.

    Drafters are trained offline, but for heads that are not; those with answers of their own on other states.
    """
    read = any(depths_read(made) for made in drafters_in_use(config).values())
    return ["train", "validation", "held_out"] if offline(config) or read else ["held_out"]


def states(config: Config) -> list[str]:
    """The names of the captured states' files: a depth each, and a teacher's final ones."""
    return [f"depth{depth}" for depth in captured_depths(config)] + ["teacher" for _ in teachers(config)]


def teacher_files(config: Config) -> list[str]:
    """The file of a teacher's final states that drafts are trained on; none if the target is its own teacher."""
    return ["teacher.safetensors" for _ in teachers(config) if offline(config)]


def drafter_settings(config: Config) -> str:
    """The config's `drafters` as JSON; a model, or what is trained, is known to stages by its folder.

    A hybrid holds what it drafts with, as does what asks heads.
    """
    ours, drafters = trained_drafters(config), config.get("drafters", {})
    given = from_elsewhere(config)

    def known(name: str) -> dict[str, Any]:
        made = drafters[name]
        if name in ours:
            return {"kind": made["kind"], "folder": f"results/drafters/{name}"}
        found = {key: value for key, value in made.items() if key != "source"}
        if "source" in made:
            found["folder"] = f"results/target/{name}"
        if name in given:
            found["folder"] = given[name]
        if "drafter" in made:
            found["drafter"] = known(made["drafter"])
        return found

    return as_json({name: known(name) for name in drafters})


def policy_settings(config: Config) -> dict[str, str]:
    """The settings of each policy as JSON."""
    return {name: as_json(settings) for name, settings in config["policies"].items()}


def settings_of(config: Config, section: str, without: Iterable[str] = ()) -> str:
    """One section of the config as JSON, less the keys that reach the stage as options of their own."""
    return as_json({key: value for key, value in config.get(section, {}).items() if key not in set(without)})


def for_draft(config: Config, draft: Checkpoint) -> Config:
    """The config as one draft sees it: its objective and seed, no learning rates and ranks of others' parts.

    So a rate or a weight that is changed trains only the drafts again that it concerns.
    """
    parts = {*capacity_named(draft.capacity).parts, draft.capacity}  # ranks go by the capacity's name
    training = {
        key: {part: number for part, number in value.items() if part in parts}
        if key in ("learning_rate", "ranks")
        else value
        for key, value in config["training"].items()
    }
    training |= {"objective": draft.objective, "seed": draft.seed}
    if draft.objective != "kl_ce":
        training["ce_weight"] = 0.0
    return config | {"training": training}


def draft_of(wildcards: Any) -> Checkpoint:
    """The draft that a rule's wildcards layer, T, capacity and variant name."""
    return Checkpoint.named(f"layer{wildcards.layer}_T{wildcards.T}_{wildcards.capacity}{wildcards.variant}")


def training_of(config: Config, wildcards: Any) -> str:
    """The training section of one draft as JSON."""
    return settings_of(for_draft(config, draft_of(wildcards)), "training")


def training_hash(config: Config, wildcards: Any) -> str:
    """The hash of all that decides one draft."""
    return config_hash(for_draft(config, draft_of(wildcards)), "target", "teacher", "data", "training")


def figures(config: Config) -> dict[str, dict[str, Any]]:
    """What each figure draws: name -> {"sweep": its lists, "drafts": its drafts' names, "style": settings}.

    A figure whose usual sweep (or section) is not in the config, and that names no other one, is left out; so is
    that of trained drafters where there are none.
    """
    chosen = {}
    for name, usual in FIGURES.items():
        style = dict(config["figures"].get(name) or {})
        sweep = style.pop("sweep", usual)
        if name == "domains":
            if "domains" in config:
                chosen[name] = {"sweep": domains_grid(config), "drafts": [], "style": style}
        elif sweep in config["sweeps"]:
            grid = config["sweeps"][sweep]
            drafts = [draft.name for draft in trained(points_of(grid))]
            grid = grid | {"dataset": [config["data"]["name"]]}  # not the same points on the sets of `domains`
            chosen[name] = {"sweep": grid, "drafts": drafts, "style": style}
    of_tables = (name for name, section in TABLE_FIGURES.items() if section in config)
    learners = in_use_by(config, "train_dvi")
    drawn = {
        "methods": True,
        "learning": bool(in_use_by(config, "train_drafter")),
        "heads": bool(in_use_by(config, "train_exits")),
        "exits": several_heads(config),
        "unverified": bool(in_use_by(config, "train_exits")),
        "online": bool(learners),
        "shift": any("then" in made for made in learners.values()),
    }
    of_study = (name for name in WHOLE_FIGURES if drawn[name])
    for name in (*of_study, *of_tables):
        chosen[name] = {"sweep": {}, "drafts": [], "style": dict(config["figures"].get(name) or {})}
    return chosen
