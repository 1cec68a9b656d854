"""The figure of an explanation: a row per image, drawn on its stored pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from preprocess.inspect.drawing import PAGE, SMALL, fitted, styled
from preprocess.inspect.sheet import boundaries

_LARGEST, _GAP = 1.3, 0.06  # inches, of a panel and between two
_HEAD, _TEXT, _FOOT = 0.36, 0.27, 0.47  # inches: names of the columns, two lines above a row, scales below all
_LEAST_WIDTH = 5.2  # inches, for the title and the scales
_COLOURS = colormaps["viridis"]  # rises in brightness as well: it survives greyscale
_LINE, _BORDER = (1.0, 1.0, 1.0), (1.0, 0.55, 0.0)  # between superpixels; around what is pasted
_LINE_SCALE = 250  # pixels of the longest side in which lines between regions are two pixels wide
_LEAST_RANGE = 1e-3  # of the colours of scores: before any training they are all 0.5, up to rounding


@dataclass(frozen=True)
class Regions:
    """The regions of an image, where they lie on the stored pixels, and what the network made of them.

    Parameters
    ----------
    ids : (H, W) integer array; an id outside [0, K) is no region.
    areas : (K,) float64 array, shares of the pixels of the input; 0 where a region is absent from it.
    scores : (K,) float64 array of s in [0, 1]; None for a method without attention.
    kept : (K,) bool array: among the regions with the largest scores, which enter the local losses; None if nothing is
        mixed, or without attention.
    """

    ids: np.ndarray
    areas: np.ndarray
    scores: np.ndarray | None = None
    kept: np.ndarray | None = None


@dataclass(frozen=True)
class Mixture:
    """An image a, as it is mixed with a partner b.

    Parameters
    ----------
    key, label : of the partner.
    partner : (h, w, 3) uint8 array; None for a method without partners.
    image : (h, w, 3) uint8 array, the mixed image.
    weights : of the labels, by the name of their column in ``images.csv``.
    selected : (h, w) bool array, the superpixels of b that are pasted; None for a method that pastes none.
    regions : of the mixed image, the second half of whose ids belongs to b; None as above.
    """

    key: str
    label: str
    partner: np.ndarray | None
    image: np.ndarray
    weights: dict[str, float]
    selected: np.ndarray | None = None
    regions: Regions | None = None


@dataclass(frozen=True)
class Example:
    """An image and what the network made of it.

    Parameters
    ----------
    key, label, predicted : of the image; class names.
    probability, predicted_probability : of the true and of the predicted class.
    image : (H, W, 3) uint8 array, the stored pixels.
    window : top, left, height and width of what the network saw of it.
    regions : of the image; None for a method without superpixels.
    mixture : None for a method that does not mix.
    activation : (2, height, width) array in [0, 1] over the window, for the true and for the predicted class; NaN where
        one is the same everywhere. None for a network that has none.
    cam : how it was computed.
    """

    key: str
    label: str
    predicted: str
    probability: float
    predicted_probability: float
    image: np.ndarray
    window: tuple[int, int, int, int]
    regions: Regions | None = None
    mixture: Mixture | None = None
    activation: np.ndarray | None = None
    cam: str = "CAM"


Panel = tuple[np.ndarray, str, str]  # an (H, W, 3) picture, and two lines above it


@styled
def explained_figure(examples: Sequence[Example], title: str = "") -> Figure:
    """Draw images in rows: as stored, their scores, how they are mixed, what the classes look at.

    Columns that no image has are left out.

    Parameters
    ----------
    examples : at least one.
    title : title of the figure.
    """
    scores = _score_range(examples)
    drawn = ((name, [draw(example, scores) for example in examples]) for name, draw in _COLUMNS.items())
    columns = [(name, panels) for name, panels in drawn if any(panel is not None for panel in panels)]
    has_scores = any(name in _SCORED for name, _ in columns)
    has_activation = any(example.activation is not None for example in examples)
    note = _note(examples, has_scores)
    side = min(_LARGEST, (PAGE - _GAP) / len(columns) - _GAP)
    below = 0.17 if note else 0.0
    foot = below + (_FOOT if has_scores or has_activation else _GAP)
    above = 0.08 + 0.17 * (title.count("\n") + 1) if title else 0.0
    across, down = len(columns) * (side + _GAP) + _GAP, side + _TEXT + _GAP
    width, height = max(across, _LEAST_WIDTH), above + _HEAD + len(examples) * down + foot
    figure = Figure(figsize=(width, height))
    _write(figure, title, width / 2, height - 0.06, size=9, va="top")
    left = (width - across) / 2 + _GAP
    for place, (name, panels) in enumerate(columns):
        x = left + place * (side + _GAP)
        head = f"{examples[0].cam},\n{name}" if name in _CLASSES else name.replace(" ", "\n", 1)
        for line, words in enumerate(reversed(head.split("\n"))):  # texts of two lines would not have one base
            _write(figure, words, x + side / 2, height - above - _HEAD + 0.06 + 0.13 * line, size=8, weight="bold")
        for row, (panel, example) in enumerate(zip(panels, examples, strict=True)):
            y = height - above - _HEAD - (row + 1) * down + _GAP
            if panel is not None:
                _show(figure, panel, (x, y, side), example if name == _STORED else None)
    _write(figure, note, width / 2, 0.07, size=SMALL, color="0.3")
    bars = [(scores, "attention score s")] if has_scores else []
    alike = "; pale: the same everywhere" if any(_has_flat(example) for example in examples) else ""
    bars += [(Normalize(0, 1), f"{examples[0].cam}, from its lowest to its highest{alike}")] if has_activation else []
    for place, (norm, label) in enumerate(bars):
        _scale(figure, norm, label, ((place + 0.5) / len(bars) * width, below + 0.29))
    return figure


def _note(examples: Sequence[Example], has_scores: bool) -> str:
    """Say what the lines and the pale parts mean."""
    if not any(example.mixture is not None and example.mixture.selected is not None for example in examples):
        return ""
    text = "orange line: around what is pasted of b, whose share is λ and whose other superpixels are pale"
    return text + ("; so are scores that are not kept" if has_scores else "")


def _show(figure: Figure, panel: Panel, place: tuple[float, float, float], framed: Example | None) -> None:
    """Show a picture in a place: left, bottom and side in inches. A frame is the window of ``framed``, if smaller."""
    picture, first, second = panel
    (x, y, side), (width, height) = place, figure.get_size_inches()
    axis = figure.add_axes((x / width, y / height, side / width, side / height))
    H, W = picture.shape[:2]
    if framed is not None:  # in stored pixels
        H, W = framed.image.shape[:2]
        top, left, *sides = framed.window
        if tuple(sides) != (H, W):
            frame = Rectangle((left, top), sides[1], sides[0], fill=False, color=_BORDER, linewidth=1, linestyle="--")
            axis.add_patch(frame)
    axis.imshow(picture, extent=(0, W, H, 0))
    axis.set_anchor("S")
    axis.set_axis_off()
    up = y + side * min(1, H / W) + 0.04
    _write(figure, fitted(second, side, from_end=True), x + side / 2, up, size=SMALL, color="0.3")
    _write(figure, fitted(first, side), x + side / 2, up + 0.12, size=SMALL)


def _write(figure: Figure, text: str, x: float, y: float, size: float, **more: Any) -> None:
    """Write a text centred at a place in inches."""
    width, height = figure.get_size_inches()
    figure.text(x / width, y / height, text, ha="center", fontsize=size, parse_math=False, **more)


def _scale(figure: Figure, norm: Normalize, label: str, middle: tuple[float, float]) -> None:
    """Draw the scale of a colour at a place in inches."""
    (x, y), (width, height) = middle, figure.get_size_inches()
    long = min(2.2, 0.4 * width)
    axis = figure.add_axes(((x - long / 2) / width, y / height, long / width, 0.09 / height))
    bar = figure.colorbar(ScalarMappable(norm, _COLOURS), cax=axis, orientation="horizontal")
    bar.ax.tick_params(labelsize=SMALL, length=2, pad=1)
    bar.ax.set_xlabel(label, fontsize=SMALL, labelpad=1)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()


def _score_range(examples: Sequence[Example]) -> Normalize:
    """The range of all scores that are shown, so that equal colours are equal scores."""
    parts = [example.regions for example in examples]
    parts += [example.mixture.regions for example in examples if example.mixture is not None]
    shown = [part.scores[part.areas > 0] for part in parts if part is not None and part.scores is not None]
    values = np.concatenate([np.empty(0), *shown])
    if not len(values):
        return Normalize(0, 1)
    low, high = float(values.min()), float(values.max())
    if high - low < _LEAST_RANGE:
        low, high = (low + high - _LEAST_RANGE) / 2, (low + high + _LEAST_RANGE) / 2
    return Normalize(low, high)


def _stored(example: Example, _: Normalize) -> Panel:
    return example.image, example.label, example.key


def _scores(example: Example, norm: Normalize) -> Panel | None:
    regions = example.regions
    if regions is None or regions.scores is None:
        return None
    picture = _in_colours(example.image, norm, regions, regions.areas > 0, example.window)
    return picture, _number(regions.areas > 0, "superpixel"), _range(regions.scores[regions.areas > 0])


def _superpixels(example: Example, _: Normalize) -> Panel | None:
    regions = example.regions
    if regions is None or regions.scores is not None:
        return None
    picture = _outlined(example.image / 255, regions.ids)
    return picture, _number(regions.areas > 0, "superpixel"), ""


def _partner(example: Example, _: Normalize) -> Panel | None:
    mixture = example.mixture
    if mixture is None or mixture.partner is None:
        return None
    image = mixture.partner / 255
    if mixture.selected is None:
        return image, mixture.label, mixture.key
    image = np.where(mixture.selected[..., None], image, 0.3 * _grey(image) + 0.65)
    picture = _bordered(image, mixture.selected)
    return picture, mixture.label, mixture.key


def _mixed(example: Example, _: Normalize) -> Panel | None:
    mixture = example.mixture
    if mixture is None:
        return None
    first, second = [*(f"{_WORDS[name]} {value:.3f}" for name, value in mixture.weights.items()), ""][:2]
    if mixture.selected is None:
        return mixture.image, first, second
    return _bordered(mixture.image / 255, mixture.selected), first, second


def _mixed_scores(example: Example, norm: Normalize) -> Panel | None:
    regions = None if example.mixture is None else example.mixture.regions
    if regions is None or regions.scores is None or regions.kept is None:
        return None
    image = example.mixture.image
    picture = _in_colours(image, norm, regions, regions.kept, (0, 0, *image.shape[:2]))
    first = f"{int(regions.kept.sum())} of {int((regions.areas > 0).sum())} kept"
    return _bordered(picture, example.mixture.selected), first, _range(regions.scores[regions.areas > 0])


def _true_class(example: Example, _: Normalize) -> Panel | None:
    return _activation(example, 0, example.label, example.probability)


def _predicted_class(example: Example, _: Normalize) -> Panel | None:
    if example.predicted == example.label:
        return None
    return _activation(example, 1, example.predicted, example.predicted_probability)


def _has_flat(example: Example) -> bool:
    """Whether a map that is shown is the same everywhere."""
    shown = 1 if example.predicted == example.label else 2
    return example.activation is not None and bool(np.isnan(example.activation[:shown]).all(axis=(1, 2)).any())


def _activation(example: Example, which: int, name: str, probability: float) -> Panel | None:
    if example.activation is None:
        return None
    top, left, height, width = example.window
    values = np.full(example.image.shape[:2], np.nan)
    values[top : top + height, left : left + width] = example.activation[which]
    return _blend(example.image / 255, values, Normalize(0, 1)), name, f"probability {probability:.3f}"


_WORDS = {
    "lambda_area": "λ area",
    "lambda_attention": "λ attention",
    "weight_a": "weight of a",
    "weight_b": "weight of b",
}
_STORED = "stored image a"
_COLUMNS: dict[str, Callable[[Example, Normalize], Panel | None]] = {
    _STORED: _stored,
    "superpixels": _superpixels,
    "attention scores": _scores,
    "partner b": _partner,
    "mixed image": _mixed,
    "scores when mixed": _mixed_scores,
    "true class": _true_class,
    "predicted": _predicted_class,
}
_CLASSES = ("true class", "predicted")
_SCORED = ("attention scores", "scores when mixed")


def _in_colours(
    image: np.ndarray, norm: Normalize, regions: Regions, coloured: np.ndarray, window: tuple[int, int, int, int]
) -> np.ndarray:
    """Colour some regions by their score, in the window that the network saw, and outline all."""
    ids, (top, left, height, width) = regions.ids, window
    known = np.zeros(ids.shape, bool)
    known[top : top + height, left : left + width] = True
    known &= (ids >= 0) & (ids < len(regions.areas))
    values = np.where(coloured, regions.scores, np.nan)[np.where(known, ids, 0)]
    return _outlined(_blend(image / 255, np.where(known, values, np.nan), norm), ids)


def _blend(image: np.ndarray, values: np.ndarray, norm: Normalize) -> np.ndarray:
    """Lay colours over a grey image, which is pale where there is no value."""
    grey, nothing = _grey(image), np.isnan(values)
    colours = _COLOURS(norm(np.where(nothing, norm.vmin, values)))[..., :3]
    return np.where(nothing[..., None], 0.3 * grey + 0.65, 0.35 * grey + 0.65 * colours)


def _grey(image: np.ndarray) -> np.ndarray:
    """Luma of an RGB image in [0, 1]: (H, W, 1)."""
    return (image @ np.array([0.299, 0.587, 0.114]))[..., None]


def _outlined(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Draw faint lines between regions."""
    return np.where(_lines(ids)[..., None], 0.25 * image + 0.75 * np.array(_LINE), image)


def _bordered(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw a line around what is pasted."""
    line = _lines(mask)
    dark = boundaries(line) & ~line  # on both sides of the line: it shows on every colour
    return np.where(line[..., None], np.array(_BORDER), np.where(dark[..., None], 0.0, image))


def _lines(ids: np.ndarray) -> np.ndarray:
    """Pixels between regions; lines are about as wide in images of any size."""
    lines = boundaries(ids)
    for _ in range(1, round(max(ids.shape) / _LINE_SCALE)):
        lines |= boundaries(lines)
    return lines


def _number(which: np.ndarray, name: str) -> str:
    count = int(which.sum())
    return f"{count} {name}" + ("" if count == 1 else "s")


def _range(scores: np.ndarray) -> str:
    return f"s: {scores.min():.3f} to {scores.max():.3f}"
