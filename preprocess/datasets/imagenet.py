"""ImageNet-1k (Russakovsky et al., 2015) and Tiny-ImageNet (Stanford CS231n), whose classes are WordNet ids."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from preprocess.datasets.base import EVERYTHING, Adapter, Archive, Box, Listing, Request, Sample, locate, split_name
from preprocess.datasets.folder import list_splits
from preprocess.datasets.metadata import RESTORE, read_lines, read_names, read_numbers, read_table
from preprocess.datasets.tree import folders_in, images_in, is_image, walk
from preprocess.errors import DatasetError

_WNID = r"n\d{8}"
_KAGGLE = ("ILSVRC", "Data", "CLS-LOC")  # folders of the archive, the last of which holds train/, val/ and test/
_NAMES, _SOLUTION, _HEADER = "LOC_synset_mapping.txt", "LOC_val_solution.csv", "ImageId,PredictionString"
_BOX = 5  # words of a box: its class and four numbers
_UNLABELLED = "test/ is left out: its images have no labels"


def find_imagenet(root: Path, request: Request = EVERYTHING) -> Listing:
    """List ImageNet: ``train/<wnid>/``, and ``val/<wnid>/`` or, as Kaggle has it, a flat ``val/``.

    ``root`` is the folder with ``train/`` or with ``ILSVRC/Data/CLS-LOC/train/``, or a folder up to two levels above
    it. Labels follow the sorted WordNet ids. Class names are the lines of ``LOC_synset_mapping.txt``, such as
    ``n01440764 tench, Tinca tinca``, or else the ids. Labels and boxes of a flat ``val/`` are those of
    ``LOC_val_solution.csv``. Both tables are next to ``train/`` or to ``ILSVRC/``.

    Raises
    ------
    MissingDataError : there is no ``train/``.
    DatasetError : ``val/`` is flat and the table of its labels is missing or does not fit.
    """
    home = locate(root, "/".join((*_KAGGLE, "train")), "/".join((*_KAGGLE[1:], "train")), "train").parent
    folders = {"train": home / "train"}
    val = _val_folder(home) if request.wants("val") else None
    flat = val is not None and _is_flat(val)
    if val is not None and not flat:
        folders["val"] = val
    listing = list_splits(home, folders, request)
    if odd := [name for name in listing.classes if not re.fullmatch(_WNID, name)]:
        raise DatasetError(f"{home / 'train'}: expected folders like n01440764, got {odd[0]!r}")
    if flat:
        listing = _with_flat_val(listing, home, val)
    notes = (*listing.notes, *([_UNLABELLED] if request.splits is None and (home / "test").is_dir() else []))
    names = _beside(home, _NAMES)
    tables = (*listing.tables, *([names] if names else []))
    return replace(listing, classes=_named(listing.classes, names), tables=tables, notes=notes)


def _val_folder(home: Path) -> Path | None:
    found = [folder for folder in folders_in(home) if split_name(folder.name) == "val"]
    if len(found) > 1:
        raise DatasetError(f"{home}: {found[0].name}/ and {found[1].name}/ are both the split val; move one away")
    return found[0] if found else None


def _is_flat(val: Path) -> bool:
    """Whether the images are in the folder itself, not in a folder for each class."""
    level = next(walk(val))
    first = next((name for name in level.files if is_image(level, name)), None)
    if first and level.folders:
        raise DatasetError(f"{val} has class folders, and beside them images such as {first}; finish sorting them")
    return first is not None


def _beside(home: Path, name: str) -> Path | None:
    """A table next to ``train/``, or at the root of Kaggle's archive; None if there is none."""
    above = home if len(home.parts) > len(_KAGGLE) else home.absolute()
    folders = [home, above.parents[2]] if above.parts[-3:] == _KAGGLE else [home]
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def _with_flat_val(listing: Listing, home: Path, val: Path) -> Listing:
    """Add a flat ``val/`` by Kaggle's table, whose rows are like ``ILSVRC2012_val_00048981,n03995372 85 1 499 272``."""
    table = _beside(home, _SOLUTION)
    if table is None:
        raise DatasetError(
            f"{val} has no class folders, and {_SOLUTION}, which has the labels, is neither in {home} nor next to "
            f"{_KAGGLE[0]}/: copy it from Kaggle's archive, sort the images into folders like val/n01440764/, or leave "
            "them out with --splits train"
        )
    label_of = {wnid: label for label, wnid in enumerate(listing.classes)}
    known = _solutions(table)
    samples = []
    for path in images_in(val):
        if path.stem not in known:
            raise DatasetError(f"{table} has no row for {path.name} in {val}; {RESTORE}")
        wnid, boxes = known.pop(path.stem)
        if wnid not in label_of:
            raise DatasetError(f"{table}: the class {wnid!r} of {path.stem} has no folder in {home / 'train'}")
        samples.append(Sample(f"{val.name}/{path.name}", label_of[wnid], path, boxes))
    lost = [f"warning: {val.name}/ lacks {len(known):,} images of {_SOLUTION}, such as {min(known)}"] if known else []
    splits = listing.splits | {"val": tuple(samples)}
    return replace(listing, splits=splits, notes=(*listing.notes, *lost), tables=(table,))


