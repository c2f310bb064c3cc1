"""`selfdraft import-drafter`: an EAGLE-3 drafter of another program, checked, as one that was trained here."""

import argparse

from selfdraft.commands.capture import HELP_TARGET


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help="a folder with config.json and model.safetensors: EAGLE-3's own, or speculators'")
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--name", default="imported", help="the drafter's name in tables")
    parser.add_argument("--out-dir", required=True, help="folder to write; `generate --checkpoint` drafts with it")


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import torch

    from selfdraft.files import sha256_of, whole_folder, write_json
    from selfdraft.models.eagle3 import save_eagle3
    from selfdraft.models.eagle3_formats import import_eagle3
    from selfdraft.models.exit import target_identity
    from selfdraft.models.llama import load_target

    target = load_target(args.target, torch.float32, "cpu")
    draft = import_eagle3(args.path, target)
    parameters = sum(parameter.numel() for parameter in draft.parameters())
    dtype = next(draft.parameters()).dtype
    with whole_folder(args.out_dir, ("config.json", "draft.safetensors")) as folder:
        save_eagle3(draft, folder, dtype)
        config = {
            "kind": "eagle3",
            "drafter": args.name,
            "features": list(draft.features),
            "fc_norm": len(draft.fc_norm) > 0,
            "norm_output": draft.norm_output,
            "draft_vocab_size": len(draft.kept_ids),
            "trained_parameters": parameters,
            "trained_bytes": parameters * dtype.itemsize,
            "draft_step_bytes": draft.step_bytes() * 2 // dtype.itemsize,
            "target": target_identity(target),
            "imported": {
                "from": Path(args.path).name,
                "sha256": sha256_of(Path(args.path) / "model.safetensors"),
            },
        }
        write_json(folder / "config.json", config)
    print(f"{args.out_dir}: features {list(draft.features)}, {len(draft.kept_ids)} tokens, {parameters:,} parameters")
