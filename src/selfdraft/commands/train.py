"""`selfdraft train`: one checkpoint from captured states."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", required=True, help=HELP_TARGET)
    parser.add_argument("--data", required=True, help=HELP_DATA)
    parser.add_argument("--capture", required=True, help="folder made by `selfdraft capture`")
    parser.add_argument("--layer", required=True, type=int, help="exit after this layer, counted from 0")
    parser.add_argument("--T", required=True, type=float, help="temperature of the KL, > 0")
    parser.add_argument("--capacity", required=True, help="what is trained: head or head_block")
    parser.add_argument("--settings", default="{}", help="the config's `training` section as JSON")
    parser.add_argument("--dataset", default="", help="name of the data, for the tables")
    parser.add_argument("--config-hash", default="", help="hash of the study's config, for provenance")
    parser.add_argument("--commit", default="", help="git commit, for provenance")
    parser.add_argument("--out-dir", required=True, help="checkpoint folder to write")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    import torch

    from selfdraft.commands.settings import json_option
    from selfdraft.files import whole_folder, write_json
    from selfdraft.models.exit import check_layer, save_exit, target_identity, untrained_exit
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_sequences
    from selfdraft.training.capture import read_states
    from selfdraft.training.trainer import Settings, Text, train

    raw = json_option(args.settings, "--settings")
    settings = Settings.from_dict(raw)
    settings.objective_at(args.T)
    target = start(args.target, settings.dtype, args.device, args.threads)
    check_layer(args.layer, target.config.n_layers, "--layer")
    draft = untrained_exit(target, args.layer, args.capacity, torch.float32)

    def text(split: str) -> Text:
        sequences = read_sequences(args.data, split)
        final = target.config.n_layers
        shared = read_states(args.capture, draft.depth, split, target, sequences)
        return Text(sequences, shared, read_states(args.capture, final, split, target, sequences))

    learn, check = text("train"), text("validation")
    with whole_folder(args.out_dir, ("draft.safetensors", "config.json", "train_log.jsonl")) as folder:
        with open(folder / "train_log.jsonl", "w", encoding="utf-8") as log:
            summary = train(target, draft, learn, check, args.T, settings, lambda line: log.write(line + "\n"))
        save_exit(draft, folder)
        parameters = sum(tensor.numel() for tensor in draft.named_tensors().values())
        config = {
            "drafter": "early_exit",
            "layer": args.layer,
            "T": args.T,
            "capacity": args.capacity,
            "objective": settings.objective,
            "ce_weight": settings.ce_weight,
            "seed": settings.seed,
            "dataset": args.dataset,
            "trained_parameters": parameters,
            "trained_bytes": 2 * parameters,
            "target": target_identity(target),
            "training": raw,
            "summary": summary,
            "commit": args.commit,
            "config_hash": args.config_hash,
            "torch": torch.__version__,
        }
        write_json(folder / "config.json", config)