def _solutions(table: Path) -> dict[str, tuple[str, tuple[Box, ...]]]:
    """Class and boxes by image. The numbers are taken as they are, as the annotations of Stanford Dogs."""
    rows = {}
    for number, line in read_lines(table):
        image, _, text = line.partition(",")
        words = text.split()
        if number == 1 and line == _HEADER:
            continue
        if not words or len(words) % _BOX > 1:
            raise DatasetError(f"{table}, line {number}: expected '{_HEADER}', got {line[:100]!r}; {RESTORE}")
        places = range(0, len(words) - 1, _BOX)
        boxes = (" ".join(words[place + 1 : place + _BOX]) for place in places if words[place] == words[0])
        rows[image] = words[0], tuple(tuple(read_numbers(table, box, _BOX - 1)) for box in boxes)
    return rows


def find_tiny_imagenet(root: Path, request: Request = EVERYTHING) -> Listing:
    """List Tiny-ImageNet in its official layout, or with ``val/`` sorted into a folder for each class.

    ``root`` is the folder ``tiny-imagenet-200``, or a folder up to two levels above it. Labels follow the sorted ids,
    those of ``wnids.txt`` or else the folders of ``train/``. The official test images have no labels. Class names
    combine id and ``words.txt``, such as ``n01443537 goldfish, Carassius auratus``, or else are the ids. The images of
    ``val/`` are in the order of ``val_annotations.txt``, or else sorted.
    """
    home = locate(root, "wnids.txt", "train").parent
    table, words = home / "wnids.txt", home / "words.txt"
    there = table.exists()  # scripts that sort val/ remove it
    ids = sorted(read_names(table) if there else [folder.name for folder in folders_in(home / "train")])
    if odd := [wnid for wnid in ids if not re.fullmatch(_WNID, wnid)]:  # they become folders
        raise DatasetError(
            f"{table if there else home / 'train'}: expected ids like n01440764, got {odd[0][:20]!r}; {RESTORE}"
        )
    label_of = {wnid: label for label, wnid in enumerate(ids)}
    annotations = home / "val" / "val_annotations.txt"
    splits = {}
    if request.wants("train"):
        splits["train"] = tuple(sample for wnid in ids for sample in _train_class(home, wnid, label_of[wnid]))
    if request.wants("val"):
        splits["val"] = tuple(_val(home, annotations, label_of))
    boxes = [_boxes_of(home, wnid) for wnid in ids] if request.wants("train") else []
    read = (table, words, *([annotations] if request.wants("val") else []), *boxes)
    return Listing(
        _named(tuple(ids), words if words.exists() else None),
        splits,
        tables=tuple(path for path in read if path.exists()),
        notes=(_UNLABELLED,) if request.splits is None and (home / "test").is_dir() else (),
    )


def _train_class(home: Path, wnid: str, label: int) -> Iterator[Sample]:
    boxes = _boxes(_boxes_of(home, wnid))
    for path in images_in(home / "train" / wnid):
        yield Sample(path.relative_to(home).as_posix(), label, path, boxes.get(path.name, ()))


def _boxes_of(home: Path, wnid: str) -> Path:
    return home / "train" / wnid / f"{wnid}_boxes.txt"


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


def _val(home: Path, table: Path, label_of: dict[str, int]) -> Iterator[Sample]:
    """The images of ``val/images/``, or of a folder for each class: ``val/<wnid>/images/`` or ``val/<wnid>/``."""
    flat, folders = table.parent / "images", folders_in(table.parent)
    if folders and flat not in folders and not table.exists():
        yield from _val_by_folder(home, folders, label_of)
        return
    sorted_images = {path.name: path for folder in folders if folder != flat for path in images_in(folder)}
    images = sorted_images | {path.name: path for path in (images_in(flat) if flat in folders else ())}
    for file, wnid, boxes in _annotations(table, label_of):
        path = images.pop(file, flat / file)
        key = path.relative_to(home).as_posix()
        if path.parent != flat and key.split("/")[1] != wnid:
            raise DatasetError(f"{path} is not in the folder of its class, which {table} says is {wnid}; {RESTORE}")
        yield Sample(key, label_of[wnid], path, boxes)
    if images:
        raise DatasetError(f"{table} has no line for {min(images)}; {RESTORE}")


def _val_by_folder(home: Path, folders: list[Path], label_of: dict[str, int]) -> Iterator[Sample]:
    for folder in folders:
        for path in images_in(folder):
            if folder.name not in label_of:
                raise DatasetError(f"{folder} holds images, but train/ has no class of this name; {RESTORE}")
            yield Sample(path.relative_to(home).as_posix(), label_of[folder.name], path)


def _annotations(table: Path, label_of: dict[str, int]) -> Iterator[tuple[str, str, tuple[Box, ...]]]:
    for number, line in read_lines(table):
        file, wnid, *numbers = (*line.split(maxsplit=2), "")[:3]
        if wnid not in label_of:
            raise DatasetError(f"{table}, line {number}: class {wnid!r} is not in wnids.txt; {RESTORE}")
        yield file, wnid, (_box(table, *numbers),) if numbers != [""] else ()


def _named(ids: tuple[str, ...], path: Path | None) -> tuple[str, ...]:
    """Append the words from a table of ``id words`` to the ids."""
    if path is None:
        return ids
    words = read_table(path, _WNID)
    if odd := [wnid for wnid in ids if wnid not in words]:
        raise DatasetError(f"{path} has no words for {odd[0]}; {RESTORE}")
    return tuple(f"{wnid} {words[wnid]}" for wnid in ids)


IMAGENET = Adapter(
    summary="ImageNet-1k (Russakovsky et al., 2015)",
    find=find_imagenet,
    layout="{train/n01440764/, ..., val/n01440764/, ...}, or of Kaggle {ILSVRC/Data/CLS-LOC/{train/, val/}, "
    "LOC_val_solution.csv, LOC_synset_mapping.txt}",
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
