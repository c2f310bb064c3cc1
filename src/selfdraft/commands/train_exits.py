"""What `selfdraft train-drafter` does for kind `exits`: several exits trained together, in one folder."""

import argparse
from typing import TYPE_CHECKING, Any

from selfdraft.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from selfdraft.training.states import States

FILES = ("aux_heads.safetensors", "config.json", "train_log.jsonl", "calibration.json")


def checked(found: dict[str, Any], where: str) -> dict[str, Any]:
    """What training takes of an entry of `drafters`, and its mode. Raises StudyError unless the entry has heads."""
    if ("heads" in found) == ("num_heads" in found):
        raise StudyError(f"{where}.heads: a list of layers, or num_heads in its place; one of the two is right")
    # States of heads whose layers nobody has listed are not captured before.
    mode = {"mode": "offline" if "heads" in found else "online"}
    taken = {key: value for key, value in found.items() if key != "calibration"}
    return taken | {"training": mode | found["training"]}


def train(args: argparse.Namespace, raw: dict[str, Any]) -> None:
    """Train the heads of a checked entry and write their folder; taken up from `--state` after an interruption."""
    import json
    from contextlib import ExitStack
    from pathlib import Path

    import torch

    from selfdraft.commands.origin import origin
    from selfdraft.commands.train import Asked, ended, following, log_beside, log_in
    from selfdraft.files import whole_folder, write_json
    from selfdraft.models.exit import target_identity, untrained_exit
    from selfdraft.models.exits import check_heads, save_exits, spread
    from selfdraft.models.runtime import start
    from selfdraft.models.vocabulary import most_frequent
    from selfdraft.sequences import read_counts, read_sequences
    from selfdraft.training.capture import read_states, text_digest
    from selfdraft.training.interruption import Stopped
    from selfdraft.training.saved import Saving
    from selfdraft.training.settings import Settings
    from selfdraft.training.states import CapturedStates, ComputedStates
    from selfdraft.training.trackers import all_of
    from selfdraft.training.trainer import Trainer

    where = f"drafters.{args.name}"
    settings = Settings.from_dict(raw["training"])
    settings.objective_at(raw["T"])
    if settings.mode == "offline" and args.capture is None:
        raise StudyError("--capture: missing; mode offline trains on captured states (or choose mode online)")
    target = start(args.target, settings.dtype, args.device, args.threads)
    last, vocab = target.config.n_layers, target.config.vocab_size
    heads = sorted(raw["heads"]) if "heads" in raw else spread(raw["num_heads"], last, f"{where}.num_heads")
    check_heads(heads, last, f"{where}.heads")
    drafts = [
        untrained_exit(target, layer, raw["capacity"], torch.float32, settings.ranks, settings.seed) for layer in heads
    ]
    sequences = {split: read_sequences(args.data, split) for split in ("train", "validation")}
    words = None
    if settings.loss_vocabulary:
        counts = read_counts(args.data, vocab)
        words = most_frequent(counts, settings.loss_vocabulary, f"{where}.training.loss_vocabulary")

    def states(split: str) -> "States":
        text = sequences[split]
        if settings.mode == "online":
            return ComputedStates(text, target, target)
        depths = {*(draft.depth for draft in drafts), last}
        by_depth = {depth: read_states(args.capture, depth, split, target, text) for depth in depths}
        return CapturedStates(text, by_depth, by_depth[last], target)

    identities = {
        "target": target_identity(target),
        "text": {split: text_digest(text) for split, text in sequences.items()},
    }
    with ExitStack() as stack:
        folder = stack.enter_context(whole_folder(args.out_dir, FILES))
        beside = log_beside(args.state, args.name, 1) if args.state else None
        log = all_of([log_in(folder, stack), *following(beside, stack)])

        def log_of(layer: int) -> "Callable[[str], object]":
            return lambda line: log(json.dumps({"layer": layer} | json.loads(line)))

        trainer = Trainer(
            *(target, target, drafts, [float(raw["T"])] * len(drafts), states("train"), states("validation")),
            *(settings, [log_of(layer) for layer in heads]),
            words=words,
        )
        saving = None
        if args.state:
            run = {"drafter": raw, "heads": heads, **identities}
            saving = Saving(Path(args.state), run, args.save_steps, 60 * args.save_minutes)
        try:
            summaries = trainer.run(saving, asked := Asked())
        except Stopped as stopped:
            raise ended(stopped, len(trainer.plan), args.state, asked.signal) from None
        save_exits(drafts, folder)
        parameters = sum(tensor.numel() for draft in drafts for tensor in draft.named_tensors().values())
        config: dict[str, Any] = {
            "kind": raw["kind"],
            "drafter": args.name,
            "heads": heads,
            "capacity": raw["capacity"],
            "T": float(raw["T"]),
            "objective": settings.objective,
            "seed": settings.seed,
            "dataset": args.dataset,
            "trained_parameters": parameters,
            "trained_bytes": 2 * parameters,
            "training_tokens": summaries[0]["tokens"],
            "training_seconds": summaries[0]["seconds"],
            **identities,
            "settings": raw,
            "summaries": {f"layer{layer}": summary for layer, summary in zip(heads, summaries, strict=True)},
            **origin(args, str(target.device)),
        }
        write_json(folder / "config.json", config)
    if saving is not None:
        saving.remove()
    if beside is not None:
        beside.unlink(missing_ok=True)
