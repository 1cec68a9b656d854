"""Plots with the numbers behind them, and sheets of images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from preprocess.files import write_whole
from preprocess.inspect.drawing import PAGE, SMALL, fitted, rendered, styled
from preprocess.text import to_csv

_MARGIN = 0.1  # inches, above and below
_LEAST_WIDTH = 5.2  # inches, for the title


@dataclass(frozen=True)
class Plot:
    """A figure, and what it shows in numbers.

    Parameters
    ----------
    figure : to draw.
    rows : of the table beside it; None if a file beside it has the numbers already.
    """

    figure: Figure
    rows: Sequence[Mapping[str, object]] | None = None


def write_plots(folder: Path, plots: Mapping[str, Plot], form: str) -> None:
    """Write each plot as NAME.FORM, and its numbers as NAME.csv; every file completely or not at all.

    Parameters
    ----------
    plots : by name.
    form : ``png``, ``pdf`` or ``svg``.
    """
    for name, plot in plots.items():
        write_whole(folder / f"{name}.{form}", rendered(plot.figure, form))
        if plot.rows is not None:
            write_whole(folder / f"{name}.csv", to_csv(plot.rows, end="\r\n").encode())


@styled
def tiled_figure(images: Sequence[np.ndarray], texts: Sequence[str], columns: int, title: str = "") -> Figure:
    """Show images in rows as wide as a page, with a text above each.

    Parameters
    ----------
    images : (H, W, 3) or (H, W) arrays, uint8 or floats in [0, 1]. Smaller ones are enlarged by an integer factor.
    texts : one per image; a line that is wider than it is shortened.
    columns : images per row.
    title : title of the figure.
    """
    # One Axes for all: an Axes per image takes three times as long to lay out.
    H, W = max(image.shape[:2] for image in images)
    step_x = round(1.05 * W)  # pixels
    width = PAGE / columns  # inches
    pixel = width / step_x
    room = 0.08 + 0.12 * (1 + max(text.count("\n") for text in texts))  # inches, for the texts of a row
    step_y = H + round(room / pixel)
    sheet = np.full((-(-len(images) // columns) * step_y, min(columns, len(images)) * step_x, 3), 255, np.uint8)
    height, total = sheet.shape[0] * pixel + _MARGIN, sheet.shape[1] * pixel
    above = _MARGIN + 0.17 * (title.count("\n") + 1) if title else 0
    figure = Figure(figsize=(max(total, _LEAST_WIDTH), height + above))
    axis, left = figure.add_axes((0, 0, 1, 1)), (figure.get_figwidth() - total) / 2
    for number, (image, text) in enumerate(zip(images, texts, strict=True)):
        bottom, start = (number // columns + 1) * step_y, number % columns * step_x + (step_x - W) // 2
        sheet[bottom - H : bottom, start : start + W] = _enlarged(image, W)
        x, y = left + (start + W / 2) * pixel, height - (bottom - H) * pixel + 0.04
        lines = "\n".join(fitted(line, width) for line in text.split("\n"))
        axis.text(x, y, lines, ha="center", va="bottom", fontsize=SMALL, parse_math=False)
    for top in range(0, len(sheet), step_y):  # a row at a time: a whole long sheet takes gigabytes
        y = height - top * pixel
        extent = (left, left + total, y - step_y * pixel, y)
        axis.imshow(sheet[top : top + step_y], interpolation="nearest", extent=extent, aspect="auto")
    axis.text(left + total / 2, height + above - 0.07, title, ha="center", va="top", fontsize=10, parse_math=False)
    axis.set(xlim=(0, figure.get_figwidth()), ylim=(0, height + above))
    axis.set_axis_off()
    return figure


def _enlarged(image: np.ndarray, side: int) -> np.ndarray:
    image = image if image.dtype == np.uint8 else (255 * image).round().astype(np.uint8)
    factor = side // image.shape[1]
    image = image.repeat(factor, axis=0).repeat(factor, axis=1)
    return image if image.ndim == 3 else image[..., None]
