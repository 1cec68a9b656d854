"""Stanford Cars (Krause et al., 2013): 196 makes, models and years."""

from pathlib import Path

import numpy as np

from preprocess.datasets.base import EVERYTHING, Adapter, Archive, Box, Listing, Request, Sample, locate, located
from preprocess.datasets.metadata import check_classes, read_mat
from preprocess.errors import MissingDataError

_TRAIN, _TEST, _NAMES = "cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_meta.mat"
_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_OLDER, _OLDER_IMAGES = "cars_annos.mat", "car_ims"


def find_cars(root: Path, request: Request = EVERYTHING) -> Listing:
    """List Stanford Cars in its official layout, or in the older one.

    ``root`` contains ``cars_train/``, ``cars_test/``, the files of ``devkit/`` and ``cars_test_annos_withlabels.mat``,
    directly or up to two levels below, because copies of the set nest them differently; or the older ``car_ims/`` and
    ``cars_annos.mat``. Label = official class - 1; keys are like ``cars_train/00001.jpg`` or ``car_ims/000001.jpg``.
    """
    if (older := located(root, _OLDER)) and located(root, _OLDER_IMAGES) and not located(root, "cars_train"):
        return _list_older(root, older, request)
    meta = locate(root, f"devkit/{_NAMES}", _NAMES)
    names, tables = read_mat(meta, _class_names), [meta]
    splits = {}
    for split, name in (("train", _TRAIN), ("test", _TEST)):
        if not request.wants(split):
            continue
        table = _test_table(root) if split == "test" else locate(root, f"devkit/{name}", name)
        rows = read_mat(table, _rows)
        check_classes(table, np.array([number for _, number, _ in rows], int), len(names))
        folder = f"cars_{split}"
        home = locate(root, *(f"{folder}/{file}" for file, _, _ in rows)).parent
        samples = (Sample(f"{folder}/{file}", number - 1, home / file, boxes) for file, number, boxes in rows)
        splits[split] = tuple(samples)
        tables.append(table)
    return Listing(names, splits, tables=tuple(tables))


def _test_table(root: Path) -> Path:
    try:
        return locate(root, f"devkit/{_TEST}", _TEST)
    except MissingDataError as error:
        raise MissingDataError(
            f"{error}. This file has the labels of the test images, which cars_test_annos.mat of the devkit lacks; "
            "--splits train leaves the test images out"
        ) from None


def _list_older(root: Path, table: Path, request: Request) -> Listing:
    """List the form in which one table has the class names and the rows of both splits."""
    names, rows = read_mat(table, lambda found: (_class_names(found), _older_rows(found)))
    check_classes(table, np.array([number for _, number, _, _ in rows], int), len(names))
    home = locate(root, _OLDER_IMAGES).parent
    splits: dict[str, list[Sample]] = {split: [] for split in ("train", "test") if request.wants(split)}
    for path, number, boxes, split in rows:
        if split in splits:
            splits[split].append(Sample(path, number - 1, home / path, boxes))
    return Listing(names, {split: tuple(samples) for split, samples in splits.items()}, tables=(table,))


def _class_names(variables: dict) -> tuple[str, ...]:
    return tuple(str(name) for name in np.atleast_1d(variables["class_names"]))


def _rows(variables: dict) -> list[tuple[str, int, tuple[Box, ...]]]:
    """File, class and box of every image."""
    rows = np.atleast_1d(variables["annotations"])
    return [(str(row["fname"]), int(row["class"]), _box(row)) for row in rows]


def _older_rows(variables: dict) -> list[tuple[str, int, tuple[Box, ...], str]]:
    """Path, class, box and split of every image."""
    rows = np.atleast_1d(variables["annotations"])
    splits = ("train", "test")
    return [
        (str(row["relative_im_path"]), int(row["class"]), _box(row), splits[bool(int(row["test"]))]) for row in rows
    ]


def _box(row: np.void) -> tuple[Box, ...]:
    """MATLAB boxes count pixels from 1 and include the last one."""
    x0, y0, x1, y1 = edges = [float(row[name]) for name in _BOX]
    if not np.isfinite(edges).all():
        raise ValueError(f"expected boxes of numbers, got {edges}")
    return ((x0 - 1, y0 - 1, x1, y1),)


_TRAIN_SUM = "512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288"
_TEST_SUM = "bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243"

CARS = Adapter(
    summary="Stanford Cars (Krause et al., 2013)",
    find=find_cars,
    layout="stanford_cars/{devkit/{cars_train_annos.mat, cars_meta.mat}, cars_test_annos_withlabels.mat, "
    "cars_train/, cars_test/}, or the older {car_ims/, cars_annos.mat}",
    source="the official site (ai.stanford.edu/~jkrause/cars) is offline; find a copy",
    licence="non-commercial research, as ImageNet",
    archives=(
        Archive("cars_train.tgz", None, f"sha256:{_TRAIN_SUM}", holds="cars_train", splits=("train",)),
        Archive("cars_test.tgz", None, f"sha256:{_TEST_SUM}", holds="cars_test", splits=("test",)),
        Archive("car_devkit.tgz", None, None, holds="devkit"),
        Archive(_TEST, None, None, splits=("test",)),
    ),
    counts={"train": 8_144, "test": 8_041},
    classes=196,
    # SnapMix: 512x512, crop 448. Inferred: 30 to 40 superpixels per crop, as on CUB, times (512/448)².
    size=512,
    segments="39:52",
)
