"""`selfdraft train-drafter`: a drafter with a layer of its own, on its own unrolled steps; or exits together."""

import argparse
from typing import TYPE_CHECKING, Any

from selfdraft.commands import train_exits
from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.errors import StudyError
from selfdraft.settings.capacity_rules import definitions_with_capacities
from selfdraft.settings.check import check
from selfdraft.settings.kinds import kind_of

if TYPE_CHECKING:
    from torch import Tensor


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument(
        "--capture",
        help="folder made by `selfdraft capture` with the depths that are read; not needed for exits with mode online",
    )
    parser.add_argument("--name", default="eagle3", help="the drafter's name in the config's `drafters`")
    parser.add_argument(
        "--settings",
        required=True,
        help='its entry there as JSON: {"kind": "eagle3", "features": [2, 15, 27], "vocabulary": 8192, "training": {}} '
        'or {"kind": "exits", "heads": [7, 14, 22], "capacity": "head", "training": {}}',
    )
    parser.add_argument("--initial", help="folder of the drafter that the entry's `initial` names, to go on from")
    parser.add_argument("--dataset", default="", help="name of the data, for the tables")
    parser.add_argument("--config-hash", default="", help="hash of the study's config, for provenance")
    parser.add_argument("--commit", default="", help="git commit, for provenance")
    parser.add_argument("--out-dir", required=True, help="folder to write")
    parser.add_argument("--state", help="file that keeps the state of a run that is interrupted; taken up from there")
    parser.add_argument("--save-minutes", type=float, default=1, help="save the state this often; 0: not by time")
    parser.add_argument("--save-steps", type=int, default=0, help="save the state every so many steps; 0: not by steps")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def checked(settings: Any, name: str) -> dict[str, Any]:
    """The entry with its defaults. Raises StudyError for a kind that is not trained so, or a key that is wrong."""
    where = f"drafters.{name}"
    kind = settings.get("kind") if isinstance(settings, dict) else None
    if kind not in ("eagle3", "exits"):
        raise StudyError(f"{where}.kind: found {kind!r}, eagle3 or exits is what is trained here")
    check(settings, {**kind_of(kind).schema, "$defs": definitions_with_capacities()}, where)
    found = kind_of(kind).defaults | settings
    return found if kind == "eagle3" else train_exits.checked(found, where)


def run(args: argparse.Namespace) -> None:
    from selfdraft.commands.settings import json_option

    raw = checked(json_option(args.settings, "--settings"), args.name)
    if args.save_minutes < 0 or args.save_steps < 0:
        raise StudyError("--save-minutes, --save-steps: a number ≥ 0 is right")
    if raw["kind"] == "exits":
        train_exits.train(args, raw)
    else:
        train(args, raw)


def train(args: argparse.Namespace, raw: dict[str, Any]) -> None:
    """Train the EAGLE-3 drafter of a checked entry and write its folder; taken up from `--state`."""
    from contextlib import ExitStack
    from pathlib import Path

    import torch

    from selfdraft.commands.origin import origin
    from selfdraft.commands.train import FILES, Asked, ended, following, log_beside, log_in
    from selfdraft.files import whole_folder, write_json
    from selfdraft.models.eagle3 import check_features, save_eagle3, untrained_eagle3
    from selfdraft.models.exit import target_identity
    from selfdraft.models.runtime import start
    from selfdraft.models.vocabulary import most_frequent
    from selfdraft.sequences import read_counts, read_sequences
    from selfdraft.training.capture import read_states, text_digest
    from selfdraft.training.drafter_initial import begin_from
    from selfdraft.training.drafter_settings import DrafterSettings
    from selfdraft.training.drafter_trainer import DrafterTrainer
    from selfdraft.training.interruption import Stopped
    from selfdraft.training.saved import Saving
    from selfdraft.training.states import CapturedStates
    from selfdraft.training.trackers import all_of

    settings = DrafterSettings.from_dict(raw["training"])
    if args.capture is None:
        raise StudyError("--capture: missing; the folder with the states that are fused")
    if bool(args.initial) != bool(raw["initial"]):
        raise StudyError(f"--initial: the folder of what drafters.{args.name}.initial names; one goes with the other")
    if args.initial and "start" in raw["training"]:
        raise StudyError("training.start: does not go with initial, which says where training starts")
    target = start(args.target, settings.dtype, args.device, args.threads)
    last, vocab = target.config.n_layers, target.config.vocab_size
    check_features(raw["features"], last, f"drafters.{args.name}.features")
    counts = read_counts(args.data, vocab)
    ids: Tensor = most_frequent(counts, raw["vocabulary"], f"drafters.{args.name}.vocabulary")
    sequences = {split: read_sequences(args.data, split) for split in ("train", "validation")}
    depths = sorted({*raw["features"], last})

    def states(split: str) -> CapturedStates:
        text = sequences[split]
        by_depth = {depth: read_states(args.capture, depth, split, target, text) for depth in depths}
        return CapturedStates(text, by_depth, by_depth[last], target)

    more = {key: raw[key] for key in ("fc_norm", "norm_output", "bias_rank", "confidence")}
    draft = untrained_eagle3(target, raw["features"], ids, torch.float32, **more, seed=settings.seed)
    before: dict[str, Any] | None = None
    if args.initial:
        before = begin_from(draft, args.initial, target, f"drafters.{args.name}.initial")
    learn, check = states("train"), states("validation")
    identities = {
        "target": target_identity(target),
        "text": {split: text_digest(text) for split, text in sequences.items()},
    }
    if before is not None:
        identities["initial"] = before
    with ExitStack() as stack:
        folder = stack.enter_context(whole_folder(args.out_dir, FILES))
        beside = log_beside(args.state, args.name, 1) if args.state else None
        log = all_of([log_in(folder, stack), *following(beside, stack)])
        trainer = DrafterTrainer(target, draft, learn, check, settings, log, begun=before is not None)
        saving = None
        if args.state:
            # Parts that are off leave no trace, so that a run of before they were there goes on.
            newer = ("bias_rank", "confidence", "initial")
            decides = {key: value for key, value in raw.items() if value or key not in newer}
            decided = {"drafter": decides, **identities}
            saving = Saving(Path(args.state), decided, args.save_steps, 60 * args.save_minutes)
        try:
            summary = trainer.run(saving, asked := Asked())
        except Stopped as stopped:
            raise ended(stopped, len(trainer.plan), args.state, asked.signal) from None
        save_eagle3(draft, folder)
        parameters = sum(parameter.numel() for parameter in draft.parameters())
        config: dict[str, Any] = {
            "kind": raw["kind"],
            "drafter": args.name,
            "features": raw["features"],
            **more,
            "draft_vocab_size": len(ids),
            "seed": settings.seed,
            "dataset": args.dataset,
            "trained_parameters": parameters,
            "trained_bytes": 2 * parameters,
            "draft_step_bytes": draft.step_bytes() // 2,  # of weights in bfloat16; these are float32
            # With those of the drafter that it went on from; the summary has its own.
            "training_tokens": summary["tokens"] + (before["training_tokens"] if before else 0),
            "training_seconds": round(summary["seconds"] + (before["training_seconds"] if before else 0), 3),
            **identities,
            "settings": raw,
            "summary": summary,
            **origin(args, str(target.device)),
        }
        write_json(folder / "config.json", config)
    if saving is not None:
        saving.remove()
    if beside is not None:
        beside.unlink(missing_ok=True)
