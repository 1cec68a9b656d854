"""Export a store as plain files: PNG images, PNG label maps, CSV tables."""

import csv
import math
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from preprocess.errors import StoreError
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
    StoreError : the folder is not empty, or the store is damaged.
    """
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty; choose a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    aside.mkdir()
    try:
        _export(store, aside, advance)
        aside.replace(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _export(store: Store, folder: Path, advance: Callable[[int], None]) -> None:
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["split", "key", "label", "class"])
        for split in store.splits:
            keys, labels = store.keys(split), store.labels(split)
            for key, label in zip(keys, labels, strict=True):
                table.writerow(cells([split, key, label, store.classes[label]]))
            for start in range(0, len(keys), _BATCH):
                rows = range(start, min(start + _BATCH, len(keys)))
                _write(folder / "images", [keys[row] for row in rows], store.images(split, rows))
                for column in store.splits[split].paths.keys() - {IMAGES}:
                    maps = store.column_maps(split, column, rows)
                    _write(folder / column, [keys[row] for row in rows], maps)
                advance(len(rows))
    boxes = [row for split in store.splits for row in _boxes(store, split)]
    if boxes:
        with (folder / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["split", "key", "x0", "y0", "x1", "y1"], *map(cells, boxes)])


def _boxes(store: Store, split: str) -> Iterator[list]:
    for key, boxes in zip(store.keys(split), store.boxes(split), strict=True):
        yield from ([split, key, *box] for box in boxes.tolist() if not math.isnan(box[0]))


def _write(folder: Path, keys: list[str], arrays: Sequence[np.ndarray]) -> None:
    for key, pixels in zip(keys, arrays, strict=True):
        out = folder / f"{key}.png"  # below the folder: keys are relative paths
        out.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(out)
