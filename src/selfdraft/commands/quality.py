"""`selfdraft quality`: held-out KL, perplexity and top-1 of several checkpoints, measured by one process."""

import argparse
from typing import Any

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET
from selfdraft.commands.options import add_dtype, add_place
from selfdraft.evaluation.kept import HELP_CODE, HELP_KEPT


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--capture", required=True, help="folder made by `selfdraft capture`")
    parser.add_argument(
        "--checkpoints", required=True, nargs="+", help="folders made by `selfdraft train`, or hub:OWNER/NAME@COMMIT"
    )
    parser.add_argument("--kept-dir", help=HELP_KEPT)
    parser.add_argument("--code", help=HELP_CODE)
    parser.add_argument("--out", required=True, help="CSV file to write")
    add_dtype(parser, "the computation")
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import torch

    from selfdraft.evaluation.kept import Kept, draft_identity
    from selfdraft.evaluation.quality import COLUMNS, quality_rows
    from selfdraft.evaluation.rows import checkpoint_settings, write_rows
    from selfdraft.models.exit import load_exit, target_identity
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_name, read_sequences
    from selfdraft.training.capture import read_states, text_digest
    from selfdraft.training.states import CapturedStates

    target = start(args.target, args.dtype, args.device, args.threads)
    sequences, dataset = read_sequences(args.data, "held_out"), read_name(args.data)
    made_by = [target_identity(target), str(target.dtype), str(target.device), torch.__version__]
    kept = Kept(args.kept_dir, args.code, [made_by, dataset, text_digest(sequences), list(sequences.ids)])
    decides = {folder: draft_identity(folder) for folder in args.checkpoints}
    tables: dict[str, list[dict[str, Any]]] = {}
    for folder in decides:
        if (rows := kept.find(Path(folder).name, decides[folder])) is not None:
            tables[folder] = [*rows]
    missing = {folder: load_exit(folder, target) for folder in decides if folder not in tables}
    if missing:
        drafts = [draft for draft, _ in missing.values()]
        final = read_states(args.capture, target.config.n_layers, "held_out", target, sequences)
        shared = {
            depth: read_states(args.capture, depth, "held_out", target, sequences)
            for depth in {draft.depth for draft in drafts}
        }
        columns = [
            checkpoint_settings(config)
            | {key: config.get(key) for key in ("trained_parameters", "trained_bytes")}
            | {"dataset": dataset}
            for _, config in missing.values()
        ]
        target.pack()
        measured = quality_rows(
            target,
            [draft.pack() for draft in drafts],
            CapturedStates(sequences, shared, final, target),
            [config["T"] for _, config in missing.values()],
        )
        tables |= {folder: [] for folder in missing}
        for rows_of_drafts in measured:
            for folder, settings, row in zip(missing, columns, rows_of_drafts, strict=True):
                tables[folder].append(settings | row)
        for folder in missing:
            kept.keep(Path(folder).name, decides[folder], COLUMNS, tables[folder])
    write_rows(args.out, COLUMNS, (row for folder in decides for row in tables[folder]))
