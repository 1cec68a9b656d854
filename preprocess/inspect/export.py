"""Export a store as plain files: PNG images, PNG label maps, CSV tables."""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from preprocess.errors import StoreError
from preprocess.files import named
from preprocess.inputs import check_relative
from preprocess.outputs import PLAIN_FILES, making
from preprocess.store import Store
from preprocess.store.format import IMAGES
from preprocess.text import cells

_BATCH = 64


def export(store: Store, folder: Path, advance: Callable[[int], None]) -> None:
    """Write ``images/KEY.png``, ``COLUMN/KEY.png`` for every map column (greyscale, value = id) and ``labels.csv``.

    If the store has bounding boxes, also write ``boxes.csv``: edges as fractions of width and height. ``advance`` is
    called with the number of images that were written.

    Raises
    ------
    StoreError : the store is damaged, or two keys give one file.
    """
    with making(folder, PLAIN_FILES) as aside:
        _export(store, aside, advance)


def _export(store: Store, folder: Path, advance: Callable[[int], None]) -> None:
    rows = []
    for split in store.splits:
        keys, labels = store.keys(split), store.labels(split)
        rows += [[split, key, label, store.classes[label]] for key, label in zip(keys, labels, strict=True)]
        for batch in store.ranges(split, _BATCH):
            names = [keys[row] for row in batch]
            _write(folder, "images", names, store.images(split, batch))
            for column in store.splits[split].paths.keys() - {IMAGES}:
                _write(folder, column, names, store.column_maps(split, column, batch))
            advance(len(batch))
    _write_table(folder / "labels.csv", ["split", "key", "label", "class"], rows)
    boxes = [row for split in store.splits for row in _boxes(store, split)]
    if boxes:
        _write_table(folder / "boxes.csv", ["split", "key", "x0", "y0", "x1", "y1"], boxes)


def _boxes(store: Store, split: str) -> Iterator[list]:
    for key, boxes in zip(store.keys(split), store.boxes(split), strict=True):
        yield from ([split, key, *box] for box in boxes.tolist() if not math.isnan(box[0]))


def _write_table(path: Path, columns: list[str], rows: list[list]) -> None:
    with named(path), path.open("x", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *map(cells, rows)])


def _write(folder: Path, column: str, keys: list[str], arrays: Sequence[np.ndarray]) -> None:
    for key, pixels in zip(keys, arrays, strict=True):
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "PNG")
        name = f"{column}/{key}.png"
        try:
            check_relative(name)
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with named(path), path.open("xb") as file:  # x: another key may give this name, in another letter case
                file.write(data.getbuffer())
        except ValueError as error:
            raise StoreError(f"the key {key!r} cannot be exported: {error}") from None
        except (FileExistsError, NotADirectoryError):
            raise StoreError(f"the key {key!r} cannot be exported: {name!r} is the name of another file here") from None
