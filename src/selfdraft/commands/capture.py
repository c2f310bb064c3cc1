"""`selfdraft capture`: one teacher pass over all splits."""

import argparse

from selfdraft.commands.options import add_dtype, add_place

HELP_DATA = "folder made by `selfdraft data`"
HELP_TARGET = "folder made by `selfdraft target`"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--depths", required=True, type=int, nargs="+", help="layers run before each kept state")
    parser.add_argument("--splits", nargs="+", help="splits of the data (default: all)")
    parser.add_argument("--teacher", help="another model of the same vocabulary to learn from, a folder like --target")
    parser.add_argument("--cache-dir", help="keep states here by model and text, and compute only what is missing")
    parser.add_argument("--out-dir", required=True, help="folder to write")
    add_dtype(parser, "the teacher pass")
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    from selfdraft.commands.teacher import load_teacher
    from selfdraft.models.runtime import start
    from selfdraft.sequences import SPLITS, read_sequences
    from selfdraft.training.capture import capture

    target = start(args.target, args.dtype, args.device, args.threads).pack()
    teacher = load_teacher(args.teacher, args.target, target)
    splits = {split: read_sequences(args.data, split) for split in args.splits or SPLITS}
    capture(target, splits, args.depths, args.out_dir, args.cache_dir, teacher.pack() if teacher else None)
