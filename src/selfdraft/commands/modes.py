"""`generate --mode`: which checkpoint and options a way to decode needs, and decoding that nobody verifies."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from selfdraft.errors import StudyError

if TYPE_CHECKING:
    import torch

    from selfdraft.decoding.drafter import Drafter
    from selfdraft.decoding.drafting import Drafting
    from selfdraft.decoding.policy import Policy
    from selfdraft.evaluation.unverified import Leaving, Unverified
    from selfdraft.models.exit import Exit
    from selfdraft.models.llama import Llama

MODES = {
    "full": "the target alone",
    "fixed_exit": "all tokens leave at one head, nothing verifies them",
    "early_exit": "drafts of one head, verified",
    "adaptive_early_exit": "drafts whose tokens leave at the first sure head, verified",
    "lossy_adaptive": "tokens leave at the first sure head, else at the full depth; nothing verifies them",
    "dynamic": "head and draft length chosen each cycle, verified",
    "comprehensive": "all of these, one after the other on each prompt, in one table",
}
UNVERIFIED = ("fixed_exit", "lossy_adaptive")
ONE_HEAD = ("fixed_exit", "early_exit")
AT_A_LEVEL = ("adaptive_early_exit", "lossy_adaptive", "comprehensive")
ENDS_DRAFTS = ("min_confidence", "max_entropy", "adapt", "verification_cost", "tree", "vocabulary", "trace")


def add_mode(parser: argparse.ArgumentParser) -> None:
    """`--mode` and `--head`."""
    told = "; ".join(f"{name}: {about}" for name, about in MODES.items())
    parser.add_argument("--mode", metavar="MODE", help=f"how to decode with --checkpoint. {told}")
    parser.add_argument(
        "--head", type=int, metavar="LAYER", help="of a --checkpoint with several heads: the one to use"
    )


def check_mode(args: argparse.Namespace) -> None:
    """Raise StudyError for a mode that does not exist, or options that are not for it."""
    mode = args.mode
    if mode is not None and mode not in MODES:
        raise StudyError(f"--mode: {mode!r} is unknown; there are {', '.join(MODES)}")
    if args.head is not None and mode not in (*ONE_HEAD, "comprehensive"):
        raise StudyError(f"--head: is for --mode {' and '.join(ONE_HEAD)}, and for comprehensive")
    if mode is None:
        return
    if args.draft_model is not None or args.lookup is not None:
        raise StudyError(f"--mode {mode}: is of exits of the target; leave out --draft-model and --lookup")
    if mode == "full" and args.checkpoint is not None:
        raise StudyError("--mode full: the target decodes alone; leave out --checkpoint")
    if mode != "full" and args.checkpoint is None:
        wanted = "an exit or a folder of heads" if mode in ONE_HEAD else "a folder of heads (kind exits)"
        raise StudyError(f"--mode {mode}: --checkpoint is missing; {wanted} is needed")
    if mode not in AT_A_LEVEL and (args.accuracy_level is not None or args.rule):
        raise StudyError(f"--accuracy-level, --rule: are for --mode {', '.join(AT_A_LEVEL)}")
    if mode != "adaptive_early_exit" and args.risk:
        raise StudyError("--risk: is for --mode adaptive_early_exit, whose drafts are verified")
    wrong = [name for name in ENDS_DRAFTS if getattr(args, name)]
    if mode in (*UNVERIFIED, "comprehensive") and wrong:
        raise StudyError(f"--{wrong[0].replace('_', '-')}: is for verified drafts, not for --mode {mode}")


def read_heads(args: argparse.Namespace, target: "Llama", mode: str) -> tuple[list["Exit"], str]:
    """The exits of `--checkpoint`, not packed, shallow ones first, and their folder; for modes of one head that one.

    Raises StudyError for a checkpoint that the mode cannot use, or a head that it lacks.
    """
    from selfdraft.commands.shipped import checkpoint_folder
    from selfdraft.drafters import kind_in
    from selfdraft.models.exit import load_exit
    from selfdraft.models.exits import load_exits

    folder = checkpoint_folder(args.checkpoint, target.folder or "")
    kind = kind_in(folder)
    if kind is None and mode in ONE_HEAD:
        if args.head is not None:
            raise StudyError(f"--head: {folder} is one exit; leave it out")
        return [load_exit(folder, target)[0]], folder
    if kind != "exits":
        found = f"kind {kind}" if kind else "a single exit"
        raise StudyError(f"--mode {mode}: {folder} is {found}; heads of kind exits (`train-drafter`) are needed")
    exits, _ = load_exits(folder, target)
    layers = ", ".join(str(made.layer) for made in exits)
    chosen = [made for made in exits if args.head in (None, made.layer)]
    if not chosen:
        raise StudyError(f"--head: {args.head} is no head of {folder}; there are {layers}")
    if mode in ONE_HEAD and len(chosen) > 1:
        raise StudyError(f"--mode {mode}: {folder} has heads after layers {layers}; choose one with --head")
    return chosen if mode in ONE_HEAD else exits, folder


def one_head_drafter(
    args: argparse.Namespace, target: "Llama", drafting: "Drafting", kept_ids: "torch.Tensor | None"
) -> tuple["Drafter", str, dict[str, Any]]:
    """The drafter of mode early_exit, what it is called, and the settings of its rows."""
    from selfdraft.drafters.exit import ExitDrafter

    (made,), folder = read_heads(args, target, "early_exit")
    drafting.must_be_chain(folder, "an exit")
    if kept_ids is not None:
        made.trim(kept_ids)
    drafter = ExitDrafter(
        target, made.pack(), drafting.stopping(), drafting.adapt, verification_cost=drafting.verification_cost
    )
    return drafter, f"layer {made.layer} {made.capacity}", {"layer": made.layer, "capacity": made.capacity}


def leaving_of(args: argparse.Namespace, target: "Llama", mode: str) -> tuple["Leaving", str]:
    """Where tokens leave that nobody verifies, and what that is called. Call it before the target is packed."""
    from selfdraft.evaluation.unverified import Leaving

    exits, folder = read_heads(args, target, mode)
    if mode == "fixed_exit":
        (made,) = exits
        return Leaving(target, [(made.pack(), None)]), f"layer {made.layer} {made.capacity}, nothing verified"
    limit, told = joint_limit(args, folder, target)
    return Leaving(target, [(made.pack(), limit) for made in exits]), f"exits {told}, nothing verified"


def joint_limit(args: argparse.Namespace, folder: str, target: "Llama") -> tuple[float, str]:
    """The threshold on the entropy that all heads share at the level asked, and what it is called."""
    from selfdraft.calibration.record import LEVEL, MEASURE, RULE, joint_threshold_of

    level, rule = LEVEL if args.accuracy_level is None else args.accuracy_level, args.rule or RULE
    limit = joint_threshold_of(calibration_in(folder, target), level, MEASURE, rule, "lossy_adaptive")
    return limit, f"at {level:g} ({'promised' if rule == RULE else 'not promised'})"


def calibration_in(folder: str, target: "Llama") -> dict[str, Any]:
    """The calibration of a folder of heads, checked to be of them and of the target."""
    from pathlib import Path

    from selfdraft.calibration.record import read_calibration
    from selfdraft.files import sha256_of
    from selfdraft.models.exits import FILE

    return read_calibration(folder, sha256_of(Path(folder) / FILE), target.fingerprint)


def told_unverified(made: Sequence["Unverified"], target: "Llama", prompts: Sequence[list[int]], alone_s: float) -> str:
    """What is said of answers that nobody verified: speed, and beside it how far they stray."""
    import math

    from selfdraft.evaluation.unverified import judged

    found = [judged(target, prompt, one.tokens) for prompt, one in zip(prompts, made, strict=True)]
    tokens, strays = sum(one.tokens for one in found), sum(one.disagreeing for one in found)
    layers = [layer for one in made for layer in one.layers]
    seconds = sum(one.decode_s for one in made)
    return (
        f"{tokens} tokens, {tokens / seconds:.1f} tokens/s, speedup {alone_s / seconds:.2f} over the target alone; "
        f"{strays} of them ({strays / tokens:.1%}) are not the target's best token, perplexity under it "
        f"{math.exp(sum(one.nats for one in found) / tokens):.2f}; mean exit layer {sum(layers) / len(layers):.1f}, "
        f"{sum(one.full for one in made) / tokens:.2f} target calls a token"
    )


def run_unverified(
    args: argparse.Namespace,
    target: "Llama",
    leaving: "Leaving",
    prompts: Sequence[list[int]],
    policy: "Policy",
    eos: frozenset[int],
    put: Callable[[int, int, int], object],
) -> str:
    """Decode the prompts one after the other, `put(row, token, early)` as tokens come; returns what is said of them."""
    import torch

    from selfdraft.decoding.loop import vanilla
    from selfdraft.evaluation.unverified import unverified

    def generator() -> torch.Generator:
        return torch.Generator(target.device).manual_seed(args.seed)

    last = target.config.n_layers - 1
    unverified(target, leaving, prompts[0], policy, 4, generator())
    made = []
    for row, prompt in enumerate(prompts):

        def seen(token: int, layer: int, row: int = row) -> None:
            put(row, token, int(layer < last))

        made.append(unverified(target, leaving, prompt, policy, args.max_new_tokens, generator(), eos, seen))
    alone = [
        vanilla(target, [prompt], policy, len(one.tokens), generator()).timings.decode_s
        for prompt, one in zip(prompts, made, strict=True)
    ]
    return told_unverified(made, target, prompts, sum(alone))
