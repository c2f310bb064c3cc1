"""What work costs on a machine: a few coefficients, each with what is best, typical and worst of it."""

from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json, write_json
from selfdraft.plan.jobs import Job
from selfdraft.plan.work import peak_seconds

Range = tuple[float, float, float]  # best, typical, worst
CASES = ("low", "typical", "high")  # of a prediction: all coefficients at their best, and so on
BY_STAGE = ("start_s", "of_peak", "units_s")
FOLDER = files("selfdraft.plan") / "costs"


@dataclass(frozen=True)
class Costs:
    """The costs of one machine.

    origin, assumptions: where the numbers come from, in sentences; what is a guess says so. peaks_from: who says
    what the machine can do at best: gflop_s by number format, bandwidth_gb_s. By stage: start_s, the
    seconds in which a job starts (imports, loading the model); of_peak, the share of the machine's best
    that its work reaches; units_s, seconds a unit of work of another kind. pass_s, eager_layer_s: seconds to
    start a step's kernels, and those of a layer in transformers' `generate`. disk_gb_s: rate of reading
    and writing states. measured: jobs behind each stage's numbers; start_only: stages whose jobs were too
    short to show more than their start. slots: jobs at once that the time on the clock is told for. shared:
    jobs run side by side on one machine, and one that claims it whole runs alone.
    """

    name: str
    device: str
    origin: str
    peaks_from: str
    gflop_s: dict[str, float]
    bandwidth_gb_s: float
    start_s: dict[str, Range]
    of_peak: dict[str, Range]
    pass_s: Range
    eager_layer_s: Range
    disk_gb_s: Range
    units_s: dict[str, Range]
    measured: dict[str, int] = field(default_factory=dict)
    start_only: list[str] = field(default_factory=list)
    assumptions: list[str] = field(default_factory=list)
    slots: list[int] = field(default_factory=lambda: [1])
    shared: bool = False

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    def seconds(self, job: Job, case: str = "typical") -> float:
        """How long a job runs."""
        at = CASES.index(case)
        work = job.work
        found = self.start_s[job.stage][at]
        if work.units:
            found += work.units * self.units_s[job.stage][at]
        if job.stage in self.of_peak:
            flops = {dtype: 1e9 * rate for dtype, rate in self.gflop_s.items()}
            found += peak_seconds(work, flops, 1e9 * self.bandwidth_gb_s) / self.of_peak[job.stage][at]
            found += work.passes * self.pass_s[at] + work.eager_layers * self.eager_layer_s[at]
            found += work.disk / (1e9 * self.disk_gb_s[at])
        return found


def names() -> list[str]:
    """The machines whose costs come with the package."""
    return sorted(entry.name.removesuffix(".json") for entry in FOLDER.iterdir() if entry.name.endswith(".json"))


def read_costs(which: str) -> Costs:
    """By the name of a machine that comes with the package, or from a file that `write_costs` made.

    Raises StudyError for a name or file that is not there, or is not a file of costs.
    """
    if which in names():
        return _from_json(read_json(Path(str(FOLDER / f"{which}.json"))), which)
    if not Path(which).is_file():
        raise StudyError(f"--machine {which}: neither a file nor one of {', '.join(names())}")
    return _from_json(read_json(which), which)


def write_costs(path: str | Path, costs: Costs) -> None:
    """Keep costs for other plans."""
    write_json(path, asdict(costs))


def _from_json(raw: Any, where: str) -> Costs:
    try:
        ranges = {key: tuple(map(float, raw[key])) for key in ("pass_s", "eager_layer_s", "disk_gb_s")}
        tables = {key: {k: tuple(map(float, v)) for k, v in raw[key].items()} for key in BY_STAGE}
        costs = Costs(**(raw | ranges | tables))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise StudyError(f"{where}: not a file of costs as `selfdraft plan --write` makes it ({error})") from None
    for found in (*ranges.values(), *(found for stages in tables.values() for found in stages.values())):
        if len(found) != 3 or min(found) <= 0:
            raise StudyError(f"{where}: {list(found)} is not three numbers > 0: best, typical, worst")
    return costs
