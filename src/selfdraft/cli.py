"""`selfdraft STAGE …`: one thin sub-command a stage; a stage's code is imported only when it runs."""

import argparse
import errno
import importlib
import io
import os
import shutil
import sys
import textwrap

from selfdraft import __version__
from selfdraft.errors import StudyError, explained
from selfdraft.study.lock import join
from selfdraft.threads import wait_gently

GROUPS = {
    "what is studied": {
        "target": "turn a model from a package, a hub or a path into a plain folder",
        "data": "turn conversations, text or questions into token sequences, split by origin, and prompts",
        "machine": "measure this machine's read bandwidth and matrix rates, or its step times",
    },
    "train drafts": {
        "capture": "keep the teacher's hidden states that the drafts are trained on",
        "regenerate": "the target's own answers to a data set's questions, with its states, for drafters to train on",
        "train": "train drafts: several in one pass, by several processes, interrupted or not",
        "train-drafter": "train a drafter with a layer of its own (EAGLE-3), or several exits together",
        "dvi": "let a draft learn from its own verifications while it serves a stream of prompts",
    },
    "measure drafts": {
        "quality": "KL, perplexity and top-1 of a draft, a row per held-out conversation",
        "vanilla": "greedy answers of the target alone, to compare drafts' answers with",
        "evaluate-heads": "how often auxiliary heads are right, and how sure, a row per head with intervals",
        "calibrate": "thresholds at which heads are as right as asked for, and what is promised of them",
        "unverified": "speed and disagreement where nothing verifies what heads say, by accuracy level",
        "acceptance": "accepted draft tokens, a row per cycle",
        "steps": "seconds of single decoding steps by context, a row a step",
        "speed": "decode times of drafts and baselines side by side, a row a run",
        "batch": "decode times of batches of several sizes, a row per batch",
        "lengths": "decode times of whole answers of several lengths, a row a run",
        "peers": "the same methods in other implementations, a row per group of prompts",
        "identity": "greedy output against vanilla decoding's, a row per drafter and prompt",
        "compile": "steps run eagerly, compiled and from CUDA graphs",
    },
    "tables and figures": {
        "gather": "join raw tables of many points into one",
        "results": "raw tables to results.csv, with bootstrap intervals",
        "differences": "paired differences between the points of each sweep, and the spread between seeds",
        "methods": "each way to draft at its best setting, on the prompts of every data set",
        "exit-layers": "where the tokens of drafters with several heads left, and what that was worth",
        "online": "what drafts learnt while they decoded, with intervals over seeds",
        "summary": "raw rows of batch, lengths, peers or identity to one table, with bootstrap intervals",
        "figure": "draw one paper figure from the tables",
        "record": "write provenance.json beside a study's results",
        "paper-numbers": "what the paper says of a study: sentences and tables, chosen by its tables",
        "paper": "set the paper from its text, these numbers and the figures",
    },
    "by hand": {
        "inspect": "say what a folder or file is taken for, a model or data, before anything is run",
        "generate": "stream text, accepted draft tokens coloured",
        "trace": "make a page of what `generate --trace` wrote: what came of each drafted token",
        "evaluate": "measure any set of checkpoints into one results.csv",
        "length-sweep": "one drafter at several lengths of the answer: a table, a CSV file and a figure",
        "export": "write a trained draft as a folder with a model card, and upload it to a hub",
        "export-drafter": "write a trained drafter as SGLang, vLLM or speculators read it, or small: matrices as int8",
        "import-drafter": "check an EAGLE-3 drafter of another program, and make it one of ours",
        "predict": "speedups on a machine whose step times are known, from measured acceptance",
        "plan": "predict what a study costs, from its config and measured costs",
        "provenance": "say what made a figure, table, checkpoint or folder: code, settings, packages, machine",
    },
}
STAGES = {name: text for stages in GROUPS.values() for name, text in stages.items()}


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
    errno.ENAMETOOLONG,
)


class WithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Help that says the defaults that are values: not of switches, nor of options without a default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        empty = action.default is None or action.default is False or action.default in ("", "{}")
        return action.help if empty else super()._get_help_string(action)


def stages_in_groups() -> str:
    """The stages, a line each, under the names of their groups."""
    width = max(map(len, STAGES)) + 2
    columns = min(shutil.get_terminal_size().columns, 120)
    found: list[str] = []
    for group, stages in GROUPS.items():
        found.append(f"\n{group}:")
        for name, text in stages.items():
            found += textwrap.wrap(
                text, columns - 2, initial_indent=f"  {name:{width}}", subsequent_indent=" " * (width + 2)
            )
    return "\n".join([*found, "", "selfdraft STAGE --help tells a stage's options."])


def parser_of(stage: str | None) -> argparse.ArgumentParser:
    """The parser of the whole command; only `stage`'s own module is imported."""
    parser = argparse.ArgumentParser(
        prog="selfdraft",
        description="Early-exit and self-speculative drafting: every stage of the study, by hand.",
        epilog=stages_in_groups(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"selfdraft {__version__}")
    stages = parser.add_subparsers(dest="stage", metavar="STAGE", required=True, help="one of those below")
    for name, text in STAGES.items():
        sub = stages.add_parser(name, description=text[0].upper() + text[1:] + ".", formatter_class=WithDefaults)
        if name == stage:
            module = importlib.import_module(f"selfdraft.commands.{name.replace('-', '_')}")
            module.arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


def dispatch(argv: list[str]) -> None:
    """Run one stage in this process. Raises StudyError for a mistake that the user can mend."""
    stage = next((word for word in argv if word in STAGES), None)
    args = parser_of(stage).parse_args(argv)
    if any("hub:" in word for word in argv):
        from selfdraft.commands.hub_drafts import fetch_named

        fetch_named(args)
    args.run(args)


def main(argv: list[str] | None = None) -> int:
    """Run one stage. Exit status 0; 2 for a mistake that the one-line message explains."""
    argv = sys.argv[1:] if argv is None else argv
    stage = next((word for word in argv if word in STAGES), "")
    wait_gently()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows another one
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")
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
