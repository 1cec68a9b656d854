"""Plot of the learning curves of several runs: a line per group."""

from collections.abc import Mapping
from itertools import cycle

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lgcoamix.runs.curves import PANELS, Curve, mean_curve
from preprocess.inspect.drawing import PAGE, new_figure, styled

_WIDTH = 4.6  # inches of a panel, if it is the only one
_LETTERS = 15  # of the legend in an inch


@styled
def plot_curves(curves: list[Curve], split: str, several_protocols: bool) -> Figure:
    """Plot accuracy and cross-entropy on a split by epochs: mean over seeds, and the range from lowest to highest.

    Parameters
    ----------
    curves : at least one.
    several_protocols : whether the legend names the protocol of each group.
    """
    groups: dict[int, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(id(curve.group), []).append(curve)
    panels = [name for name in PANELS if any(curve.values[name] for curve in curves)]
    longest = max(len(_label(own, several_protocols)) for own in groups.values())
    width = min(PAGE, _WIDTH * len(panels))
    columns = max(1, min(len(groups), int(width * _LETTERS) // (longest + 8)))
    lines = -(-len(groups) // columns)
    title = f"on the split {split}: mean over seeds (line), lowest to highest (band)"
    figure = new_figure(width, 3.2 + 0.2 * lines, title)
    for axis, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for own, look in zip(groups.values(), cycle(rcParams["axes.prop_cycle"])):
            measured = [curve for curve in own if curve.values[name]]
            _draw_group(axis, look, measured, name, _label(own, several_protocols))
        axis.set_xlabel("epoch")
        axis.set_ylabel(PANELS[name])
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return figure


def _draw_group(axis: Axes, look: Mapping[str, str], curves: list[Curve], name: str, label: str) -> None:
    points = mean_curve(curves, name) if curves else []
    if not points:
        return
    epochs, means, lows, highs = zip(*points, strict=True)
    marker = "." if len(epochs) == 1 else None
    axis.plot(epochs, means, **look, linewidth=1.4, marker=marker, label=label)
    if len(curves) > 1:
        axis.fill_between(epochs, lows, highs, color=look["color"], alpha=0.15, linewidth=0)


def _label(curves: list[Curve], several_protocols: bool) -> str:
    group = curves[0].group
    return f"{group.label}{f', protocol {group.protocol}' if several_protocols else ''}, n={len(curves)}"
