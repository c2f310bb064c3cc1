"""`selfdraft dvi`: a draft that learns from its own verifications while it serves a stream of prompts."""

import argparse
from typing import TYPE_CHECKING, Any

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.options import add_dtype, add_origin, add_place

if TYPE_CHECKING:
    from selfdraft.models.exit import Exit
    from selfdraft.models.llama import Llama
    from selfdraft.online.learner import OnlineLearner
    from selfdraft.online.settings import OnlineSettings
    from selfdraft.sequences import Prompt

FILES = ("draft.safetensors", "config.json", "train_log.jsonl", "results.json", "lora_S/", "lora_D/", "target/")
TRAINING = ("training_tokens", "training_seconds")  # of an exit that is measured beside it
CAPACITIES = ("norm", "translator", "low_rank_head", "head", "lora")
BY_HAND = ("slow_every", "beta_kl", "slow_learning_rate")  # options that no entry of a study's `drafters` has
OPTIONS = {  # of OnlineSettings, in the order of the help
    "objective": "composite (the published mixture), kl, ce, policy_gradient, tv (the exact gradient of acceptance); "
    "none: the draft stays as it is",
    "share": "what of the draft's path learns; head: above the exit's depth; split: LoRA (capacity lora) on the "
    "draft's own copy of the layers up to it; in both the target's layers stay as they are. shared: LoRA on all of the "
    "target's layers, so that the text is the adapted model's",
    "draft": "how tokens are proposed while learning: argmax, or sample, without which policy_gradient is biased",
    "gamma": "tokens drafted per cycle",
    "max_new_tokens": "longest answer",
    "temperature": "of the verification; 0 is greedy",
    "batch": "prompts that are served at once, held-out ones too",
    "fast_batch": "an update after so many accepted tokens, or 8 times as many decided ones",
    "slow_every": "of share shared: updates from one to the next that adapts the layers behind the exit too; 0: none",
    "beta_kl": "of share shared: what their divergence from the base model counts for",
    "slow_learning_rate": "of share shared: theirs",
    "buffer": "records kept for replay",
    "replay": "older records in an update, for each new one",
    "baseline_momentum": "of the moving average of the reward, in [0, 1)",
    "tau": "temperature of the KL losses",
    "warmup": "updates until the composite objective moves, and for which it moves",
    "learning_rate": "of all that learns but the layers behind the exit (default: the capacity's own; shared: 2e-4)",
    "weight_decay": "of AdamW",
    "gradient_clip": "largest norm of a step's gradient",
    "evaluate_every": "prompts between evaluations on held-out prompts; 0: before and after alone",
    "prompts": "length of the stream; 0 is all",
    "seed": "of the stream's order, of drawn drafts, of what is replayed",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    from dataclasses import fields

    from selfdraft.online.settings import OnlineSettings

    defaults = {field.name: field.default for field in fields(OnlineSettings)}
    parser.add_argument("--target", "--model-name", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=f"{HELP_DATA}: the stream, and the held-out prompts")
    parser.add_argument("--exit-layer", type=int, help="draft after this layer, counted from 0")
    parser.add_argument(
        "--capacity",
        help=f"what learns beside the exit norm: {', '.join(CAPACITIES)} (low_rank_head; lora for split and shared)",
    )
    parser.add_argument("--rank", type=int, help="of low_rank_head (default: 64) or lora (16)")
    parser.add_argument(
        "--initial",
        metavar="CHECKPOINT",
        help="start from a trained exit (folder, or hub:OWNER/NAME@COMMIT), not from the target's head",
    )
    for name, text in OPTIONS.items():
        default = defaults[name]
        kind = float if default is None else type(default)
        if name in BY_HAND:  # whether it was asked for must be known
            text, default = f"{text} (default: {default:g})", None
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=text)
    parser.add_argument(
        "--then", metavar="DATA", help="other data: the stream goes on with their prompts, as many at most"
    )
    parser.add_argument(
        "--beside", nargs="*", default=[], metavar="CHECKPOINT", help="trained exits to measure on the same prompts"
    )
    parser.add_argument("--name", default="dvi", help="the drafter's name in the config's `drafters`")
    parser.add_argument("--held-out-prompts", type=int, default=0, help="of --data, to evaluate on; 0 is all")
    parser.add_argument("--dataset", default="", help="name of the data, for the tables")
    parser.add_argument("--out-dir", required=True, help="checkpoint folder to write")
    parser.add_argument("--state", help="file that keeps the state of a run that is interrupted; taken up from there")
    parser.add_argument("--save-minutes", type=float, default=1, help="save the state this often; 0: not by time")
    parser.add_argument("--save-prompts", type=int, default=0, help="save it every so many prompts; 0: not by prompts")
    add_dtype(parser, "the computation")
    add_place(parser)
    add_origin(parser)


