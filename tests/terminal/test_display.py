"""`--logger selfdraft`: what of Snakemake's log is shown, in a terminal and elsewhere."""

import io
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_selfdraft.display import Display

SETTINGS = SimpleNamespace(
    dryrun=False, quiet=set(), show_failed_logs=True, debug_dag=False, verbose=False, printshellcmds=False, nocolor=True
)


class Stream(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


class Run:
    """A display, its stream and a clock that stands until it is set."""

    def __init__(self, terminal=False, **settings):
        self.now, self.stream = 0.0, Stream(terminal)
        self.display = Display(self.stream, SimpleNamespace(**(vars(SETTINGS) | settings)), lambda: self.now)

    def log(self, message="", level=logging.INFO, **extra):
        record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
        vars(record).update(extra)
        self.display.show(record)

    def plan(self):
        self.log("3 jobs.", selfdraft="plan", jobs=3, seconds=100.0, expected={"train": 40.0, "figure_a": 20.0})

    def job(self, number, rule, at, until, **more):
        self.now = at
        info = {"jobid": number, "rule_name": rule, "rule_msg": f"A job of {rule}", "output": [f"{rule}.pdf"]} | more
        self.log(event=LogEvent.JOB_INFO, log=[], reason="Missing output files", **info)
        self.now = until
        self.log(event=LogEvent.JOB_FINISHED, job_id=number)

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    run = Run(terminal=True)
    yield run
    run.display.close()


def test_without_a_terminal_each_job_is_one_plain_line_with_what_is_left():
    run = Run()
    run.plan()
    run.job(1, "train", 0, 40)
    run.job(2, "train", 40, 120)
    assert run.lines == [
        "3 jobs.",
        "1/3  A job of train  0:40  (40 %, 1 min left)",
        "2/3  A job of train  1:20  (80 %, 30 s left)",
    ]


def test_a_slow_machine_is_given_more_time():
    left = []
    for seconds in (20, 200):
        run = Run()
        run.plan()
        run.job(1, "train", 0, seconds)
        left.append(run.display.left())
    assert left == ["40 %, 40 s left", "40 %, 3 min left"]


def test_the_first_figure_is_said_once():
    run = Run()
    run.plan()
    run.job(1, "figure_a", 0, 1)
    run.job(2, "figure_b", 1, 2)
    assert [line for line in run.lines if "first figure" in line] == ["The first figure is there: figure_a.pdf"]


def test_a_job_that_failed_shows_the_end_of_its_log(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("".join(f"line {n}\n" for n in range(40)) + "error: layer 9 is not a layer of the target\n")
    run = Run()
    run.plan()
    run.log(level=logging.ERROR, event=LogEvent.JOB_ERROR, jobid=1, rule_name="train", rule_msg="Train", log=[str(log)])
    assert run.lines[1] == "FAILED: Train"
    assert run.lines[-1] == "  | error: layer 9 is not a layer of the target"
    assert len(run.lines) < 20


def test_warnings_errors_and_the_end_are_shown_and_snakemakes_chatter_is_not():
    run = Run()
    run.log("Building DAG of jobs...")
    run.log("Select jobs to execute...")
    run.log("no room", level=logging.ERROR)
    run.log("Tables: results/results.csv", selfdraft="end")
    run.log("Nothing to be done (all is there).")
    assert run.lines == [
        "no room",
        "Done in 0:00.",
        "Tables: results/results.csv",
        "Nothing to be done (all is there).",
    ]


def test_a_dry_run_says_why_as_snakemake_does():
    run = Run(dryrun=True)
    run.log("Building DAG of jobs...")
    assert run.lines == ["Building DAG of jobs..."]


def test_in_a_terminal_no_line_is_wider_and_a_bar_says_what_runs_and_what_is_left(terminal):
    terminal.plan()
    terminal.job(1, "train", 0, 40, rule_msg="A long name of a job, " * 10)
    terminal.now = 41
    terminal.log(
        event=LogEvent.JOB_INFO, jobid=2, rule_name="train", rule_msg="More", output=["x"], log=[], reason="Missing"
    )
    task = terminal.display.bar.tasks[0]
    assert task.completed == 40
    assert task.description == "1/3, 1 min left  train"
    said = next(line for line in terminal.lines if "1/3  A long" in line)
    assert "…  0:40" in said
    assert len(said[said.index("1/3") :].split("\x1b")[0]) <= 80
    assert "Missing" not in terminal.stream.getvalue()


def test_the_snakefile_says_everything_through_the_log():
    """The handler writes in a thread of its own: a print beside it can end up in the middle of its lines."""
    assert "print(" not in (Path(__file__).parents[2] / "Snakefile").read_text()
