"""The one drafter that a command's options choose: an exit, a trained drafter, a smaller model, lookup, or a hybrid."""

import argparse
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from selfdraft.decoding.drafter import Drafter
    from selfdraft.models.llama import Llama

OPTIONS = ("checkpoint", "draft_model", "lookup")


class Chosen(NamedTuple):
    """A drafter, what it is called in a sentence, and the settings columns of its rows."""

    drafter: "Drafter"
    told: str
    settings: dict[str, Any]


def add_drafter(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """The options that `chosen_drafter` reads, all but `--data`; `otherwise` says what is done without a drafter."""
    parser.add_argument(
        "--checkpoint",
        help="folder made by `selfdraft train`, `train-drafter` or `export hub`, the name of a drafter that is shipped "
        f"for the target (eagle3), or hub:OWNER/NAME@COMMIT; {otherwise}",
    )
    parser.add_argument(
        "--draft-model", metavar="DIR", help="instead: draft with a smaller model of the same tokenizer"
    )
    parser.add_argument(
        "--lookup",
        type=int,
        metavar="N",
        help="draft by n-gram lookup; beside one of these two: where it finds something",
    )
    parser.add_argument(
        "--accuracy-level", type=float, metavar="A", help="of --checkpoint's heads: as calibrated, 0.50 … 0.95 (0.75)"
    )
    parser.add_argument("--rule", help="how their thresholds were chosen: learn_then_test (usual) or empirical")
    parser.add_argument(
        "--risk",
        help="what they promise: disagreement (usual) with the target, or no_harm (no slower than it)",
    )
    parser.add_argument("--min-confidence", type=float, default=0.0, help="end a draft early below it; 0 is off")
    parser.add_argument("--max-entropy", type=float, help="end a draft early above it, in nats (default: off)")
    parser.add_argument("--adapt", action="store_true", help="choose each draft's length from what was accepted before")
    parser.add_argument(
        "--verification-cost",
        type=float,
        metavar="C",
        default=0.0,
        help="with --adapt: how much longer a verification takes with one more token, in vanilla steps (0)",
    )
    parser.add_argument(
        "--tree",
        type=int,
        nargs=2,
        metavar=("NODES", "CHILDREN"),
        help="draft trees in place of chains: tokens of a tree, and continuations of a token (EAGLE-3 alone)",
    )
    parser.add_argument("--vocabulary", type=int, metavar="K", help="draft only the K most frequent tokens of --data")


def is_drafting(args: argparse.Namespace) -> bool:
    """Whether the options name a drafter."""
    return any(getattr(args, name) is not None for name in OPTIONS)


def chosen_drafter(args: argparse.Namespace, target: "Llama") -> Chosen | None:
    """The drafter that the options ask for; None for the target alone. Raises StudyError.

    Call it before the target is packed.
    """
    from pathlib import Path

    from selfdraft.calibration.record import LEVEL
    from selfdraft.commands.drafters import kept_ids
    from selfdraft.commands.folders import only_folder
    from selfdraft.commands.modes import one_head_drafter, read_heads
    from selfdraft.commands.shipped import checkpoint_folder
    from selfdraft.decoding.drafting import Drafting, Tree
    from selfdraft.drafters import drafter_of, is_exit, kind_in
    from selfdraft.drafters.exit import exit_drafter
    from selfdraft.drafters.hybrid import LOOKUP, HybridDrafter
    from selfdraft.drafters.lookup import LookupDrafter
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.rows import checkpoint_settings

    tree = Tree(*args.tree) if args.tree else None
    drafting = Drafting(
        "options",
        args.min_confidence,
        args.max_entropy,
        args.adapt,
        args.vocabulary,
        tree,
        verification_cost=args.verification_cost,
    )
    way = {"drafting": "fixed" if drafting == Drafting("options") else "options"}
    given = [name for name in OPTIONS if getattr(args, name) is not None]
    if len(given) > 1 and "lookup" not in given:
        raise StudyError("--checkpoint and --draft-model: there are 2 drafters; draft with one of them")
    folder = None if args.checkpoint is None else checkpoint_folder(args.checkpoint, target.folder or "")
    if (args.accuracy_level is not None or args.rule or args.risk) and (folder is None or kind_in(folder) != "exits"):
        raise StudyError("--accuracy-level, --rule, --risk: are for heads, a --checkpoint of kind exits")
    if args.lookup is not None and len(given) > 1:
        alone = argparse.Namespace(**{**vars(args), "lookup": None})
        learned = chosen_drafter(alone, target)
        assert learned is not None
        least = min(args.lookup, LOOKUP["min_ngram"])
        hybrid = HybridDrafter(LookupDrafter(args.lookup, least), learned.drafter)
        settings = learned.settings | {"drafter": f"lookup, else {learned.settings['drafter']}"}
        return Chosen(hybrid, f"lookup of up to {args.lookup} tokens, else {learned.told}", settings)
    ids = None
    if given and drafting.vocabulary is not None:
        data = only_folder(args.data, "results/data", "train.safetensors", "--data")
        ids = kept_ids(drafting, data, target.config.vocab_size)
    mode = getattr(args, "mode", None)
    if mode == "early_exit":
        return Chosen(*one_head_drafter(args, target, drafting, ids))
    if mode is not None and folder is not None:
        read_heads(args, target, mode)
    if folder is not None and is_exit(folder):
        exit_, config = exit_drafter(folder, target, drafting, ids)
        return Chosen(exit_, f"layer {config['layer']} {config['capacity']}", checkpoint_settings(config) | way)
    if folder is not None:
        kind = kind_in(folder)
        made: dict[str, Any] = {"kind": kind, "folder": folder}
        name = Path(folder).name
        told = kind if kind == name else f"{kind} {name}"
        if mode == "dynamic":
            made, told = {"kind": "dynamic", "drafter": made}, f"dynamic {name}"
        elif kind == "exits":
            made = {"kind": "adaptive_early_exit", "drafter": made}
            made |= {"accuracy_level": LEVEL if args.accuracy_level is None else args.accuracy_level}
            made |= {key: value for key in ("rule", "risk") if (value := getattr(args, key))}
            told += f" at {made['accuracy_level']:g}"
    elif args.lookup is not None:
        made, name = {"kind": "lookup", "max_ngram": args.lookup}, "lookup"
        told = f"lookup of up to {args.lookup} tokens"
    elif args.draft_model is not None:
        made, name = {"kind": "model", "folder": args.draft_model}, Path(args.draft_model).name
        told = f"model {args.draft_model}"
    else:
        return None
    drafter = drafter_of(str(made["kind"]), made, target, drafting, ids)
    return Chosen(drafter, told, {"drafter": name} | way)
