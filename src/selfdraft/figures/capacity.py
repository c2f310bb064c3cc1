"""Head alone against head + last block: KL, accepted_mean and speed-up, side by side at each layer."""

from matplotlib.figure import Figure

from selfdraft.figures import style
from selfdraft.figures.bars import grouped, name_groups
from selfdraft.figures.inputs import Inputs
from selfdraft.figures.series import OF_DECODING, lines, split

MOST_GROUPS = 8  # with more layers, bars are too thin: points and lines instead
PANELS = {
    "kl": "kl (nats/token)",
    "accepted_mean": "accepted_mean (tokens/cycle)",
    "speedup": "speedup (× vanilla)",
}


def draw(inputs: Inputs) -> Figure:
    """Three panels over the layer; a bar (or a line) per capacity, and per policy if there are several."""
    rows = inputs.results()
    layers = sorted(float(layer) for layer in rows["layer"].dropna().unique())
    few = len(layers) <= MOST_GROUPS
    figure, axes = style.canvas(inputs.style, style.FULL, 2.3, columns=3)
    for ax, (name, label) in zip(axes, PANELS.items(), strict=True):
        ax.set(xlabel="exit layer", ylabel=label)
        made = split(rows, "layer", OF_DECODING if name == "kl" else ())
        drawn = grouped(ax, made, name, "layer", layers) if few else lines(ax, made, "layer", name)
        if drawn and few:
            name_groups(ax, [f"{layer:g}" for layer in layers])
        if drawn and name == "speedup":
            ax.axhline(1.0, **style.REFERENCE)
    # the first panel, free of the policy, borrows the looks of the first policy
    style.legend_above(figure, axes[1:] if any(ax.has_data() for ax in axes[1:]) else axes)
    return figure
