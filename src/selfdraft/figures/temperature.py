"""The training temperature T: KL at T and at 1, and the accept rate, against T."""

from dataclasses import replace

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.quantities import upright
from selfdraft.figures.series import OF_DECODING, lines, look, split

ENDS = ((0, ""), (1, "_low"), (2, "_high"))


def draw(inputs: Inputs) -> Figure:
    """Two panels over T; in the left one KL at the training temperature and KL at temperature 1."""
    rows = inputs.results()
    figure, axes = style.canvas(inputs.style, style.COLUMN, 1.95, columns=2)
    axes[0].set(xlabel="training temperature T", ylabel=upright("kl"))
    axes[1].set(xlabel="training temperature T", ylabel=upright("accept_rate"))
    made = split(rows, "T", ignore=OF_DECODING)
    alone = len(made) == 1
    at_one = [
        replace(
            series,
            label="KL at 1" if alone else f"{series.label}, KL at 1",
            look=look(len(made) + index, 0) if alone else look(index, 1),
            rows=series.rows.assign(**{f"kl{end}": series.values("kl_at_1")[i] for i, end in ENDS}),
        )
        for index, series in enumerate(made)
    ]
    at_T = [replace(s, label="KL at T" if alone else f"{s.label}, KL at T") for s in made]
    if lines(axes[0], [*at_T, *at_one], "T", "kl"):
        axes[0].set_ylim(bottom=0)
    by_policy = split(rows, "T")
    if len(by_policy) == 1:
        by_policy = [replace(by_policy[0], label="_accept_rate", look=look(2, 0))]
    if lines(axes[1], by_policy, "T", "accept_rate"):
        axes[1].set_ylim(bottom=0)
    style.legend_above(figure, axes)
    return figure
