"""How long the jobs of a run should take: the seconds that a rule took in another run, scaled by its work."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.study.model_sizes import model_parameters
from selfdraft.study.sweeps import Config
from selfdraft.study.teaching import other_models
from selfdraft.study.work import amounts

COSTS = Path(__file__).parent / "costs"
FLOAT32, BFLOAT16 = "epyc-2-cores", "epyc-2-cores-bfloat16"
AVX512 = {"avx512vl", "avx512bw", "avx512dq"}  # what PyTorch's CPU kernels for bfloat16 ask for


@dataclass(frozen=True)
class Costs:
    """A measured run: its config, the parameters of its models, and for each rule its jobs and their seconds."""

    name: str
    origin: str
    config: Config
    parameters: dict[str, float]
    rules: dict[str, dict[str, float]]
    cores: int  # of the machine whose jobs share it; 0 for jobs that have a GPU each

    @classmethod
    def from_dict(cls, raw: Any, name: str) -> "Costs":
        """Raises StudyError for a file that is none."""
        try:
            return cls(name, raw["origin"], raw["config"], raw["parameters"], raw["rules"], raw["cores"])
        except (KeyError, TypeError) as error:
            raise StudyError(f"{name}: no costs that `selfdraft plan --write` wrote ({error})") from None

    @property
    def start(self) -> float:
        """Seconds that a job takes at least: those of the fastest of its rules."""
        each = [rule["seconds"] / rule["jobs"] for rule in self.rules.values() if rule["jobs"]]
        return min(each, default=0.0)

    def seconds(self, jobs: Mapping[str, int], config: Config, parameters: Mapping[str, float]) -> dict[str, float]:
        """What each rule's jobs take together: `jobs` are those of the whole study.

        The start of every job, and the rest in proportion to the rule's work. A rule that was not
        measured takes its jobs' starts alone (see `unknown`).
        """
        # Without its sizes a model is taken to be as large as the measured target.
        usual = self.parameters.get(self.config["target"]["name"], 1.0)
        models = [config["target"]["name"], *other_models(config)]
        now = amounts(config, dict.fromkeys(models, usual) | dict(parameters))
        then = amounts(self.config, self.parameters)
        found = {}
        for rule, count in jobs.items():
            measured = self.rules.get(rule, {"jobs": 0, "seconds": 0.0})
            rest = max(0.0, measured["seconds"] - measured["jobs"] * self.start)
            scale = now.get(rule, count) / then.get(rule, measured["jobs"] or count)
            found[rule] = count * self.start + rest * scale
        return found

    def unknown(self, rules: Mapping[str, int]) -> list[str]:
        """The rules of which the run had no job."""
        return sorted(rule for rule in rules if rule not in self.rules)


def read_costs(name: str | Path) -> Costs:
    """Costs that come with the package, by name, or a file of `selfdraft plan --write`."""
    path = COSTS / f"{name}.json"
    path = path if path.is_file() else Path(name)
    if not path.is_file():
        raise StudyError(f"{name}: no such costs; there are {', '.join(names())}, or a file of --write")
    return Costs.from_dict(read_json(path), path.stem)


def measured_costs(results: str | Path) -> Costs:
    """The costs of a run, by the records that it left in its results folder (see provenance.study)."""
    folder = Path(results)
    records = [read_json(folder / "provenance.json")]
    if (beside := folder / "provenance_of_benchmarks.json").is_file():
        records.append(read_json(beside))
    rules: dict[str, dict[str, float]] = {}
    for record in records:
        rules |= {name: {key: ran[key] for key in ("jobs", "seconds")} for name, ran in record["durations"].items()}
    config, machine = records[0]["config"], records[0]["machine"] or {}
    origin = f"The run in {results} on {machine.get('gpu') or machine.get('cpu') or 'a machine without a name'}."
    cores = 0 if machine.get("gpu") else int(machine.get("cores") or 1)
    return Costs(str(results), origin, config, model_parameters(config, folder), rules, cores)


def usual(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The costs of the number format that `dtype: auto` takes on this processor, float32 where nobody knows."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return BFLOAT16 if flags >= AVX512 else FLOAT32


def names() -> list[str]:
    """The costs that come with the package."""
    return sorted(path.stem for path in COSTS.glob("*.json"))


def text_of(costs: Costs) -> str:
    """A costs file's text."""
    made = {key: getattr(costs, key) for key in ("origin", "cores", "parameters", "rules", "config")}
    return json.dumps(made, indent=1) + "\n"


def duration(seconds: float) -> str:
    """Two or three digits in the unit that suits: 40 s, 12 min, 5.3 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"
