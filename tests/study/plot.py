"""Plots of accuracy by length, and of the differences to plain training."""

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from lgcoamix.runs.paired import paired
from preprocess.inspect.drawing import PAGE, legend_above, new_figure, rendered, styled
from tests.study.kept import Kept

_LOOKS = {
    "none": {"color": "C3", "linestyle": "-"},
    "cutmix": {"color": "C0", "linestyle": "--"},
    "superpixel_grid": {"color": "C1", "linestyle": "-."},
    "lgcoamix": {"color": "C2", "linestyle": ":"},
}


@styled
def plot_length(own: Sequence[Kept]) -> bytes:
    """Draw the cells of a study of lengths.

    Parameters
    ----------
    own : its finished cells; a variant is METHOD-EPOCHS.

    Returns
    -------
    Content of a PNG file: every seed, mean and sample standard deviation on the left; on the right the paired
    difference to plain training of every seed, and the mean; from three seeds on with its interval, as that of two is
    wider than all else.
    """
    pixels = own[0].cell.settings.data.image_size
    title = f"flowers17 without near copies, resnet10t from scratch at {pixels} pixels, last epoch"
    figure = new_figure(PAGE, 3.6, title)
    left, right = figure.subplots(1, 2)
    values: dict[str, dict[int, dict[int, float]]] = {}
    for kept in own:
        lengths = values.setdefault(kept.cell.mixer, {})
        lengths.setdefault(kept.cell.settings.optim.epochs, {})[kept.cell.seed] = kept.top1
    for number, (method, lengths) in enumerate(values.items()):
        look, aside = _LOOKS[method], 1.03 ** (number - (len(values) - 1) / 2)
        _draw_accuracy(left, method, lengths, look, aside)
        if method != "none":
            _draw_difference(right, method, lengths, values.get("none", {}), look, aside)
    left.set_ylabel("top-1 (%): seeds, mean ± standard deviation")
    right.set_ylabel("difference to none: seeds, 95 % interval")
    right.axhline(0, color="black", linewidth=0.8)
    every = sorted({epochs for lengths in values.values() for epochs in lengths})
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xticks(every)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.set_xlabel("epochs")
    legend_above(left, 4)
    return rendered(figure)


def _draw_accuracy(
    axis: Axes, method: str, lengths: dict[int, dict[int, float]], look: dict[str, str], aside: float
) -> None:
    every = sorted(lengths)
    means = [statistics.mean(lengths[epochs].values()) for epochs in every]
    spreads = [statistics.stdev(lengths[epochs].values()) if len(lengths[epochs]) > 1 else 0.0 for epochs in every]
    at = [epochs * aside for epochs in every]
    axis.errorbar(at, means, spreads, **look, label=method, linewidth=1.5, capsize=3)
    for epochs, place in zip(every, at, strict=True):
        _draw_seeds(axis, place, lengths[epochs], look)


def _draw_difference(
    axis: Axes,
    method: str,
    lengths: dict[int, dict[int, float]],
    none: dict[int, dict[int, float]],
    look: dict[str, str],
    aside: float,
) -> None:
    found = {epochs: paired(seeds, none.get(epochs, {})) for epochs, seeds in sorted(lengths.items())}
    found = {epochs: difference for epochs, difference in found.items() if difference is not None}
    known = [each.high is not None and len(each.differences) > 2 for each in found.values()]
    reach = [each.high - each.mean if shown else 0.0 for each, shown in zip(found.values(), known, strict=True)]
    at = [epochs * aside for epochs in found]
    axis.errorbar(at, [each.mean for each in found.values()], reach, **look, linewidth=1.5, capsize=3)
    for place, each in zip(at, found.values(), strict=True):
        _draw_seeds(axis, place, each.differences, look)


def _draw_seeds(axis: Axes, place: float, values: Mapping[int, float], look: dict[str, str]) -> None:
    axis.plot([place] * len(values), list(values.values()), "o", color=look["color"], markersize=3)
