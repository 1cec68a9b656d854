"""Figures of an evaluation: calibration, confusion, accuracy per class, mistakes, robustness."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from lgcoamix.evaluation.bootstrap import CONFIDENCE
from lgcoamix.evaluation.metrics import METRICS, Figures
from lgcoamix.runs.drawing import Plot, tiled_figure
from preprocess.inspect.drawing import GREY, PAGE, SMALL, new_figure, styled
from preprocess.text import shortened

_MOST_NAMES = 30  # with more classes, names along an axis become unreadable
_MOST_NUMBERS = 12  # with more classes, numbers in the cells of a confusion matrix become unreadable
_NAMED = 10  # worst classes to name if there is no room for all
_LONGEST = 24  # characters of a class name
_COLUMNS = 6  # mistakes in a row


@dataclass(frozen=True)
class Mistake:
    """A misclassified sample.

    Parameters
    ----------
    key : of the sample.
    image : (H, W, 3) uint8 array, RGB.
    label, predicted : class names.
    confidence : probability of the prediction, in [0, 1].
    """

    key: str
    image: np.ndarray
    label: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Curve:
    """Metrics under one kind of attack.

    Parameters
    ----------
    name : of the attack.
    label : label of the horizontal axis.
    strengths : k increasing numbers.
    figures : metrics at each of the k strengths.
    """

    name: str
    label: str
    strengths: tuple[float, ...]
    figures: tuple[Figures, ...]


@styled
def reliability_plot(figures: Figures, title: str = "") -> Plot:
    """Plot accuracy against confidence, above a histogram of confidence.

    Parameters
    ----------
    figures : metrics of a split.
    title : title of the figure.
    """
    bins = [part for part in figures.reliability if part.count]
    width = figures.reliability[0].high - figures.reliability[0].low
    centres = [(part.low + part.high) / 2 for part in bins]
    figure = new_figure(4.8, 5.6, title)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.bar(centres, [part.accuracy for part in bins], width, color="C4", edgecolor="white", label="accuracy")
    upper.plot((0, 1), (0, 1), color=GREY, linestyle="--", linewidth=1, label="perfect")
    upper.plot(
        *([part.confidence for part in bins], [part.accuracy for part in bins]),
        color="black",
        marker="o",
        linestyle="",
        label="at the bin's mean confidence",
    )
    upper.set_ylabel("accuracy")
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1.02)
    upper.set_title(f"expected calibration error {figures['calibration_error']:.3f}, {len(figures.reliability)} bins")
    lower.bar(centres, [part.count for part in bins], width, color="C4", alpha=0.5, edgecolor="white")
    lower.set_ylabel("images")
    lower.set_xlabel("confidence")
    lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    figure.legend(loc="outside lower center", ncols=3)
    return Plot(figure, [asdict(part) for part in figures.reliability])


@styled
def confusion_plot(figures: Figures, classes: Sequence[str], title: str = "") -> Plot:
    """Plot the confusion matrix, normalised over each true class.

    Parameters
    ----------
    figures : metrics of a split.
    classes : N names. The axes show them for up to 30 classes, and class numbers beyond.
    title : title of the figure.
    """
    N = len(classes)
    shares = 100 * figures.confusion / np.maximum(figures.confusion.sum(axis=1, keepdims=True), 1)
    side = min(PAGE - 1.1, 3.6 + 0.2 * N)
    figure = new_figure(side + 1.1, side)
    axis = figure.subplots()
    # Square root: confusions are rare, and invisible on a linear scale.
    image = axis.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    figure.colorbar(image, ax=axis, label="% of the true class", shrink=0.8)
    named = N <= _MOST_NAMES
    for which, setter in ((axis.xaxis, axis.set_xticks), (axis.yaxis, axis.set_yticks)):
        if named:
            turned = {"rotation": 90} if which is axis.xaxis else {}
            setter(range(N), [shortened(name, _LONGEST) for name in classes], parse_math=False, **turned)
        else:
            which.set_major_locator(MaxNLocator(8, integer=True))
    hint = "" if named else ", by number"
    axis.set_xlabel(f"predicted class{hint}")
    axis.set_ylabel(f"true class{hint}")
    if N <= _MOST_NUMBERS:
        for row, column in np.argwhere(figures.confusion):
            colour = "white" if shares[row, column] > 35 else "black"
            number = str(figures.confusion[row, column])
            axis.text(column, row, number, ha="center", va="center", color=colour)
        title = f"{title}\nnumbers of images".strip()
    axis.set_title(title, parse_math=False)
    axis.grid(False)
    rows = zip(classes, figures.confusion.tolist(), strict=True)
    return Plot(figure, [{"true class": name, **dict(zip(classes, row, strict=True))} for name, row in rows])


@styled
def per_class_plot(figures: Figures, classes: Sequence[str], title: str = "") -> Plot:
    """Plot the accuracy of every class that has samples, worst first; for up to 30, with its interval.

    Parameters
    ----------
    figures : metrics of a split.
    classes : N names. Up to 30 label their bars; beyond, the figure lists the ten worst.
    title : title of the figure.
    """
    order = [label for label, accuracy in enumerate(figures.per_class) if accuracy is not None]
    order.sort(key=lambda label: figures.per_class[label])  # stable: ties keep the order of labels
    values = [figures.per_class[label] for label in order]
    names = [f"{shortened(classes[label], _LONGEST)} ({figures.counts[label]})" for label in order]
    few = len(order) <= _MOST_NAMES
    figure = new_figure(6.4, 1.8 + 0.24 * len(order)) if few else new_figure(PAGE, 3.6)
    axis = figure.subplots()
    title = f"{title}\nline: top-1 of all images, {figures['top1']:.1f} %".strip()
    axis.set_title(title, parse_math=False)
    places = range(len(order))
    if few:
        ends = np.array([figures.per_class_interval[label] for label in order])
        reach = np.abs(ends.T - values)
        axis.barh(places, values, xerr=reach, color="C4", height=0.8, ecolor=GREY, error_kw={"elinewidth": 1})
        axis.set_yticks(places, names, parse_math=False)
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.axvline(figures["top1"], color="black", linewidth=1)
        axis.set_xlim(0, 101)
        axis.set_xlabel(f"accuracy (%), with its {100 * CONFIDENCE:g} % interval")
        axis.set_ylabel("class (its images)")
    else:
        axis.stairs(values, fill=True, color="C4")  # one shape: bars of 70,000 classes take minutes
        axis.axhline(figures["top1"], color="black", linewidth=1)
        axis.set_xlim(0, len(order))
        axis.set_ylim(0, 100)
        axis.set_ylabel("accuracy (%)")
        axis.set_xlabel("classes, worst first")
        worst = [f"{value:5.1f} %  {name}" for value, name in zip(values, names, strict=True)][:_NAMED]
        text = "\n".join([f"the {len(worst)} worst (their images)", "", *worst])
        axis.text(1.02, 1, text, transform=axis.transAxes, va="top", fontsize=SMALL, parse_math=False)
    return Plot(figure, per_class_rows(figures, classes))


def per_class_rows(figures: Figures, classes: Sequence[str]) -> list[dict[str, object]]:
    """The accuracy of every class, in the order of the labels; empty for a class without samples."""
    pairs = zip(figures.per_class, figures.per_class_interval, strict=True)
    shown = (
        ["", "", ""] if ends is None else [f"{value:.2f}" for value in (accuracy, *ends)] for accuracy, ends in pairs
    )
    return [
        {"class": name, "images": count, "accuracy": accuracy, "low": low, "high": high}
        for name, count, (accuracy, low, high) in zip(classes, figures.counts, shown, strict=True)
    ]


@styled
def mistakes_plot(shown: Sequence[Mistake], title: str = "") -> Plot:
    """Show misclassified images with their true class, predicted class and confidence.

    Parameters
    ----------
    shown : mistakes in the order of the figure, with images of one shape. If empty, the figure says so.
    title : title of the figure.
    """
    if shown:
        images, texts = [mistake.image for mistake in shown], [_describe(mistake) for mistake in shown]
        figure = tiled_figure(images, texts, _COLUMNS, title)
    else:
        figure = new_figure(5, 2, title)
        figure.text(0.5, 0.45, "no mistakes: every image is classified correctly", ha="center", va="center")
    rows = [{name: value for name, value in vars(mistake).items() if name != "image"} for mistake in shown]
    return Plot(figure, rows or None)


@styled
def robustness_plot(clean: Figures, curves: Sequence[Curve], title: str = "") -> Plot:
    """Plot top-1, and top-5 if defined, against the strength of each kind of attack.

    Parameters
    ----------
    clean : metrics without attack, plotted at strength 0.
    curves : at least one; each gets a panel.
    title : title of the figure.
    """
    figure, rows = new_figure(min(PAGE, 4.4 * len(curves)), 3.2, title), []
    axes = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axis, curve in zip(axes, curves, strict=True):
        points = (clean, *curve.figures)
        strengths = (0, *curve.strengths)
        rows += [
            {"attack": curve.name, "strength": strength, **point.values}
            for strength, point in zip(strengths, points, strict=True)
        ]
        for name, metric in METRICS.items():
            values = [point[name] for point in points]
            if metric.is_accuracy and None not in values:
                axis.plot(strengths, values, marker="o", label=metric.label)
        chance = 100 / len(clean.counts)
        axis.axhline(chance, color=GREY, linestyle=":", linewidth=1, label=f"chance, {chance:.1f} %")
        axis.set_ylim(0, 104)
        axis.set_xlabel(curve.label)
    axes[0].set_ylabel("accuracy (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return Plot(figure, rows)


def _describe(mistake: Mistake) -> str:
    confidence = f"{100 * mistake.confidence:.1f} %"
    return f"{mistake.label}\npredicted, {confidence}:\n{mistake.predicted}"
