"""Before jobs go to SLURM: does it answer, and has it what they ask for? One line with the remedy otherwise."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from selfdraft.errors import StudyError

PATIENCE = 30  # seconds that a SLURM command may take to answer
SEEN = 200  # seconds that squeue must show an ended job; the executor asks every 180 at the latest


@dataclass(frozen=True)
class Partition:
    """What one job can have of a partition: minutes (None: no limit); a node's cores, MB, and GPUs by model."""

    minutes: float | None
    cores: int
    memory_mb: int
    gpus: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What the jobs of one rule ask for; GPUs without a model are of any."""

    rule: str
    partition: str | None
    minutes: float = 0
    cores: int = 1
    memory_mb: int = 0
    gpus: int = 0
    gpu_model: str = ""


def request_of(rule: str, threads: int, resources: Mapping[str, Any]) -> Request:
    """The request that the SLURM executor makes of a job's threads and resources (only numbers are compared)."""

    def number(name: str) -> int:
        value = resources.get(name)
        return value if isinstance(value, int) else 0

    partition, model = resources.get("slurm_partition"), resources.get("gpu_model")
    return Request(
        rule,
        str(partition) if partition else None,
        number("runtime"),
        max(1, number("cpus_per_task") or threads),
        number("mem_mb"),
        number("gpu"),
        str(model or ""),
    )


def check_slurm(workflow: Any) -> None:
    """Check, at the start of a Snakemake run, that SLURM can run its jobs; of another executor nothing is asked.

    Raises StudyError with the remedy.
    """
    if workflow.executor_plugin.name != "slurm":
        return
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    requests = dict.fromkeys(request_of(job.rule.name, job.threads, job.resources) for job in jobs)
    check_cluster(requests, workflow.executor_settings.status_command)


def check_cluster(requests: Iterable[Request], status_command: str | None) -> None:
    """Raise StudyError for the first request that this cluster can never fulfil, or if it does not answer at all."""
    if shutil.which("sbatch") is None:
        raise StudyError(
            "SLURM: sbatch is not on the PATH; start Snakemake on a login node of the cluster,"
            " or without --workflow-profile to run on this machine"
        )
    partitions = partitions_of(_answer("sinfo", "--noheader", "--format=%R|%l|%c|%m|%G"))
    for request in requests:
        if problem := problem_of(request, partitions):
            raise StudyError(f"rule {request.rule}: {problem}")
    if status_command == "squeue":
        found = re.search(r"^MinJobAge\s*=\s*(\d+)", _answer("scontrol", "show", "config"), re.MULTILINE)
        if found and int(found[1]) < SEEN:
            raise StudyError(
                f"SLURM: ended jobs leave squeue after {found[1]} s (MinJobAge), and would be waited for without end;"
                " set `slurm-status-command: sacct` in the profile"
            )
    if status_command == "sacct":
        try:
            _answer("sacct", "--allocations", "--noheader", "--starttime=now")
        except StudyError as error:
            raise StudyError(
                f"{error}; where no accounting database runs, set `slurm-status-command: squeue` in the profile"
            ) from None


def _answer(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise StudyError(
            f"SLURM: {command[0]} gave no answer in {PATIENCE} s; try it by hand, and start again when it works"
        ) from None
    except OSError as error:
        raise StudyError(f"SLURM: {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise StudyError(f"SLURM: {command[0]} failed ({said}); try it by hand, and start again when it works")
    return done.stdout


def partitions_of(text: str) -> dict[str, Partition]:
    """The partitions from lines NAME|TIMELIMIT|CORES|MEMORY|GRES; of unlike nodes the largest number counts."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        name, limit, cores, memory, gres = line.split("|")
        gpus = {model or "": int(count) for model, count in re.findall(r"gpu:(?:([^:,(]+):)?(\d+)", gres)}
        new = Partition(_minutes(limit), int(cores.rstrip("+")), int(memory.rstrip("+")), gpus)
        old = found.get(name, new)
        found[name] = Partition(
            new.minutes,
            max(old.cores, new.cores),
            max(old.memory_mb, new.memory_mb),
            {model: max(old.gpus.get(model, 0), gpus.get(model, 0)) for model in {*old.gpus, *gpus}},
        )
    return found


def _minutes(limit: str) -> float | None:
    """SLURM's [DAYS-]HOURS:MINUTES:SECONDS or MINUTES:SECONDS in minutes; None without a limit."""
    days, _, clock = limit.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts):
        return None  # infinite, n/a
    hours, minutes, seconds = [0, *map(int, parts)][-3:]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def problem_of(request: Request, partitions: Mapping[str, Partition]) -> str | None:
    """Why no node can ever run such a job, and what to change; None if one can."""
    if request.partition is None:
        return None  # the cluster's default one, unless its administrators have none
    partition = partitions.get(request.partition)
    if partition is None:
        known = ", ".join(partitions) or "none"
        return f"partition {request.partition} is not on this cluster ({known}); set slurm_partition in the profile"
    where = f"partition {request.partition}"
    if request.gpus:
        here = ", ".join(f"{count} {model}".strip() for model, count in partition.gpus.items())
        if not partition.gpus:
            return f"asks for a GPU, and the nodes of {where} have none; set slurm_partition in the profile"
        if request.gpu_model and request.gpu_model not in partition.gpus:
            remedy = (
                "set gpu_model in the profile" if "" not in partition.gpus else "leave out gpu_model in the profile"
            )
            return f"asks for a GPU of model {request.gpu_model}, a node of {where} has {here}; {remedy}"
        most = partition.gpus[request.gpu_model] if request.gpu_model else sum(partition.gpus.values())
        if request.gpus > most:
            return f"asks for {request.gpus} GPUs, a node of {where} has {here}; set gpu in the profile"
    if partition.minutes is not None and request.minutes > partition.minutes:
        allowed = f"{partition.minutes:g}"
        return f"asks for {request.minutes:g} minutes, {where} allows {allowed}; set runtime in the profile"
    if request.cores > partition.cores:
        return f"asks for {request.cores} cores, a node of {where} has {partition.cores}; set cores in the profile"
    if partition.memory_mb > 1 and request.memory_mb > partition.memory_mb:
        memory = f"{partition.memory_mb} MB"
        return f"asks for {request.memory_mb} MB, a node of {where} has {memory}; set mem_mb in the profile"
    return None
