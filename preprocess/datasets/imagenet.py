"""ImageNet-1k (Russakovsky et al., 2015) and Tiny-ImageNet (Stanford CS231n), whose classes are WordNet ids."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from preprocess.datasets.base import EVERYTHING, Adapter, Archive, Box, Listing, Request, Sample, locate
from preprocess.datasets.folder import list_splits
from preprocess.datasets.metadata import REMEDY, read_lines, read_names, read_numbers, read_table
from preprocess.datasets.tree import images_in
from preprocess.errors import DatasetError

_WNID = r"n\d{8}"
_NAMES = "LOC_synset_mapping.txt"


def find_imagenet(root: Path, request: Request = EVERYTHING) -> Listing:
    """List ImageNet as an image folder: ``train/<wnid>/`` and ``val/<wnid>/``.

    ``root`` is the folder with ``train/``, or a folder up to two levels above it. Labels follow the sorted WordNet ids.
    Class names are the lines of ``LOC_synset_mapping.txt`` next to ``train/``, such as ``n01440764 tench, Tinca
    tinca``, or else the ids.
    """
    home = locate(root, "train").parent
    folders = {split: home / split for split in ("train", "val") if (home / split).is_dir()}  # test/ has no labels
    listing = list_splits(home, folders, request)
    if odd := [name for name in listing.classes if not re.fullmatch(_WNID, name)]:
        raise DatasetError(f"{home / 'train'}: expected folders like n01440764, got {odd[0]!r}")
    return replace(listing, classes=_named(listing.classes, home / _NAMES))


def find_tiny_imagenet(root: Path, request: Request = EVERYTHING) -> Listing:
    """List Tiny-ImageNet in its official layout.

    ``root`` is the folder ``tiny-imagenet-200``, or a folder up to two levels above it. Labels follow the sorted ids.
    The official test images have no labels. Class names combine id and ``words.txt``, such as ``n01443537 goldfish,
    Carassius auratus``, or else are the ids.
    """
    home = locate(root, "wnids.txt").parent
    ids = sorted(read_names(home / "wnids.txt"))
    if odd := [wnid for wnid in ids if not re.fullmatch(_WNID, wnid)]:  # they become folders
        raise DatasetError(f"{home / 'wnids.txt'}: expected ids like n01440764, got {odd[0][:20]!r}; {REMEDY}")
    label_of = {wnid: label for label, wnid in enumerate(ids)}
    train = tuple(sample for wnid in ids for sample in _train_class(home, wnid, label_of[wnid]))
    val = tuple(_val(home, label_of))
    return Listing(_named(tuple(ids), home / "words.txt"), {"train": train, "val": val})


def _train_class(home: Path, wnid: str, label: int) -> Iterator[Sample]:
    folder = home / "train" / wnid
    boxes = _boxes(folder / f"{wnid}_boxes.txt")
    for path in images_in(folder / "images"):
        yield Sample(path.relative_to(home).as_posix(), label, path, boxes.get(path.name, ()))


def _boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    """Read lines ``file x0 y0 x1 y1``: pixels counted from 0, last one included."""
    boxes = {}
    for _, line in read_lines(path) if path.exists() else ():
        file, *numbers = line.split(maxsplit=1)
        boxes[file] = (_box(path, *numbers),)
    return boxes


def _box(path: Path, text: str = "") -> Box:
    x0, y0, x1, y1 = read_numbers(path, text, 4)
    return x0, y0, x1 + 1, y1 + 1


def _val(home: Path, label_of: dict[str, int]) -> Iterator[Sample]:
    table, unlisted = home / "val" / "val_annotations.txt", {path.name for path in images_in(home / "val" / "images")}
    for number, line in read_lines(table):
        file, wnid, *numbers = (*line.split(maxsplit=2), "")[:3]
        if wnid not in label_of:
            raise DatasetError(f"{table}, line {number}: class {wnid!r} is not in wnids.txt; {REMEDY}")
        boxes = (_box(table, *numbers),) if numbers != [""] else ()
        unlisted.discard(file)
        yield Sample(f"val/images/{file}", label_of[wnid], home / "val" / "images" / file, boxes)
    if unlisted:
        raise DatasetError(f"{table} has no line for {min(unlisted)}; {REMEDY}")


def _named(ids: tuple[str, ...], path: Path) -> tuple[str, ...]:
    """Append the words from a table of ``id words`` to the ids."""
    if not path.exists():
        return ids
    words = read_table(path, _WNID)
    if odd := [wnid for wnid in ids if wnid not in words]:
        raise DatasetError(f"{path} has no words for {odd[0]}; {REMEDY}")
    return tuple(f"{wnid} {words[wnid]}" for wnid in ids)


IMAGENET = Adapter(
    summary="ImageNet-1k (Russakovsky et al., 2015)",
    find=find_imagenet,
    layout="{train/n01440764/, ..., val/n01440764/, ...}",
    source="https://image-net.org (after accepting its terms)",
    licence="non-commercial research and education only",
    counts={"train": 1_281_167, "val": 50_000},
    classes=1_000,
    # Inferred, no recipe is published: 30 to 40 superpixels per random resized crop, which covers 0.54 of the image.
    resize="short",
    codec="jpeg",
    segments="56:74",
)

TINY_IMAGENET = Adapter(
    summary="Tiny-ImageNet (Stanford CS231n, 2015)",
    find=find_tiny_imagenet,
    layout="tiny-imagenet-200/{wnids.txt, words.txt, train/<wnid>/images/, val/{images/, val_annotations.txt}}",
    source="http://cs231n.stanford.edu",
    licence="images of ImageNet: non-commercial research and education",
    archives=(
        Archive(
            "tiny-imagenet-200.zip",
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "md5:90528d7ca1a48142e341f4ef8d21d0de",
            248_100_043,
        ),
    ),
    counts={"train": 100_000, "val": 10_000},
    classes=200,
    size=64,
    codec="raw",
    # From the only released SuperpixelGridMix script.
    segments="64",
    compactness=7.0,
)
