"""Bytes of what makes up nearly all of a study's disk: models, captured states, checkpoints."""

from selfdraft.capacities import RANKS, capacity_named
from selfdraft.study import options, sweeps, teaching
from selfdraft.study.model_sizes import ModelSizes
from selfdraft.study.sweeps import Checkpoint, Config

BYTES = {"bfloat16": 2, "float32": 4, "auto": 4}  # auto may be either: no less than what is needed
STATE_NUMBERS = 4  # kept of each trained parameter while it trains, float32: itself, the best, two moments


def trained(sizes: ModelSizes, draft: Checkpoint, ranks: dict[str, int]) -> int:
    """Parameters that are trained of a draft, the exit norm included."""
    return sizes.hidden + capacity_named(draft.capacity).trained(sizes, draft.layer, ranks.get(draft.capacity, 0))


def bytes_by_rule(config: Config, models: dict[str, ModelSizes]) -> dict[str, float]:
    """What each rule leaves; no entry for rules that leave little, or whose model is not known yet."""
    target = models.get(config["target"]["name"])
    if target is None:
        return {}
    others = teaching.other_models(config)
    found = {"target": 2.0 * target.parameters}
    found["draft_model"] = sum(2.0 * models[name].parameters for name in others if name in models)
    drafts, data = sweeps.checkpoints(config), config["data"]
    size = target.hidden * BYTES[config["target"]["dtype"]]

    def states(tokens: dict[str, int], files: int, length: int) -> float:
        # each split ends with a whole sequence
        return float(files * size * sum(budget + length / 2 for budget in tokens.values() if budget))

    length = data.get("sequence_length", 0)
    splits = {split: data.get(f"{split}_tokens", 0) for split in teaching.captured_splits(config)}
    found["capture"] = states(splits, len({*teaching.captured_depths(config), target.layers}), length)
    if teaching.regenerating(config):  # in bfloat16 always; answers are about as long as those of the data, or shorter
        files = len({*teaching.answered_depths(config), target.layers})
        found["regenerate"] = 2.0 * target.hidden * files * config["answers"]["questions"]
    elsewhere = sweeps.trained(sweeps.points_for(config, "domains"))
    depths = len({*sweeps.depths(elsewhere), target.layers})
    read = [made for made in options.sets(config).values() if "held_out_tokens" in made]
    found["domain_capture"] = sum(
        states({"": made["held_out_tokens"]}, depths, made["sequence_length"]) for made in read
    )
    ranks = RANKS | config["training"].get("ranks", {})
    found["train"] = sum(2.0 * trained(target, draft, ranks) for draft in drafts)
    return {rule: count for rule, count in found.items() if count}


def scratch(config: Config, models: dict[str, ModelSizes]) -> float:
    """Bytes that the state of the largest draft takes while it trains."""
    target = models.get(config["target"]["name"])
    drafts, ranks = sweeps.checkpoints(config), RANKS | config["training"].get("ranks", {})
    if target is None or not drafts:
        return 0.0
    return 4.0 * STATE_NUMBERS * max(trained(target, draft, ranks) for draft in drafts)
