"""What is drawn: each figure with its sweep, the tables beside results.csv, the generations that are traced."""

from typing import Any

from selfdraft.checkpoints import Checkpoint
from selfdraft.provenance.config_hash import Config
from selfdraft.study.entries import in_use_by, several_heads
from selfdraft.study.options import sets
from selfdraft.study.sweeps import FIXED, Point, points_for, points_of, trained

# Each figure draws one sweep; `figures: {NAME: {sweep: …}}` in the config chooses another one.
FIGURES = {
    "layer_sweep": "layers",
    "acceptance_sweep": "layers",
    "pareto": "layers",
    "gamma": "gamma",
    "temperature": "temperature",
    "capacity": "layers",
    "histograms": "layers",
    "training_curves": "layers",
    "predicted_speedup": "layers",
    "cycle_time": "layers",
    "drafting": "drafting",
    "domains": "domains",  # no sweep: all that the section `domains` measures
}

# Figures of the study as a whole, whatever its sweeps.
WHOLE_FIGURES = ("methods", "learning", "heads", "exits", "unverified", "online", "shift")

# Figures of tables that `results.csv` does not hold; each is drawn if the config has the section.
TABLE_FIGURES = {"batch": "batch", "lengths": "lengths", "peers": "peers", "compile": "compile"}

EARLY = "lengths"  # the one of them that `all_figures` draws too: where nothing is trained for it, it is the first

ALL_FIGURES = [*FIGURES, *WHOLE_FIGURES, *TABLE_FIGURES]

# Figures that the text of paper/ shows, and tables beside results.csv that it tells of, as far as the study has them.
PAPER_FIGURES = ("acceptance_sweep", "pareto", "cycle_time", "predicted_speedup", "gamma")
PAPER_TABLES = ("batch", "peers", "identity", "compile")


def side_tables(config: Config) -> list[str]:
    """The tables beside results.csv whose sections the config has."""
    return [name for name in ("batch", "lengths", "peers", "identity", "compile") if name in config]


def paper_tables(config: Config) -> list[str]:
    """The tables beside results.csv that the paper tells of."""
    return [name for name in PAPER_TABLES if name in config]


def paper_figures(config: Config) -> list[str]:
    """The figures that the paper shows."""
    drawn = figures(config)
    return [name for name in PAPER_FIGURES if name in drawn]


def domains_grid(config: Config) -> dict[str, list[str]]:
    """What the figure `domains` draws: the study's own data set, then the others, in all ways of drafting."""
    ways = dict.fromkeys([FIXED, *(point.drafting for point in points_for(config, "domains"))])
    return {"dataset": [config["data"]["name"], *sets(config)], "drafting": list(ways)}


def traced(config: Config) -> list[Point]:
    """The points whose generations are shown token by token; none without the section."""
    return points_for(config, "traces")


def traced_draft(config: Config) -> list[Checkpoint]:
    """The one draft that is traced: the first trained one."""
    return trained(traced(config))[:1]


def traced_policies(config: Config) -> list[str]:
    """The policies that are traced, a page each."""
    return list(dict.fromkeys(point.policy for point in traced(config)))


def trace_options(config: Config, policy: str) -> list[str]:
    """What `generate` is told of a traced policy: its first draft length, the answers' length and the warps."""
    gamma = next(point.gamma for point in traced(config) if point.policy == policy)
    warps = {f"--{key.replace('_', '-')}": value for key, value in config["policies"][policy].items()}
    options = {"--gamma": gamma, "--max-new-tokens": config["traces"]["max_new_tokens"], **warps}
    return [word for option, value in options.items() for word in (option, str(value))]


def figures(config: Config) -> dict[str, dict[str, Any]]:
    """What each figure draws: name -> {"sweep": its lists, "drafts": its drafts' names, "style": settings}.

    A figure whose usual sweep (or section) is not in the config, and that names no other one, is left out; so is
    that of trained drafters where there are none.
    """
    chosen = {}
    for name, usual in FIGURES.items():
        style = dict(config["figures"].get(name) or {})
        sweep = style.pop("sweep", usual)
        if name == "domains":
            if "domains" in config:
                chosen[name] = {"sweep": domains_grid(config), "drafts": [], "style": style}
        elif sweep in config["sweeps"]:
            grid = config["sweeps"][sweep]
            drafts = [draft.name for draft in trained(points_of(grid))]
            grid = grid | {"dataset": [config["data"]["name"]]}  # not the same points on the sets of `domains`
            chosen[name] = {"sweep": grid, "drafts": drafts, "style": style}
    of_tables = (name for name, section in TABLE_FIGURES.items() if section in config)
    learners = in_use_by(config, "train_dvi")
    drawn = {
        "methods": True,
        "learning": bool(in_use_by(config, "train_drafter")),
        "heads": bool(in_use_by(config, "train_exits")),
        "exits": several_heads(config),
        "unverified": bool(in_use_by(config, "train_exits")),
        "online": bool(learners),
        "shift": any("then" in made for made in learners.values()),
    }
    of_study = (name for name in WHOLE_FIGURES if drawn[name])
    for name in (*of_study, *of_tables):
        chosen[name] = {"sweep": {}, "drafts": [], "style": dict(config["figures"].get(name) or {})}
    return chosen
