"""What of a run's log is shown: a line for each job that ended, and in a terminal a bar below them."""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text
from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

LAST_LINES = 15  # of the log of a job that failed
PRIOR = 30.0  # seconds for which the expected pace counts, before that of the run itself does


class Display:
    """Jobs as they end, on one stream. `clock` is for tests."""

    def __init__(self, stream: TextIO, settings: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = Console(file=stream, highlight=False, soft_wrap=not stream.isatty(), no_color=settings.nocolor)
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self.plain = settings.dryrun  # what would be done, and why: in Snakemake's own words
        self.formatter = DefaultFormatter(settings.quiet, settings.show_failed_logs)
        self.filter = DefaultFilter(
            settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
        )
        self.clock, self.began = clock, clock()
        self.expected: dict[str, float] = {}
        self.total_seconds = self.done_seconds = 0.0
        self.total = self.done = 0
        self.running: dict[int, tuple[str, str, list[str], float]] = {}
        self.figure_seen = False
        self.bar: Progress | None = None

    def show(self, record: logging.LogRecord) -> None:
        """Show one record of Snakemake's log, or nothing of it."""
        event = getattr(record, "event", None)
        if self.plain:
            if self.filter.filter(record) and (text := self.formatter.format(record)) not in ("", "None"):
                self.print(text)
        elif getattr(record, "selfdraft", None) == "plan":
            self.plan(record)
        elif getattr(record, "selfdraft", None) == "end":
            self.close()
            self.print(f"Done in {_clock(self.clock() - self.began)}.\n{record.getMessage()}")
        elif event == LogEvent.RUN_INFO:
            self.total = self.total or sum(n for rule, n in record.stats.items() if not _asks(rule, n))  # type: ignore[attr-defined]
        elif event == LogEvent.JOB_INFO:
            self.start(record)
        elif event == LogEvent.JOB_FINISHED:
            self.finish(record.job_id)  # type: ignore[attr-defined]
        elif event == LogEvent.JOB_ERROR:
            self.fail(record)
        elif record.levelno >= logging.WARNING or _nothing(record):
            self.print(self.formatter.format(record))

    def plan(self, record: Any) -> None:
        """Say what will be done and start the bar."""
        self.print(record.getMessage())
        self.total, self.expected = record.jobs, record.expected
        self.total_seconds = record.seconds
        self.began = self.clock()
        if self.live:
            self.bar = Progress(
                TextColumn("{task.completed:>3.0f} %"),
                BarColumn(None),
                TextColumn("{task.description}"),
                console=self.console,
                transient=True,
                expand=True,
                refresh_per_second=2,
                get_time=self.clock,
            )
            self.task = self.bar.add_task("", total=100)
            self.bar.start()
            self.refresh()

    def start(self, record: Any) -> None:
        """Keep what a job is until it ends."""
        what = record.rule_msg or record.rule_name.replace("_", " ")
        self.running[record.jobid] = (record.rule_name, what, list(record.output), self.clock())
        self.refresh()

    def finish(self, job: int) -> None:
        """A line for the job, with how far the run is and what is left where no bar says it."""
        rule, what, output, began = self.running.pop(job, ("", "", [], 0.0))
        if not output:  # one of the targets, which only ask for others
            return
        self.done += 1
        self.done_seconds += self.expected.get(rule, 0.0)
        place = f"{self.done:>{len(str(self.total))}}/{self.total}"
        left = "" if self.bar or self.done == self.total else f"  ({self.left()})"
        self.line(place, what, f"{_clock(self.clock() - began)}{left}")
        if not self.figure_seen and rule.startswith("figure_"):
            self.figure_seen = True
            self.print(f"The first figure is there: {output[0]}")
        self.refresh()

    def fail(self, record: Any) -> None:
        """The job that failed, and the end of its log, whose last line says what is wrong."""
        self.running.pop(record.jobid, None)
        self.print(f"FAILED: {record.rule_msg or record.rule_name}", style="bold red")
        for name in record.log:
            last = _last_lines(Path(name))
            self.print(f"  {name}{':' if last else ' is empty'}")
            self.print("\n".join(f"  | {line}" for line in last))
        self.refresh()

    def left(self) -> str:
        """How long the rest should take: the expected seconds at the pace of what has run."""
        if not self.total_seconds:
            return f"{100 * self.done // max(1, self.total)} % done"
        # expected seconds of jobs that run count in part, so that long ones do not hold the pace back
        now = self.clock()
        partly = sum(
            min(self.expected.get(rule, 0.0), 0.9 * (now - began)) for rule, _, _, began in self.running.values()
        )
        progress = min(self.total_seconds, self.done_seconds + partly)
        pace = (now - self.began + PRIOR) / (progress + PRIOR)
        rest = max(0.0, self.total_seconds - progress) * pace
        return f"{100 * progress / self.total_seconds:.0f} %, {_rough(rest)} left"

    def refresh(self) -> None:
        """What runs and how long the rest takes, in the bar."""
        if self.bar:
            percent, _, rest = self.left().partition(" %")
            names = dict.fromkeys(rule.removeprefix("figure_") for rule, *_ in self.running.values())
            description = f"{self.done}/{self.total}{rest}  {', '.join(names)}"
            self.bar.update(self.task, completed=float(percent), description=description[: self.console.width // 2])

    def line(self, place: str, what: str, end: str) -> None:
        """One job; as long as the terminal is wide, or whole where there is none."""
        if self.live:
            room = self.console.width - len(place) - len(end) - 4
            what = what if len(what) <= room else what[: room - 1] + "…"
            self.print(f"{place}  {what:{room}}  {end}")
        else:
            self.print(f"{place}  {what}  {end}")

    def print(self, text: str, style: str = "") -> None:
        """Above the bar, where there is one."""
        if text:
            self.console.print(Text(text), style=style)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()
            self.bar = None


def _asks(rule: str, jobs: int) -> bool:
    return rule == "total" or rule.startswith("all_")


def _nothing(record: logging.LogRecord) -> bool:
    return str(record.msg).startswith("Nothing to be done")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _rough(seconds: float) -> str:
    if seconds < 60:
        return f"{max(10, round(seconds / 10) * 10)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _last_lines(log: Path) -> Iterable[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    except OSError:
        return []
