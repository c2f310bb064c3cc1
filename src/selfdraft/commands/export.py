"""`selfdraft export hub`: a trained draft of any kind as a folder with a model card, and to a hub."""

import argparse
from typing import Any


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "form",
        choices=("hub",),
        help="hub: a folder with a model card, which `--checkpoint` takes from here or from a hub (`selfdraft "
        "export-drafter` writes EAGLE-3 drafters in the forms of other programs, or compact)",
    )
    parser.add_argument(
        "--checkpoint", required=True, help="folder made by `selfdraft train`, `train-drafter`, `dvi`, …"
    )
    parser.add_argument("--target", help="folder made by `selfdraft target` (default: the one under results/target)")
    parser.add_argument("--results", metavar="CSV", help="results.csv whose rows of this draft the card tells")
    parser.add_argument("--data", metavar="DIR", help="folder made by `selfdraft data` that it was trained on, to name")
    parser.add_argument("--licence", default="", help="of the draft, as hubs name it: apache-2.0, mit, other, …")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--push", metavar="REPO", help="upload it to this repository of a hub, OWNER/NAME; HF_TOKEN is the token"
    )
    parser.add_argument("--private", action="store_true", help="with --push: a repository that is made is private")


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import torch

    from selfdraft.commands.folders import only_folder
    from selfdraft.drafters import is_exit
    from selfdraft.errors import StudyError
    from selfdraft.models.eagle3 import load_eagle3
    from selfdraft.models.exit import load_exit
    from selfdraft.models.llama import load_target
    from selfdraft.sequences import read_name
    from selfdraft.sharing.cards import Facts
    from selfdraft.sharing.folder import share
    from selfdraft.sharing.layout import ONLINE
    from selfdraft.sharing.measured import machine_of, rows_of
    from selfdraft.sharing.pushing import check_push, push

    if args.private and not args.push:
        raise StudyError("--private: nothing is uploaded; name --push too")
    if args.push:
        check_push(args.push, "--push")
    draft = Path(args.checkpoint)
    folder = Path(only_folder(args.target, "results/target", "model.safetensors", "--target"))
    target = load_target(folder, torch.bfloat16, "cpu")
    _, config = (load_exit if is_exit(draft) else load_eagle3)(draft, target)  # whole, and of this target
    if args.data and config.get("dataset") and read_name(args.data) != config["dataset"]:
        raise StudyError(
            f"--data: {args.data}: its name is {read_name(args.data)}, the draft was trained on {config['dataset']}"
        )
    results = Path(args.results) if args.results else None
    facts = Facts(
        config=config,
        source=_object(folder / "source.json") | {"name": _object(folder / "source.json").get("name") or folder.name},
        data=_object(Path(args.data) / "sources.json") if args.data else {},
        online=_object(draft / ONLINE),
        rows=rows_of(results, config) if results else (),
        machine=machine_of(results) if results else "",
        licence=args.licence,
        repo=args.push or "",
    )
    sums = share(draft, facts, args.out)
    print(f"{args.out}: {', '.join(sums)}")
    if args.push:
        commit = push(Path(args.out), args.push, args.private)
        print(f"hub:{args.push}@{commit}")


def _object(path: Any) -> dict[str, Any]:
    """The JSON object of a file; an empty one where there is no file. Raises StudyError for something else."""
    from selfdraft.provenance.study import object_in

    return object_in(path) if path.is_file() else {}
