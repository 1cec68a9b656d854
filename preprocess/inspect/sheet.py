"""Contact sheets: images with their superpixel boundaries at every stored scale."""

import numpy as np
from matplotlib.figure import Figure

from preprocess.inspect.drawing import PAGE, SMALL, fitted, rendered, styled
from preprocess.store import Store

_LINE_SCALE = 384  # pixels: small images are enlarged to this side before boundaries are drawn
_YELLOW = (1.0, 1.0, 0.0)
_MOST_PIXELS = 640  # of a side: boundaries of a large image would take gigabytes
_PANELS = 1.35, 2.2  # inches, of the smallest and of the largest panel
_TITLE, _GAP = 0.17, 0.05  # inches, above a panel and between two
_WRITER = "python -m preprocess show"
FORMATS = {  # where each holds the name of its writer
    ".png": {"metadata": {"Software": _WRITER}},
    ".jpg": {"pil_kwargs": {"comment": _WRITER}},
    ".pdf": {"metadata": {"Creator": _WRITER}},
    ".svg": {"metadata": {"Creator": _WRITER}},
}

Panel = tuple[str, np.ndarray | None]  # title and image; None leaves the panel empty


def contact_sheet(store: Store, split: str, count: int, suffix: str) -> bytes:
    """Draw a sheet with one row per image: the image, then its boundaries at each scale.

    The ``count`` images are evenly spaced through the split. ``suffix``, one of ``FORMATS``, chooses the format.
    """
    chosen = spread(len(store.splits[split]), count)
    labels, scales = store.labels(split), store.scales if store.has_maps(split) else ()
    rows = []
    for sample in chosen:
        image = subsampled(store.images(split, [sample])[0])
        panels: list[Panel] = [(f"{sample}: {store.classes[labels[sample]]}", image)]
        for scale in scales:
            ids = store.maps(split, scale.segments, [sample])[0]
            panels.append((found_title(scale.segments, ids), outlined(image, subsampled(ids))))
        rows.append(panels)
    return rendered(draw_sheet(rows), suffix[1:], **FORMATS[suffix])


def spread(total: int, count: int) -> list[int]:
    """Up to ``count`` of ``total`` sample numbers, evenly spaced from the first to the last."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


@styled
def draw_sheet(rows: list[list[Panel]]) -> Figure:
    """Draw rows of panels; all rows have the same length."""
    # One Axes for all: an Axes per panel takes four times as long.
    columns = len(rows[0])
    side = max(_PANELS[0], min(_PANELS[1], PAGE / columns))
    shapes = [[(0, 0) if image is None else _scaled(image, side - _GAP) for _, image in panels] for panels in rows]
    tops = np.cumsum([_TITLE + max(height for height, _ in row) + _GAP for row in shapes])
    figure = Figure(figsize=(side * columns, tops[-1]))
    axis = figure.add_axes((0, 0, 1, 1))
    for panels, row, top in zip(rows, shapes, (0, *tops), strict=False):
        for place, ((title, image), (height, width)) in enumerate(zip(panels, row, strict=True)):
            x, y = (place + 0.5) * side, tops[-1] - top - _TITLE
            axis.text(x, y + 0.04, fitted(title, side), ha="center", fontsize=SMALL, parse_math=False)  # as "$x"
            if image is not None:
                axis.imshow(image, extent=(x - width / 2, x + width / 2, y - height, y), aspect="auto")
    axis.set(xlim=(0, side * columns), ylim=(0, tops[-1]))
    axis.set_axis_off()
    return figure


def _scaled(image: np.ndarray, side: float) -> tuple[float, float]:
    """Height and width of an image whose longest side has a length."""
    height, width = image.shape[:2]
    return side * height / max(height, width), side * width / max(height, width)


def found_title(segments: int, ids: np.ndarray) -> str:
    """Title of a map: the requested count, and the number of superpixels found."""
    return f"{segments} requested, {ids.max() + 1} found"


def subsampled(values: np.ndarray) -> np.ndarray:
    """Every second, third, ... pixel of a large image or map, so that its longest side is below 1280."""
    step = max(1, max(values.shape) // _MOST_PIXELS)
    return values[::step, ::step]


def outlined(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Draw boundaries on an image: (H, W, 3) uint8 or floats in [0, 1], (H, W) ids -> floats, enlarged if small."""
    # Enlarged first, so that the lines do not hide a small image.
    factor = max(1, _LINE_SCALE // max(ids.shape))
    enlarged, ids = (values.repeat(factor, axis=0).repeat(factor, axis=1) for values in (image, ids))
    drawn = enlarged / 255 if image.dtype == np.uint8 else enlarged.copy()
    drawn[boundaries(ids)] = _YELLOW
    return drawn


def boundaries(ids: np.ndarray) -> np.ndarray:
    """Pixels with a neighbour of another region, of four: (H, W) ids -> (H, W) bool array.

    Notes
    -----
    As ``skimage.segmentation.find_boundaries(mode="thick")``, whose import would take a run half a second.
    """
    found = np.zeros(ids.shape, bool)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differ = ids[one] != ids[other]
        found[one] |= differ
        found[other] |= differ
    return found
