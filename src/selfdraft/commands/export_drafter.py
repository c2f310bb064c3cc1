"""`selfdraft export-drafter`: a trained drafter in another form: for SGLang, vLLM, speculators, or a small file."""

import argparse

from selfdraft.commands.capture import HELP_TARGET


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument(
        "--drafter",
        required=True,
        help="folder made by `selfdraft train-drafter` or `import-drafter`, or hub:OWNER/NAME@COMMIT",
    )
    parser.add_argument(
        "--form",
        default="raw",
        choices=("raw", "speculators", "compact"),
        help="raw: EAGLE-3's own, for SGLang and vLLM; speculators: of that library; compact: for selfdraft, matrices "
        "rounded to int8, a byte a parameter (`selfdraft export hub` writes a draft of any kind with a model card)",
    )
    parser.add_argument("--name", default="", help="for speculators: name or path of the target where it is served")
    parser.add_argument("--gamma", type=int, default=4, help="for speculators: tokens to draft in a cycle")
    parser.add_argument("--out-dir", required=True, help="folder to write")


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import torch

    from selfdraft.errors import StudyError
    from selfdraft.files import whole_folder
    from selfdraft.models.compact import save_compact
    from selfdraft.models.eagle3 import load_eagle3
    from selfdraft.models.eagle3_formats import export_eagle3
    from selfdraft.models.llama import load_target
    from selfdraft.models.weights import read_tensors

    if args.gamma < 1:
        raise StudyError(f"--gamma: {args.gamma} is not ≥ 1")
    path = Path(args.drafter) / "draft.safetensors"
    fusion = read_tensors(path).get("fc.weight")
    if fusion is None:
        raise StudyError(f"{args.drafter}: draft.safetensors: missing tensors: fc.weight; is this an EAGLE-3 drafter?")
    # In its own number format; a compact one in float32, in which its int8 times their scales are exact.
    target = load_target(args.target, fusion.dtype if fusion.is_floating_point() else torch.float32, "cpu")
    draft, config = load_eagle3(args.drafter, target)
    if args.form == "compact":
        with whole_folder(args.out_dir, ("config.json", "draft.safetensors")) as folder:
            saved = save_compact(draft.named_tensors(), config, folder)
        print(f"{args.out_dir}: compact, {saved['trained_bytes'] / 1e6:.1f} MB, matrices rounded to int8")
        return
    with whole_folder(args.out_dir, ("config.json", "model.safetensors")) as folder:
        export_eagle3(draft, target, folder, args.form, args.name or Path(args.target).name, args.gamma)
    left_out = "" if draft.confidence is None else ", without its confidence head"
    print(f"{args.out_dir}: {args.form}, features {list(draft.features)}, {len(draft.kept_ids)} tokens{left_out}")
