"""`selfdraft export-drafter`: a trained drafter for other programs: SGLang, vLLM, speculators."""

import argparse

from selfdraft.commands.capture import HELP_TARGET


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--drafter", required=True, help="folder made by `selfdraft train-drafter` or `import-drafter`")
    parser.add_argument(
        "--form",
        default="raw",
        choices=("raw", "speculators"),
        help="raw: EAGLE-3's own, for SGLang and vLLM; speculators: of that library",
    )
    parser.add_argument("--name", default="", help="for speculators: name or path of the target where it is served")
    parser.add_argument("--gamma", type=int, default=4, help="for speculators: tokens to draft in a cycle")
    parser.add_argument("--out-dir", required=True, help="folder to write")


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from selfdraft.errors import StudyError
    from selfdraft.files import whole_folder
    from selfdraft.models.eagle3 import load_eagle3
    from selfdraft.models.eagle3_formats import export_eagle3
    from selfdraft.models.llama import load_target
    from selfdraft.models.weights import read_tensors

    if args.gamma < 1:
        raise StudyError(f"--gamma: {args.gamma} is not ≥ 1")
    kept = read_tensors(Path(args.drafter) / "draft.safetensors").get("fc.weight")
    if kept is None:
        raise StudyError(f"{args.drafter}: draft.safetensors: missing tensors: fc.weight; is this an EAGLE-3 drafter?")
    target = load_target(args.target, kept.dtype, "cpu")
    draft, _ = load_eagle3(args.drafter, target)
    with whole_folder(args.out_dir, ("config.json", "model.safetensors")) as folder:
        export_eagle3(draft, target, folder, args.form, args.name or Path(args.target).name, args.gamma)
    print(f"{args.out_dir}: {args.form}, features {list(draft.features)}, {len(draft.kept_ids)} tokens")
