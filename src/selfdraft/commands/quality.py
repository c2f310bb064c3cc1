"""`selfdraft quality`: held-out KL, perplexity and top-1 of one checkpoint."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--capture", required=True, help="folder made by `selfdraft capture`")
    parser.add_argument("--checkpoint", required=True, help="folder made by `selfdraft train`")
    parser.add_argument("--out", required=True, help="CSV file to write")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of the computation")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    from selfdraft.evaluation.quality import COLUMNS, quality_rows
    from selfdraft.evaluation.rows import checkpoint_settings, write_rows
    from selfdraft.models.exit import load_exit
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_name, read_sequences
    from selfdraft.training.capture import read_states
    from selfdraft.training.states import CapturedStates

    target = start(args.target, args.dtype, args.device, args.threads)
    draft, config = load_exit(args.checkpoint, target)
    sequences = read_sequences(args.data, "held_out")
    shared = read_states(args.capture, draft.depth, "held_out", target, sequences)
    final = read_states(args.capture, target.config.n_layers, "held_out", target, sequences)
    settings = checkpoint_settings(config) | {k: config.get(k) for k in ("trained_parameters", "trained_bytes")}
    settings["dataset"] = read_name(args.data)
    states = CapturedStates(sequences, {draft.depth: shared}, final, target)
    rows = quality_rows(target.pack(), draft.pack(), states, config["T"])
    write_rows(args.out, COLUMNS, ({**settings, **row} for row in rows))
