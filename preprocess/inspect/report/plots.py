"""The plots of the report, as ``data:`` addresses."""

import base64
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from preprocess.inspect.drawing import new_figure, rendered, styled
from preprocess.inspect.sheet import Panel, draw_sheet
from preprocess.text import shortened

_FILL, _ASKED = "C4", "black"
_WIDTH = 3.6  # inches; 100 CSS pixels each: a plot fits a phone, with its text as large as it was meant
_BINS = 40
_MOST_BARS = 20  # classes drawn as bars with names; more classes are drawn as a curve
_MOST_POINTS = 20_000
_TAIL = 0.005  # fraction of the values that a histogram may cut off


@styled
def sheet_address(rows: list[list[Panel]]) -> str:
    """A contact sheet."""
    return _address(draw_sheet(rows), "jpg", dpi=160, pil_kwargs={"quality": 85})


@styled
def balance_address(counts: np.ndarray, classes: tuple[str, ...]) -> str:
    """Images per class: a named bar per class, or a curve over the rank if there are many classes."""
    order = np.argsort(-counts, kind="stable")
    if len(counts) > _MOST_BARS:
        figure = new_figure(_WIDTH, 2.6)
        axis = figure.subplots()
        axis.fill_between(np.arange(len(counts) + 1), np.append(counts[order], 0), step="post", color=_FILL, lw=0)
        axis.set(xlim=(0, len(counts)), ylim=0, xlabel="classes, from the largest to the smallest", ylabel="images")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        figure = new_figure(_WIDTH, 0.6 + 0.21 * len(counts))
        axis = figure.subplots()
        bars = axis.barh(np.arange(len(counts)), counts[order], color=_FILL, height=0.72)
        axis.bar_label(bars, padding=3)
        labels = [shortened(classes[label], 24) for label in order]
        axis.set_yticks(np.arange(len(counts)), labels, parse_math=False)
        axis.set(ylim=(len(counts) - 0.4, -0.6), xlim=(0, 1.1 * max(1, counts.max(initial=0))), xlabel="images")
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return _address(figure)


@styled
def spread_address(rows: list[tuple[str, np.ndarray, float | None]], xlabel: str) -> str:
    """Histograms below each other with a common axis.

    Parameters
    ----------
    rows : (name, integers, position of a dashed line or None); at least one value in total.
    xlabel : label of the axis.
    """
    marks = [mark for _, _, mark in rows if mark is not None]
    everything = np.concatenate([*(values for _, values, _ in rows), marks])
    least, most, usual = int(everything.min()), int(everything.max()), int(np.quantile(everything, 1 - _TAIL))
    if most > 2 * usual:  # a few huge values would squeeze all others
        most, xlabel = max(usual, *map(int, marks)), f"{xlabel} ({100 * _TAIL:g} % are larger)"
    step = -(-(most - least + 1) // _BINS)
    edges = np.arange(least, most + step + 1, step) - 0.5  # every bin has the same number of integers
    figure = new_figure(_WIDTH, 0.55 + 0.62 * len(rows))
    axes = figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
    for axis, (name, values, mark) in zip(axes, rows, strict=True):
        axis.stairs(np.histogram(values, edges)[0], edges, fill=True, color=_FILL)
        if mark is not None:
            axis.axvline(mark, color=_ASKED, lw=1.3, ls=(0, (3, 2)))
        axis.set(yticks=[], ylim=0, xlim=(edges[0] - step, edges[-1] + step))
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.spines["left"].set_visible(False)
    axes[-1].set_xlabel(xlabel)
    return _address(figure)


@styled
def shapes_address(shapes: np.ndarray) -> str:
    """Widths, heights and aspect ratios of images."""
    figure = new_figure(_WIDTH, 2.6)
    left, right = figure.subplots(1, 2)
    shown = shapes[:: -(-len(shapes) // _MOST_POINTS)]
    left.scatter(shown[:, 1], shown[:, 0], s=9, color=_FILL, alpha=0.5, lw=0)
    left.set(xlabel="width, pixels", ylabel="height, pixels", xlim=0, ylim=0)
    right.hist(shapes[:, 1] / shapes[:, 0], bins=_BINS, color=_FILL)
    right.axvline(1, color=_ASKED, lw=1.3, ls=(0, (3, 2)))
    right.set(xlabel="width / height", ylabel="images")
    return _address(figure)


def _address(figure: Figure, form: str = "png", dpi: int = 200, **options: Any) -> str:
    mime = {"png": "image/png", "jpg": "image/jpeg"}[form]
    return f"data:{mime};base64,{base64.b64encode(rendered(figure, form, dpi, **options)).decode()}"
