"""Drawing a figure of a synthetic study, by the command line or in memory, and what it shows."""

import synthetic_study

from selfdraft.figures import FIGURES, figure_module
from selfdraft.figures.inputs import Inputs, checked_sweep
from selfdraft.figures.style import Style, applied
from selfdraft.study.drawing import FIGURES as USUAL
from selfdraft.study.drawing import WHOLE_FIGURES

TABLE = {name: f"{name}.csv" for name in ("methods", "batch", "lengths", "peers", "compile", "online")}
TABLE |= {"shift": "online.csv", "heads": "head_curves.csv", "exits": "exit_layers.csv", "unverified": "unverified.csv"}
OPTION = {"histograms": "--acceptance", "training_curves": "--logs", "learning": "--logs"} | dict.fromkeys(
    TABLE, "--table"
)
OF_RESULTS = [name for name in FIGURES if name not in OPTION]


def sweep_of(name):
    if name == "domains":
        return {"dataset": ["sharegpt", *synthetic_study.DOMAINS]}
    return {} if name in TABLE or name in WHOLE_FIGURES else synthetic_study.SWEEPS[USUAL[name]]


def tables_of(name, study):
    """Where the tables lie: those of `domains` in a folder of their own, if the study has one."""
    return study / name if (study / name).is_dir() else study


def logs_of(name, study):
    """The logs of exits, or of drafters for the figure of those."""
    return tuple(sorted(study.glob(f"{'drafters' if name == 'learning' else 'checkpoints'}/*/train_log.jsonl")))


def arguments(name, study, out, sweep="{}", style="{}"):
    study = tables_of(name, study)
    logs = [str(path) for path in logs_of(name, study)]
    files = {"--acceptance": [f"{study}/acceptance.csv"], "--logs": logs, "--table": [f"{study}/{TABLE.get(name)}"]}
    option = OPTION.get(name, "--results")
    given = [option, *files.get(option, [f"{study}/results.csv"])]
    return ["figure", name, *given, "--sweep", sweep, "--style", style, "--out-dir", str(out)]


def drawn(name, study, sweep=None):
    study = tables_of(name, study)
    logs = logs_of(name, study)
    sweep = checked_sweep(sweep_of(name) if sweep is None else sweep)
    table = study / TABLE.get(name, "")
    inputs = Inputs(study / "results.csv", study / "acceptance.csv", logs, table, sweep)
    with applied(Style()):
        figure = figure_module(name).draw(inputs)
        figure.draw_without_rendering()
    return figure


def words(figure):
    """Every text of the figure, legends and ticks included."""
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def bars_of(ax, label):
    """The bars of one label, in the order in which they were drawn."""
    (found,) = (bars for bars in ax.containers if bars.get_label() == label)
    return list(found)
