"""Contact sheets: images with the boundaries of their superpixels at every stored scale."""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from skimage.segmentation import mark_boundaries

from preprocess.errors import StoreError
from preprocess.files import writing_aside
from preprocess.store import Store

_LINE_SCALE = 384  # side, in pixels, to which a small picture is enlarged before boundaries are drawn

Panel = tuple[str, np.ndarray | None]  # title and picture; None leaves the place empty


def contact_sheet(store: Store, split: str, count: int, out: Path) -> None:
    """Draw a sheet: one row an image, the image itself first, then one column for each scale.

    Parameters
    ----------
    store : the store to look at.
    split : which split.
    count : number of images, taken at even distances through the split.
    out : picture file; the suffix chooses the format.
    """
    if out.suffix[1:] not in Figure().canvas.get_supported_filetypes():
        raise StoreError(f"{out}: expected a name that ends in .png, .jpg or .pdf")
    chosen = spread(len(store.splits[split]), count)
    images, labels = store.images(split, chosen), store.labels(split)[chosen]
    rows = [
        [(f"{sample}: {store.classes[label]}", image)]
        for sample, label, image in zip(chosen, labels, images, strict=True)
    ]
    for scale in store.scales if store.has_maps(split) else ():
        for row, image, ids in zip(rows, images, store.maps(split, scale.segments, chosen), strict=True):
            row.append((found_title(scale.segments, ids), outlined(image, ids)))
    picture = io.BytesIO()  # drawn first: a full disk leaves no half of a file
    draw_sheet(rows).savefig(picture, dpi=110, format=out.suffix[1:])
    with writing_aside(out) as file:
        file.write(picture.getvalue())


def spread(total: int, count: int) -> list[int]:
    """Up to ``count`` sample numbers of ``total``, at even distances from the first to the last."""
    return np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()


def draw_sheet(rows: list[list[Panel]]) -> Figure:
    """Lay out panels; all rows have the same number of them."""
    columns = len(rows[0])
    figure = Figure(figsize=(2.2 * columns, 2.35 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, panels in zip(axes, rows, strict=True):
        for axis, (title, picture) in zip(row, panels, strict=True):
            axis.set_axis_off()
            axis.set_title(title, fontsize=8, parse_math=False)  # a class may be called "$x"
            if picture is not None:
                axis.imshow(picture)
    return figure


def found_title(segments: int, ids: np.ndarray) -> str:
    """What stands above a map: the count asked for, and how many superpixels came out."""
    return f"{segments} asked, {ids.max() + 1} found"


def outlined(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Draw boundaries on an image: (H, W, 3) uint8 and (H, W) ids -> a float picture, enlarged if it is small."""
    # Enlarged first, so that the lines do not hide a small picture.
    factor = max(1, _LINE_SCALE // max(ids.shape))
    enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)
    ids = ids.astype(int).repeat(factor, axis=0).repeat(factor, axis=1)
    return mark_boundaries(enlarged, ids, color=(1, 1, 0))
