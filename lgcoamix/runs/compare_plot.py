"""Plot of a comparison: every seed as a point, mean and spread of every group."""

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lgcoamix.runs.compare import Comparison, Group
from lgcoamix.runs.finished import MEDIAN
from preprocess.inspect.drawing import PAGE, new_figure, styled

_NAMES = {"last": "last epoch", "best": "best epoch", MEDIAN: "median of the last 10 epochs"}
_LABEL = 30  # characters per line of a group's name
_COLOURS = tuple(f"C{number}" for number in range(7))


@styled
def plot_comparison(comparison: Comparison) -> Figure:
    """Plot the metric of a comparison next to a second one: the median of the last 10 epochs, the last or the best.

    Parameters
    ----------
    comparison : any number of groups; the figure grows with them.
    """
    split = comparison.splits[0]
    groups = comparison.ranked(split)
    labels = [_label(group, comparison) for group in groups]
    wanted = dict.fromkeys((comparison.metric, MEDIAN, "last", "best"))
    metrics = [name for name in wanted if any(group.summary(split, name) for group in groups)][:2]
    lines = sum(label.count("\n") + 1 for label in labels)
    title = "each seed (circle), mean (line) and ± sample standard deviation (bar)"
    figure = new_figure(PAGE, 1.4 + 0.26 * len(groups) + 0.19 * lines, title)
    axes = figure.subplots(1, len(metrics), sharex=True, sharey=True)
    methods = list(dict.fromkeys(group.method for group in comparison.groups))  # as in the curves
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(methods)}
    for axis, metric in zip(axes, metrics, strict=True):
        for row, group in enumerate(groups):
            _draw_group(axis, row, group, split, metric, colours[group.method])
        axis.set_xlabel(f"top-1 (%) on the split {split},\n{_NAMES[metric]}", parse_math=False)
        axis.use_sticky_edges = False  # margin to the left of the lowest bar
        axis.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(groups)), labels, parse_math=False)
    axes[0].set_ylim(len(groups) - 0.5, -0.5)  # best on top
    return figure


def _label(group: Group, comparison: Comparison) -> str:
    letter = f", protocol {group.protocol}" if comparison.differences else ""
    lines = textwrap.wrap(f"{group.label}{letter}, n={len(group.runs)}", _LABEL, break_on_hyphens=False)
    return "\n".join(lines)


def _draw_group(axis: Axes, row: int, group: Group, split: str, metric: str, colour: str) -> None:
    summary = group.summary(split, metric)
    if summary is None:  # too few epochs for a median of ten
        return
    if summary.deviation is not None:
        axis.barh(row, 2 * summary.deviation, 0.5, summary.mean - summary.deviation, color=colour, alpha=0.25)
        axis.vlines(summary.mean, row - 0.3, row + 0.3, color=colour, linewidth=2)
    values = [run.figure(split, metric) for run in group.runs]
    axis.plot(
        values, [row] * len(values), "o", color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.6
    )