def run(args: argparse.Namespace) -> None:
    from contextlib import ExitStack
    from pathlib import Path

    import torch

    from selfdraft.commands.train import Asked, following, log_beside, log_in, terminated
    from selfdraft.errors import StudyError
    from selfdraft.files import whole_folder, write_json
    from selfdraft.models.exit import load_exit, target_identity
    from selfdraft.models.runtime import start
    from selfdraft.online.held_out import measured
    from selfdraft.online.learner import Broken, OnlineLearner
    from selfdraft.online.left import leave
    from selfdraft.online.pair import Pair
    from selfdraft.online.run import OnlineRun
    from selfdraft.provenance import is_dirty
    from selfdraft.provenance.surroundings import machine, packages
    from selfdraft.sequences import read_sequences
    from selfdraft.sources.chat import ChatTokenizer
    from selfdraft.training.interruption import Stopped
    from selfdraft.training.saved import Saving
    from selfdraft.training.trackers import all_of

    settings = asked_settings(args)
    target = start(args.target, args.dtype, args.device, args.threads)
    ends = frozenset(ChatTokenizer.from_folder(args.target).eos_ids)
    draft = first_draft(args, settings, target)
    prompts, of_stream = stream_of(args, settings, target)
    held_out = held_out_of(args, settings, target)
    drifting = read_sequences(args.data, "held_out") if settings.share == "shared" else None
    if drifting is not None and args.beside:
        raise StudyError("--beside: does not go with share shared, which verifies with another model than theirs")
    pair = Pair.of(draft, target, drifting is not None, settings.seed + 2)
    others = {folder: load_exit(folder, target) for folder in args.beside}
    packed = {folder: found.pack() for folder, (found, _) in others.items()}
    target.pack()
    identity = target_identity(target)
    described: dict[str, Any] = {
        "settings": settings.as_json(),
        "layer": draft.layer,
        "capacity": draft.capacity,
        "initial": digest_of(args.initial),
        "held_out": [prompt.id for prompt in held_out],
        "stream": digest_of_tokens(prompts),
        "dtype": str(target.dtype),
        "target": identity,
    }

    def measured_of(exit_: "Exit") -> dict[str, Any]:
        how = (settings.gamma, settings.max_new_tokens, settings.seed, ends, settings.batch)
        return measured(target, exit_, held_out, learner.policy, *how)

    def measure() -> dict[str, Any]:
        found = measured_of(pair.serving)
        if pair.verifier is not None and drifting is not None:
            found["by_conversation"] = pair.verifier.drift(drifting, args.held_out_prompts)
        return found

    broken: Broken | None = None
    with ExitStack() as stack:
        folder = stack.enter_context(whole_folder(args.out_dir, FILES))
        beside = log_beside(args.state, "dvi", 1) if args.state else None
        learner = OnlineLearner(pair, settings, all_of([log_in(folder, stack), *following(beside, stack)]))
        online = OnlineRun(learner, prompts, ends, measure)
        saving = None
        if args.state:
            saving = Saving(Path(args.state), described, args.save_prompts, 60 * args.save_minutes)
        try:
            online.go(saving, asked := Asked())
        except Stopped as stopped:
            kept = f"state saved in {args.state}; start again to go on" if stopped.saved else "nothing was saved"
            message = f"stopped after prompt {stopped.step} of {len(prompts)}; {kept}"
            raise SystemExit(terminated(message, asked.signal, "dvi")) from None
        except Broken as error:
            broken = error
        beside_it = [
            {"name": Path(name).name, **{key: others[name][1].get(key) for key in TRAINING}, **measured_of(found)}
            for name, found in packed.items()
        ]
        config: dict[str, Any] = {
            "kind": "dvi",
            "drafter": args.name,
            "T": 1.0,
            "objective": settings.objective,
            "share": settings.share,
            "seed": settings.seed,
            "dataset": args.dataset,
            **leave(folder, pair, Path(args.target)),
            "training_tokens": learner.tokens,
            "training_seconds": round(learner.spent["learning_s"], 3),
            "initial": args.initial,
            "online": settings.as_json(),
            "commit": args.commit,
            "config_hash": args.config_hash,
            "torch": torch.__version__,
            "provenance": {**machine(str(target.device)), "packages": packages(), "dirty": is_dirty(args.commit)},
        }
        write_json(folder / "config.json", config)
        found = results_of(learner) | {"stream": of_stream, "beside": beside_it}
        write_json(folder / "results.json", found | {"broken": str(broken) if broken else None})
    if saving is not None:
        saving.remove()
    if beside is not None:
        beside.unlink(missing_ok=True)
    if broken is not None:
        raise StudyError(f"{broken}; {args.out_dir} has the draft as it was before")


def asked_settings(args: argparse.Namespace) -> "OnlineSettings":
    """The settings that the options say. Raises StudyError for one that the share has no use for, or that is wrong."""
    from selfdraft.errors import StudyError
    from selfdraft.online.settings import OnlineSettings

    settings = OnlineSettings(**{name: found for name in OPTIONS if (found := getattr(args, name)) is not None})
    for name in BY_HAND:
        if getattr(args, name) is not None and settings.share != "shared":
            option = name.replace("_", "-")
            raise StudyError(f"--{option}: share shared alone uses it; this is share {settings.share}, leave it out")
    if args.save_minutes < 0 or args.save_prompts < 0 or args.held_out_prompts < 0:
        raise StudyError("--save-minutes, --save-prompts, --held-out-prompts: a number ≥ 0 is right")
    return settings


