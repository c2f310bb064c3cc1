"""`selfdraft inspect`: what a folder or file is taken for, a model or data, before anything is run."""

import argparse
from pathlib import Path

# A folder that holds one of these is a model; everything else is read as data.
MODEL_MARKS = ("config.json", "adapter_config.json", "model.safetensors.index.json", "*.gguf", "tokenizer_config.json")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", help="a model folder or GGUF file, or a file or folder of data")
    parser.add_argument(
        "--target", help="for data: folder made by `selfdraft target`, whose template formats the sample"
    )


def run(args: argparse.Namespace) -> None:
    from selfdraft.errors import StudyError
    from selfdraft.files import home_expanded

    path = home_expanded(args.path, "path")
    if not path.exists():
        raise StudyError(f"{path}: no such file or folder")
    if is_model(path):
        from selfdraft.sources.survey_model import survey_model

        survey = survey_model(path)
    else:
        from selfdraft.sources.chat import ChatTokenizer
        from selfdraft.sources.survey_data import survey_data

        survey = survey_data(path, ChatTokenizer.from_folder(args.target) if args.target else None)
    for line in survey:
        print(line)


def is_model(path: Path) -> bool:
    """Whether `path` is taken for a model: a GGUF file, or a folder with a file that only models have."""
    if path.is_file():
        return path.suffix == ".gguf"
    return any(next(path.glob(mark), None) for mark in MODEL_MARKS)
