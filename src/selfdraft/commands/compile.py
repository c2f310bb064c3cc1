"""`selfdraft compile`: one decoding step eagerly, compiled, and from CUDA graphs, with the time to compile."""

import argparse

from selfdraft.commands.capture import HELP_TARGET
from selfdraft.commands.options import add_dtype, add_origin, add_place

DEFAULTS = {"context": 256, "steps": 50, "batch": 1}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--depths", type=int, nargs="*", help="layers run before norm and head (default: all)")
    parser.add_argument("--modes", nargs="+", help="eager, compile, compile reduce-overhead, cuda graph (default: all)")
    parser.add_argument("--settings", default="{}", help="context, steps and batch as JSON")
    add_dtype(parser, "all modes")
    add_origin(parser)
    parser.add_argument("--out", required=True, help="CSV file to write")
    add_place(parser)


def run(args: argparse.Namespace) -> None:
    import torch

    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.compile import COLUMNS, MODES, compile_rows
    from selfdraft.evaluation.rows import write_rows
    from selfdraft.models.llama import load_target
    from selfdraft.models.runtime import start

    settings = known_keys(json_option(args.settings, "--settings"), DEFAULTS, "compile")
    modes = args.modes or list(MODES)
    for mode in modes:
        if mode not in MODES:
            raise StudyError(f"--modes: {mode!r} is unknown; known are {', '.join(MODES)}")
    if settings["steps"] < 4:
        raise StudyError(f"compile.steps: {settings['steps']} is too few for quartiles; at least 4 are needed")
    target = start(args.target, args.dtype, args.device, args.threads)
    layers = target.config.n_layers
    depths = sorted({*(args.depths or []), layers})
    for depth in depths:
        if not 1 <= depth <= layers:
            raise StudyError(f"--depths: {depth} is not between 1 and the target's {layers} layers")
    if settings["context"] + settings["steps"] > target.config.max_positions:
        raise StudyError(
            f"compile: context {settings['context']} and {settings['steps']} steps do not fit into the target's "
            f"context of {target.config.max_positions}"
        )
    import torch._inductor.config as inductor

    inductor.force_disable_caches = True  # a compile time out of a cache says nothing
    packed = load_target(args.target, target.dtype, target.device).pack()
    sizes = (settings["batch"], settings["context"], settings["steps"])
    torch.manual_seed(0)
    told = {"commit": args.commit, "config_hash": args.config_hash}
    rows = compile_rows(target, packed, depths, *sizes, modes)
    write_rows(args.out, [*COLUMNS, *told], (row | told for row in rows))
