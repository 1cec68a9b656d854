"""Contact sheets: images with the boundaries of their superpixels at every stored scale."""

import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from skimage.segmentation import mark_boundaries

from preprocess.errors import StoreError
from preprocess.store import Store
from preprocess.store.format import writing_aside

_LINE_SCALE = 384  # side, in pixels, to which a small picture is enlarged before boundaries are drawn


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
    total = len(store.splits[split])
    chosen = np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist()
    images, labels = store.images(split, chosen), store.labels(split)[chosen]
    scales = store.scales if store.has_maps(split) else ()
    columns = 1 + len(scales)
    figure = Figure(figsize=(2.2 * columns, 2.35 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        axes[row, 0].imshow(image)
        axes[row, 0].set_title(f"{chosen[row]}: {store.classes[label]}", fontsize=8)
    for column, scale in enumerate(scales, start=1):
        maps = store.maps(split, scale.segments, chosen)
        for row, (image, ids) in enumerate(zip(images, maps, strict=True)):
            axes[row, column].imshow(_with_boundaries(image, ids.astype(int)))
            axes[row, column].set_title(f"{scale.segments} asked, {ids.max() + 1} found", fontsize=8)
    picture = io.BytesIO()  # drawn first: a full disk leaves no half of a file
    figure.savefig(picture, dpi=110, format=out.suffix[1:])
    with writing_aside(out) as file:
        file.write(picture.getvalue())


def _with_boundaries(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    # Enlarged first, so that the lines do not hide a small picture.
    factor = max(1, _LINE_SCALE // max(ids.shape))
    enlarged = image.repeat(factor, axis=0).repeat(factor, axis=1)
    return mark_boundaries(enlarged, ids.repeat(factor, axis=0).repeat(factor, axis=1), color=(1, 1, 0))
