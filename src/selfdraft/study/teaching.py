"""What drafts learn from: whose answers, which states of which teacher; and the hash of all that decides one."""

from typing import Any

from selfdraft.capacities import capacity_named, shared_depth
from selfdraft.checkpoints import Checkpoint
from selfdraft.provenance.config_hash import Config, as_json, config_hash
from selfdraft.study.entries import beginning_with, draft_models, drafters_in_use, initial_folder, trained_drafters
from selfdraft.study.options import settings_of
from selfdraft.study.sweeps import checkpoints, depths, draft_of


def regenerating(config: Config) -> dict[str, Any]:
    """Those of `drafters_in_use` that learn from the target's own answers."""
    used = drafters_in_use(config)
    return {name: made for name, made in used.items() if made.get("answers") == "regenerated"}


def answers_folder(config: Config) -> str:
    """Where the target's own answers lie, as data and as captured states."""
    return f"results/answers/{config['data']['name']}"


def answering_threads(config: Config, cores: int) -> int:
    """CPU threads that answers are decoded with: all where nothing is trained meanwhile, else one."""
    meanwhile = checkpoints(config) or set(drafters_in_use(config)) - set(regenerating(config))
    return 1 if meanwhile else cores


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
    """What each trained drafter learns from, by its name: files index, sequences, capture and states, and those of the
    drafter that it begins with, `initial`, beside the option that names its folder."""
    found = {}
    for name, made in trained_drafters(config).items():
        own = made.get("answers") == "regenerated"
        text = answers_folder(config) if own else f"results/data/{config['data']['name']}"
        states = text if own else f"results/capture/{config['data']['name']}"
        splits = ["train", "validation"] if own else config["data"]["splits"]
        before = initial_folder(config, name)
        found[name] = {
            "initial": [f"{before}/{file}" for file in ("config.json", "draft.safetensors") if before],
            "initial_option": ["--initial", before] if before else [],
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


def learnt(made: dict[str, Any]) -> dict[str, Any]:
    """What of an entry of `drafters` decides how it is trained: all but what is promised of it afterwards."""
    return {key: value for key, value in made.items() if key != "calibration"}


def calibration_options(made: dict[str, Any]) -> list[str]:
    """The options of `selfdraft calibrate` that an entry of kind exits names."""
    return [word for key, value in made.get("calibration", {}).items() for word in (f"--{key}", str(value))]


def drafter_hash(config: Config, name: str) -> str:
    """The hash of all that decides one trained drafter, and those that it begins with."""
    begin = sorted(beginning_with(config, [name]))
    chain = {each: learnt(config["drafters"][each]) for each in begin}
    own = ["answers", "policies"] if any(made.get("answers") == "regenerated" for made in chain.values()) else []
    alone = answering(config) | {"drafters": chain}
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


def training_of(config: Config, wildcards: Any) -> str:
    """The training section of one draft as JSON."""
    return settings_of(for_draft(config, draft_of(wildcards)), "training")


def training_hash(config: Config, wildcards: Any) -> str:
    """The hash of all that decides one draft."""
    return config_hash(for_draft(config, draft_of(wildcards)), "target", "teacher", "data", "training")
