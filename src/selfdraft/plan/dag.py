"""The jobs of a study as Snakemake plans them, asked of Snakemake itself."""

import contextlib
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError

SNAKEFILE = Path(__file__).resolve().parents[3] / "Snakefile"


@dataclass(frozen=True)
class Job:
    """One job: its rule, its threads and whether it asks for a GPU."""

    rule: str
    threads: int
    gpu: bool


class _Collector(logging.Handler):
    """Keeps the jobs that a dry run logs."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Job] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if (found := vars(record)).get("rule_name") and "resources" in found:
            job = Job(found["rule_name"], found["threads"], bool(found["resources"].get("gpu")))
            self.jobs += [job] if found["output"] else []  # a target only asks for others
        elif record.levelno >= logging.ERROR:
            self.errors.append(record.getMessage())


def jobs_of(config: str | Path, targets: Iterable[str], cores: int = 1) -> list[Job]:
    """All jobs that the targets need when nothing is there yet.

    Raises StudyError for what Snakemake says against the config or the targets, or without Snakemake.
    """
    try:
        from snakemake.api import SnakemakeApi
        from snakemake.settings.enums import Quietness
        from snakemake.settings.types import (
            ConfigSettings,
            DAGSettings,
            OutputSettings,
            ResourceSettings,
            StorageSettings,
            WorkflowSettings,
        )
    except ImportError:
        raise StudyError("plan: asks Snakemake, which is not installed here; see `make`") from None
    collector = _Collector()
    logger = logging.getLogger("snakemake.logging")
    quiet = OutputSettings(quiet={Quietness.ALL}, enable_file_logging=False)
    with contextlib.redirect_stderr(io.StringIO()), SnakemakeApi(quiet) as api:
        logger.addHandler(collector)
        try:
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=cores, nodes=1),
                config_settings=ConfigSettings(configfiles=[Path(config).resolve()]),
                storage_settings=StorageSettings(),
                workflow_settings=WorkflowSettings(),
                snakefile=SNAKEFILE,
            )
            dag = workflow.dag(DAGSettings(targets=set(targets), forceall=True))
            dag.execute_workflow(executor="dryrun")
        except Exception as error:  # what Snakemake raises has no common class of its own
            raise StudyError(_said(error, collector.errors)) from None
        finally:
            logger.removeHandler(collector)
    return collector.jobs


def _said(error: Any, errors: list[str]) -> str:
    """The last line of what Snakemake says: the others are the place in the Snakefile."""
    lines = [line.strip() for line in [*errors, str(error)] if line.strip()]
    return (lines or [type(error).__name__])[-1].splitlines()[-1].strip()
