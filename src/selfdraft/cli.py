"""`selfdraft STAGE …`: one thin sub-command a stage; a stage's code is imported only when it runs."""

import argparse
import errno
import importlib
import os
import sys

from selfdraft import __version__
from selfdraft.errors import StudyError, explained
from selfdraft.study.lock import join

STAGES = {
    "target": "turn a model from a package, a hub or a path into a plain folder",
    "data": "turn conversations, text or questions into token sequences, split by origin, and prompts",
    "machine": "measure this machine's read bandwidth and matrix rates",
    "capture": "keep the teacher's hidden states that the drafts are trained on",
    "train": "train drafts: several in one pass, by several processes, interrupted or not",
    "quality": "KL, perplexity and top-1 of a draft, a row per held-out conversation",
    "vanilla": "greedy answers of the target alone, to compare drafts' answers with",
    "acceptance": "accepted draft tokens, a row per cycle",
    "speed": "decode times of drafts and baselines, interleaved, a row per prompt",
    "batch": "decode times of batches of several sizes, a row per batch",
    "peers": "the same methods in other implementations, a row per group of prompts",
    "identity": "greedy output against vanilla decoding's, a row per drafter and prompt",
    "compile": "steps run eagerly, compiled and from CUDA graphs",
    "summary": "raw rows of batch, peers or identity to one table, with bootstrap intervals",
    "gather": "join raw tables of many points into one",
    "results": "raw tables to results.csv, with bootstrap intervals",
    "figure": "draw one paper figure from the tables",
    "record": "write provenance.json beside a study's results",
    "plan": "predict what a study costs, from its config and measured costs",
    "evaluate": "measure any set of checkpoints into one results.csv",
    "generate": "stream text, accepted draft tokens coloured",
    "provenance": "say what made a figure, table, checkpoint or folder: code, settings, packages, machine",
}


# What the user can mend about a path: no room, no right, no folder where one is needed.
MENDABLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
)


def parser_of(stage: str | None) -> argparse.ArgumentParser:
    """The parser of the whole command; only `stage`'s own module is imported."""
    parser = argparse.ArgumentParser(prog="selfdraft")
    parser.add_argument("--version", action="version", version=f"selfdraft {__version__}")
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True)
    for name, text in STAGES.items():
        sub = stages.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        if name == stage:
            module = importlib.import_module(f"selfdraft.commands.{name}")
            module.arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


def dispatch(argv: list[str]) -> None:
    """Run one stage in this process. Raises StudyError for a mistake that the user can mend."""
    stage = next((word for word in argv if word in STAGES), None)
    args = parser_of(stage).parse_args(argv)
    args.run(args)


def main(argv: list[str] | None = None) -> int:
    """Run one stage. Exit status 0; 2 for a mistake that the one-line message explains."""
    argv = sys.argv[1:] if argv is None else argv
    stage = next((word for word in argv if word in STAGES), "")
    try:
        join()
        dispatch(argv)
    except StudyError as error:
        print(f"selfdraft {stage}: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who read the output has enough: `selfdraft plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in MENDABLE:
            raise
        print(f"selfdraft {stage}: error: {explained(error, 'output')}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
