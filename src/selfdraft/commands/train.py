"""`selfdraft train`: one checkpoint, or several in one pass, by one process or several, interrupted or not."""

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

from selfdraft.capacities import described
from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from selfdraft.training.interruption import Stopped

FILES = ("draft.safetensors", "config.json", "train_log.jsonl")


class Chosen(NamedTuple):
    """One draft to train, and the folder of its checkpoint."""

    layer: int
    T: float
    capacity: str
    folder: str


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--capture", help="folder made by `selfdraft capture`; not needed with mode online")
    parser.add_argument("--teacher", help="another model of the same vocabulary to learn from, a folder like --target")
    parser.add_argument("--layer", type=int, help="exit after this layer, counted from 0")
    parser.add_argument("--T", type=float, help="temperature of the KL, > 0")
    parser.add_argument("--capacity", help=f"what is trained, the exit norm always: {described()}")
    parser.add_argument(
        "--drafts", help='instead of these three: several drafts in one pass, as JSON: [[6, 1.0, "head"], …]'
    )
    parser.add_argument(
        "--config", nargs="+", default=[], help="config files; their `training` sections, merged in order"
    )
    parser.add_argument("--settings", default="{}", help="the config's `training` section as JSON; over --config")
    parser.add_argument("--objective", help="in place of the settings' own: kl, kl_ce, reverse_kl, tv")
    parser.add_argument("--seed", type=int, help="in place of the settings' own: of the order of the training text, …")
    parser.add_argument("--dataset", default="", help="name of the data, for the tables")
    parser.add_argument("--config-hash", default="", help="hash of the study's config, for provenance")
    parser.add_argument("--commit", default="", help="git commit, for provenance")
    parser.add_argument(
        "--out-dir", required=True, help="checkpoint folder to write; with --drafts, the folder of them"
    )
    parser.add_argument("--state", help="file that keeps the state of a run that is interrupted; taken up from there")
    parser.add_argument("--save-minutes", type=float, default=1, help="save the state this often; 0: not by time")
    parser.add_argument("--save-steps", type=int, default=0, help="save the state every so many steps; 0: not by steps")
    parser.add_argument(
        "--tensorboard", help="folder for TensorBoard's event files too (needs the package tensorboard)"
    )
    parser.add_argument("--wandb", help="project of Weights & Biases for the log too (needs the package wandb)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--processes", type=int, default=1, help="train with so many, a GPU each (accelerate launch)")
    parser.add_argument("--threads", type=int, help="CPU threads of all processes (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    from contextlib import ExitStack
    from pathlib import Path

    import torch

    from selfdraft.commands.origin import origin
    from selfdraft.commands.settings import json_option
    from selfdraft.commands.teacher import load_teacher
    from selfdraft.files import whole_folder, write_json
    from selfdraft.models.exit import (
        check_capacity,
        check_layer,
        draft_step_bytes,
        save_exit,
        target_identity,
        untrained_exit,
    )
    from selfdraft.models.runtime import start
    from selfdraft.models.vocabulary import most_frequent
    from selfdraft.sequences import read_counts, read_sequences
    from selfdraft.training.capture import read_states, text_digest
    from selfdraft.training.interruption import Stopped
    from selfdraft.training.processes import join, launch
    from selfdraft.training.saved import Saving
    from selfdraft.training.settings import Settings
    from selfdraft.training.states import CapturedStates, ComputedStates, States
    from selfdraft.training.trackers import all_of
    from selfdraft.training.trainer import Trainer

    raw = merged(training_section(args.config), json_option(args.settings, "--settings")) | {
        key: value for key, value in (("objective", args.objective), ("seed", args.seed)) if value is not None
    }
    settings = Settings.from_dict(raw)
    chosen = chosen_drafts(args, settings.objective, settings.seed)
    for draft in chosen:
        settings.objective_at(draft.T)
        check_capacity(draft.capacity, "--capacity")
    if args.save_minutes < 0 or args.save_steps < 0:
        raise StudyError("--save-minutes, --save-steps: a number ≥ 0 is right")
    if settings.mode == "offline" and args.capture is None:
        raise StudyError("--capture: missing; mode offline trains on captured states (or choose mode online)")
    if args.processes != 1:
        launch(args.processes, args.device)
    processes, device = join(args.device)
    threads = max(1, args.threads // processes.size) if args.threads else None
    target = start(args.target, settings.dtype, device, threads)
    for draft in chosen:
        check_layer(draft.layer, target.config.n_layers, "--layer")
    teacher = load_teacher(args.teacher, args.target, target)
    drafts = [
        untrained_exit(target, draft.layer, draft.capacity, torch.float32, settings.ranks, settings.seed)
        for draft in chosen
    ]
    sequences = {split: read_sequences(args.data, split) for split in ("train", "validation")}

    words = None
    if settings.loss_vocabulary:
        counts = read_counts(args.data, target.config.vocab_size)
        words = most_frequent(counts, settings.loss_vocabulary, "training.loss_vocabulary")

    def states(split: str) -> States:
        text = sequences[split]
        if settings.mode == "online":
            return ComputedStates(text, target, teacher or target)
        depths = sorted({*(draft.depth for draft in drafts), target.config.n_layers})
        by_depth = {depth: read_states(args.capture, depth, split, target, text) for depth in depths}
        final = read_states(args.capture, target.config.n_layers, split, target, text, teacher)
        return CapturedStates(text, by_depth, final, target)

    identities = {
        "dtype": str(target.dtype).removeprefix("torch."),
        "target": target_identity(target),
        "teacher": target_identity(teacher) if teacher is not None else None,
        "text": {split: text_digest(text) for split, text in sequences.items()},
    }
    with ExitStack() as stack:
        # The other processes compute the same; the first one alone writes.
        folders = [
            stack.enter_context(whole_folder(draft.folder, FILES)) if processes.first else None for draft in chosen
        ]
        beside = [
            log_beside(args.state, Path(draft.folder).name, len(chosen)) if args.state and processes.first else None
            for draft in chosen
        ]
        logs = [
            all_of([log_in(folder, stack), *following(live, stack), *trackers(args, Path(draft.folder).name, folder)])
            for draft, folder, live in zip(chosen, folders, beside, strict=True)
        ]
        trainer = Trainer(
            target,
            teacher or target,
            drafts,
            [draft.T for draft in chosen],
            states("train"),
            states("validation"),
            settings,
            logs,
            processes,
            words,
        )
        saving = None
        if args.state:
            shape = {"drafts": [list(draft[:3]) for draft in chosen], "training": raw, **identities}
            saving = Saving(Path(args.state), shape, args.save_steps, 60 * args.save_minutes)
        try:
            summaries = trainer.run(saving, asked := Asked())
        except Stopped as stopped:
            kept = (
                f"state saved in {args.state}; start again to go on" if stopped.saved else "nothing was saved (--state)"
            )
            message = f"stopped after step {stopped.step} of {len(trainer.plan)}; {kept}"
            raise SystemExit(terminated(message, asked.signal)) from None
        for trained, choice, folder, summary in zip(drafts, chosen, folders, summaries, strict=True):
            if folder is None:
                continue
            save_exit(trained, folder)
            parameters = sum(tensor.numel() for tensor in trained.named_tensors().values())
            config: dict[str, Any] = {
                "drafter": "early_exit",
                "layer": choice.layer,
                "T": choice.T,
                "capacity": choice.capacity,
                "objective": settings.objective,
                "ce_weight": settings.ce_weight,
                "seed": settings.seed,
                "dataset": args.dataset,
                "trained_parameters": parameters,
                "trained_bytes": 2 * parameters,
                "draft_step_bytes": draft_step_bytes(trained, target),
                "training_tokens": summary["tokens"],
                "training_seconds": summary["seconds"],
                **identities,
                "training": raw,
                "summary": summary,
                "processes": processes.size,
                **origin(args, str(target.device)),
            }
            write_json(folder / "config.json", config)
    if saving is not None and processes.first:
        saving.remove()
        for live in beside:
            if live is not None:
                live.unlink(missing_ok=True)
    processes.leave()


def training_section(files: list[str]) -> dict[str, Any]:
    """The `training` sections of config files, later ones over earlier ones. Raises StudyError for what has none."""
    import yaml

    found: dict[str, Any] = {}
    for path in files:
        try:
            with open(path, encoding="utf-8") as file:
                config = yaml.safe_load(file)
        except FileNotFoundError:
            raise StudyError(f"--config: {path}: file not found") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise StudyError(f"--config: {path}: not valid YAML ({' '.join(str(error).split())})") from None
        section = config.get("training") if isinstance(config, dict) else None
        if not isinstance(section, dict):
            raise StudyError(f"--config: {path}: has no section training")
        found = merged(found, section)
    return found


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, mappings inside key by key."""
    inner = {key: merged(below[key], above[key]) for key in above if _are_mappings(below.get(key), above[key])}
    return below | above | inner


def _are_mappings(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


def log_in(folder: "Path | None", stack: "ExitStack") -> "Callable[[str], object]":
    """What takes the lines of a checkpoint's log; without a folder they go nowhere."""
    if folder is None:
        return lambda line: None
    file = stack.enter_context((folder / "train_log.jsonl").open("w", encoding="utf-8", buffering=1))
    return lambda line: file.write(line + "\n")


def chosen_drafts(args: argparse.Namespace, objective: str, seed: int) -> list[Chosen]:
    """The drafts that the options name; the folders of several say the objective and the seed where those are unusual.

    Raises StudyError for too little, too much, or the same one twice.
    """
    from pathlib import Path

    from selfdraft.checkpoints import Checkpoint
    from selfdraft.commands.settings import json_option

    one = {"--layer": args.layer, "--T": args.T, "--capacity": args.capacity}
    if args.drafts is None:
        missing = [name for name, value in one.items() if value is None]
        if missing:
            raise StudyError(f"{missing[0]}: missing; --layer, --T and --capacity name a draft, --drafts several")
        return [Chosen(args.layer, args.T, args.capacity, args.out_dir)]
    if given := [name for name, value in one.items() if value is not None]:
        raise StudyError(f"{given[0]}: does not go with --drafts")
    found = []
    for entry in json_option(args.drafts, "--drafts", list):
        kinds = [type(part) for part in entry] if isinstance(entry, list) else []
        if kinds not in ([int, float, str], [int, int, str]):
            raise StudyError(f'--drafts: found {entry!r}, a list like [6, 1.0, "head"] is right')
        layer, T, capacity = entry
        name = Checkpoint(layer, T, capacity, objective, seed).name
        found.append(Chosen(layer, float(T), capacity, str(Path(args.out_dir) / name)))
    if not found or len(set(found)) < len(found):
        raise StudyError("--drafts: at least one draft, and each of them once")
    return found


def log_beside(state: str, name: str, drafts: int) -> "Path":
    """Where the log can be read while it is written: beside the state, until the checkpoint holds it."""
    from pathlib import Path

    path = Path(state)
    return path.with_name(f"{path.stem}{'' if drafts == 1 else f'.{name}'}.train_log.jsonl")


def following(path: "Path | None", stack: "ExitStack") -> "list[Callable[[str], object]]":
    """What writes each line to `path` at once; a run that goes on tells its former lines again."""
    if path is None:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    file = stack.enter_context(path.open("w", encoding="utf-8", buffering=1))
    return [lambda line: file.write(line + "\n")]


def trackers(args: argparse.Namespace, name: str, folder: "Path | None") -> "list[Callable[[str], object]]":
    """The services that the options name; only for the process that writes."""
    from selfdraft.training.trackers import tensorboard, wandb

    found = []
    if args.tensorboard and folder is not None:
        found.append(tensorboard(args.tensorboard, name))
    if args.wandb and folder is not None:
        found.append(wandb(args.wandb, name))
    return found


class Asked:
    """Whether SIGTERM (of a scheduler that ends a job) or SIGINT (Ctrl-C) came. A second Ctrl-C ends at once."""

    def __init__(self) -> None:
        import signal
        import threading

        self.signal = 0
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGINT):
                signal.signal(each, self._came)

    def _came(self, number: int, frame: object) -> None:
        import signal

        self.signal = number
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)

    def is_set(self) -> bool:
        """Whether to stop."""
        return self.signal != 0


def ended(stopped: "Stopped", steps: int, state: str | None, signal: int) -> SystemExit:
    """Of `train-drafter`: say how far a run came that was stopped, and give what ends the process."""
    kept = f"state saved in {state}; start again to go on" if stopped.saved else "nothing was saved"
    message = f"stopped after step {stopped.step} of {steps}; {kept}"
    return SystemExit(terminated(message, signal, "train-drafter"))


def terminated(message: str, signal: int, stage: str = "train") -> int:
    """Say why, and return the exit status of a process that the signal ended: the work is not done."""
    import sys

    print(f"selfdraft {stage}: {message}", file=sys.stderr)
    return 128 + (signal or 15)