def stream_of(
    args: argparse.Namespace, settings: "OnlineSettings", target: "Llama"
) -> tuple[list[list[int]], list[list[Any]]]:
    """The prompts to serve, and [name, prompts] of each data set that they are of.

    Where texts are run again to learn from them, none is so long that its angles would be others than those of the
    part that is run again (LongRoPE).
    """
    from selfdraft.online.stream import stream
    from selfdraft.sequences import read_name

    longest = target.config.max_positions if settings.share == "head" else target.one_range
    room = longest - settings.max_new_tokens - settings.gamma
    prompts = stream(args.data, room, settings.seed, settings.prompts, "--data")
    of_stream: list[list[Any]] = [[read_name(args.data), len(prompts)]]
    if args.then is not None:
        more = stream(args.then, room, settings.seed, 0, "--then")[: len(prompts)]
        prompts, of_stream = prompts + more, [*of_stream, [read_name(args.then), len(more)]]
    return prompts, of_stream


def held_out_of(args: argparse.Namespace, settings: "OnlineSettings", target: "Llama") -> list["Prompt"]:
    """The prompts to look at. Raises StudyError if there are fewer, or one does not fit into the context."""
    from selfdraft.errors import StudyError
    from selfdraft.sequences import check_room, read_prompts

    held_out = read_prompts(args.data)
    if args.held_out_prompts > len(held_out):
        raise StudyError(f"--held-out-prompts: {args.held_out_prompts} asked, {args.data} has {len(held_out)}")
    held_out = held_out[: args.held_out_prompts or None]
    check_room(held_out, settings.max_new_tokens + settings.gamma, target.config.max_positions, args.data)
    return held_out


def first_draft(args: argparse.Namespace, settings: "OnlineSettings", target: "Llama") -> "Exit":
    """The exit that starts to learn. Raises StudyError for a wrong layer or capacity, or not that of --initial."""
    import torch

    from selfdraft.capacities import RANKS
    from selfdraft.errors import StudyError
    from selfdraft.models.exit import check_capacity, check_layer, load_exit, untrained_exit
    from selfdraft.online.settings import SHARES

    if args.initial is not None:
        if args.rank is not None:
            raise StudyError("--rank: does not go with --initial, which has its own")
        draft, _ = load_exit(args.initial, target)
        if draft.capacity == "lora":
            raise StudyError(
                f"--initial: {args.initial} has its LoRA merged; share {settings.share} starts from the target's layers"
            )
        for option, asked, found in (
            ("--exit-layer", args.exit_layer, draft.layer),
            ("--capacity", args.capacity, draft.capacity),
        ):
            if asked not in (None, found):
                raise StudyError(f"{option}: {asked}, but --initial {args.initial} is an exit with {found}")
    else:
        if args.exit_layer is None:
            raise StudyError("--exit-layer: missing; it or --initial says where the draft leaves the target")
        check_layer(args.exit_layer, target.config.n_layers, "--exit-layer")
        capacity = args.capacity or ("low_rank_head" if settings.share == "head" else "lora")
        check_capacity(capacity, "--capacity")
        if args.rank is not None and args.rank < 1:
            raise StudyError(f"--rank: {args.rank} is not ≥ 1")
        if args.rank is not None and capacity not in RANKS:
            raise StudyError(f"--rank: {capacity} has none; {' and '.join(RANKS)} have, leave it out")
        ranks = {} if args.rank is None else {capacity: args.rank}
        draft = untrained_exit(target, args.exit_layer, capacity, torch.float32, ranks, settings.seed)
    if draft.capacity not in SHARES[settings.share]:
        raise StudyError(
            f"--capacity: {draft.capacity} does not go with share {settings.share}; one of "
            f"{', '.join(SHARES[settings.share])} is right"
        )
    return draft


def results_of(learner: "OnlineLearner") -> dict[str, Any]:
    """What the run found, as results.json has it."""
    from selfdraft.statistics.one_run import cost_of, gain_of, looks_of

    seed, first, last = learner.settings.seed, learner.evaluations[0], learner.evaluations[-1]
    return {
        "updates": learner.updates,
        "prompts": learner.position,
        "tokens": learner.tokens,
        **gain_of(first, last, seed),
        **cost_of(first, last, learner.spent),
        "buffer_records": learner.buffer.capacity,
        "buffer_bytes": learner.buffer.bytes,
        "evaluations": looks_of(learner.evaluations, seed),
        "served": learner.served,
    }


def digest_of(checkpoint: str | None) -> str | None:
    """sha256 of a checkpoint's tensors, if there is one."""
    from pathlib import Path

    from selfdraft.files import sha256_of

    return None if checkpoint is None else sha256_of(Path(checkpoint) / "draft.safetensors")


def digest_of_tokens(prompts: list[list[int]]) -> str:
    """sha256 of the stream."""
    import hashlib
    import json

    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()
