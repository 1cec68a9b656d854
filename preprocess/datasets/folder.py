"""Any folder of images: ``<split>/<class>/...``, or ``<class>/...`` without a split."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from preprocess.datasets.base import EVERYTHING, SPLITS, Adapter, Found, Listing, Request, Sample, split_name
from preprocess.datasets.census import count_left_out, describe, shown_suffix
from preprocess.datasets.classes import note_lacking, refuse_unlearnt
from preprocess.datasets.levels import classes_home, doubts, holds_images, images_at, refuse_no_classes
from preprocess.datasets.tree import Images, folders_in, is_hidden, look_in
from preprocess.errors import DatasetError, MissingDataError, SettingError
from preprocess.formats import suffixes
from preprocess.text import listed, shown_name

_SHOWN = 5
_DEEPEST = 2  # folders below the root, as for locate
_LAYOUT = (
    "expected ROOT/train/<class>/<images> and ROOT/test/<class>/<images> (or val/), or ROOT/<class>/<images>; images "
    "that a table lists are read by build table"
)


@dataclass(frozen=True)
class _Place:
    """A folder of images, or the link to an image, and where its images go."""

    split: str
    name: str  # of the class
    path: str
    is_file: bool = False


def find_folder(root: Path, request: Request = EVERYTHING) -> Listing:
    """List an image folder.

    ``root`` is the folder with ``train/`` and optionally ``val/`` and ``test/``, or a folder up to two levels above it.
    Other words for these splits are taken, in any case (``Training``, ``valid``, ``dev``, ``testing``). Each split has
    one folder per class, in which images may be nested. Where there is no ``train/``, the folders with images are
    classes, and the listing is undivided. Class names are in Unicode form NFC; folders that differ only by the form are
    one class. The classes are those of ``train/``, sorted by name; other splits may lack some.

    Raises
    ------
    MissingDataError : there is no folder with images.
    DatasetError : a class of ``train/`` has no images, another split has a class that ``train/`` lacks, a folder
        beside ``train/`` holds images and is neither a split nor left out by ``request.splits``, or a link makes one
        folder of two classes, or of ``train/`` and another split.
    SettingError : a split that is asked for has no folder.
    """
    home = _home(root)
    if home is None:
        return _undivided(root)
    folders = _split_folders(home)
    if _is_a_class(folders):
        return _undivided(home)
    if request.splits is None:
        known = {name: folder for name, folder in folders.items() if name in SPLITS}
        _refuse_unlisted(home, folders.items() - known.items(), ",".join(known))
        folders = known
    elif unknown := [name for name in request.splits if name not in folders]:
        raise SettingError("splits", f"expected {' or '.join(folders)}, as in {home}, got {unknown[0]!r}")
    return list_splits(home, folders, request)


def list_splits(home: Path, folders: dict[str, Path], request: Request = EVERYTHING) -> Listing:
    """List those splits that are asked for. Each folder has a folder for each class; keys are relative to ``home``.

    Raises
    ------
    DatasetError : as for :func:`find_folder`.
    """
    first = folders["train"]
    inner = classes_home(first)
    classes = _class_folders(inner)
    refuse_no_classes(inner, classes)
    if not classes:
        raise DatasetError(f"{first} has no class folders; {_LAYOUT}")
    label_of = {name: label for label, name in enumerate(classes)}
    splits, notes, links, meant = {}, [], [], []
    held = {"train": classes}
    for split, folder in folders.items():
        if not request.wants(split):
            continue
        found = classes if split == "train" else _class_folders(classes_home(folder, few=inner != first))
        looked, full = _looked(found)
        if split == "train":
            _refuse_empty(folder, {name: found[name] for name in found.keys() - full.keys()})
            notes += doubts(inner, classes, full)
        else:
            remedy = f"give {first.name}/ images of them, move their folders away"
            refuse_unlearnt(full.keys() - label_of.keys(), str(folder), f"{first.name}/", remedy, label_of)
        if not full:
            others = [name for name in folders if name != split and request.wants(name)] or ["train"]
            rest = f"leave the split out with --splits {','.join(others)}"
            raise DatasetError(f"{_no_images(folder)}; {_LAYOUT}; {rest}")
        notes += note_lacking(classes, full, f"{folder.name}/", f"{first.name}/")
        if folder.name.lower() != split:
            meant.append(f"{shown_name(folder.name)} is {split}")
        pairs = ((label_of[name], path) for name, paths in full.items() for path in paths)
        splits[split] = _samples(home, pairs)
        held[split] = {name: found[name] for name in full}
        links += _links(split, looked)
    notes += _shared(held, links) + _note_unnamed(splits)
    notes += [f"splits: {', '.join(meant)}"] if meant else []
    return Listing(tuple(classes), splits, notes=tuple(notes), walked=True)


def _shared(held: dict[str, dict[str, list[Path]]], links: Sequence[_Place]) -> list[str]:
    """Refuse links that put folders into two classes, or into train and another split; warn of others.

    Links to files are warned of alone: where files are stored by their content, two that are equal are links to one.

    Parameters
    ----------
    held : split -> class name -> its folders.
    links : what was found below these by way of links.
    """
    folders = [
        _Place(split, name, os.fspath(folder))
        for split, classes in held.items()
        for name, mine in classes.items()
        for folder in mine
    ]
    folders += [link for link in links if not link.is_file]
    real = {id(place): os.path.realpath(place.path) for place in folders}
    first: dict[str, _Place] = {}
    folder_notes: dict[tuple[str, str], str] = {}
    repeated: dict[tuple[str, str], list[str]] = {}
    folders.sort(key=lambda place: real[id(place)].count(os.sep))  # those that hold others come first
    for place in (*folders, *(link for link in links if link.is_file)):
        target = os.path.realpath(place.path) if place.is_file else real[id(place)]
        if (other := _holder(target, first)) is None:
            first[target] = place
        elif place.is_file:
            repeated.setdefault((other.split, place.split), []).append(f"{place.path} is {other.path}")
        else:
            _refuse_shared(other, place, held)
            note = f"warning: {other.split} and {place.split} have the same images, because of a link: "
            folder_notes.setdefault((other.split, place.split), f"{note}{place.path} is also of {other.split}")
    return [*folder_notes.values(), *(_note_repeated(*splits, paths) for splits, paths in repeated.items())]


def _holder(target: str, first: dict[str, _Place]) -> _Place | None:
    """What holds a path already, or is it: its class, and its path there; None if nothing does."""
    above, name = target, ""
    inside: list[str] = []
    while above not in first:
        above, name = os.path.split(above)
        if not name or is_hidden(name):  # which a walk does not enter
            return None
        inside.insert(0, name)
    return replace(first[above], path=os.path.join(first[above].path, *inside))  # noqa: PTH118


def _refuse_shared(one: _Place, other: _Place, splits: Iterable[str]) -> None:
    """Raise a DatasetError if two paths of one folder give its images two labels, or train what is tested."""
    same = f"{one.path} and {other.path} are one folder, because of a link"
    if one.name != other.name or one.split == other.split:
        names = " and ".join(dict.fromkeys((repr(one.name), repr(other.name))))
        raise DatasetError(f"{same}: each image would be there twice, in {names}; remove the link")
    if "train" in (one.split, other.split):
        split = one.split if other.split == "train" else other.split
        rest = ",".join(each for each in splits if each != split)
        raise DatasetError(
            f"{same}: figures of {split} would be those of images of train; give {split} images of its own, or leave "
            f"it out with --splits {rest}"
        )


def _note_repeated(one: str, other: str, paths: list[str]) -> str:
    images, are = ("an image", "is") if len(paths) == 1 else (f"{len(paths):,} images", "are")
    where = "there twice" if one == other else f"in {one} as well"
    return f"warning: {images} of {other} {are} {where}, because of links to files: {paths[0]}"


def _note_unnamed(splits: dict[str, tuple[Sample, ...]]) -> list[str]:
    """Say which files are no images by their names, such as backups, but by their first bytes."""
    known, counts = suffixes(), Counter()
    first: dict[str, str] = {}
    for key in (each.key for samples in splits.values() for each in samples):
        if key[key.rfind(".") :].lower() not in known:
            suffix = shown_suffix(key)
            counts[suffix] += 1
            first.setdefault(suffix, key)
    kinds = [f"{count:,} {suffix}, such as {shown_name(first[suffix])}" for suffix, count in counts.most_common()]
    said = (
        f"taken as images by their first bytes: {listed(kinds, _SHOWN)}; if they are backups of others, move them away"
    )
    return [said] if kinds else []


def _samples(home: Path, pairs: Iterable[tuple[int, str]]) -> tuple[Sample, ...]:
    """Samples of labels and paths below a folder."""
    inside = len(os.fspath(home / "x")) - 1
    return tuple(Found(path[inside:].replace(os.sep, "/"), label, path) for label, path in pairs)


def _home(root: Path) -> Path | None:
    """The folder of the folder for training, which is at most two levels below the root; None if there is none."""
    level = [root]
    for _ in range(1 + _DEEPEST):
        below = {folder: folders_in(folder) for folder in level}
        homes = [folder for folder, inner in below.items() if any(split_name(each.name) == "train" for each in inner)]
        if len(homes) > 1:
            raise DatasetError(
                f"found a training split in both {homes[0]} and {homes[1]}; choose one with --root, or, if these are "
                "classes, move their images into train/<class> and test/<class>, or list them in a table (build table)"
            )
        if homes:
            return homes[0]
        level = [each for inner in below.values() for each in inner]
    return None


def _split_folders(home: Path) -> dict[str, Path]:
    """Folders by the names of their splits; train, val and test come first."""
    found: dict[str, Path] = {}
    for folder in folders_in(home):
        name = split_name(folder.name)
        if name in found:
            raise DatasetError(
                f"{home}: {found[name].name}/ and {folder.name}/ are both the split {name}; rename or move one of them"
            )
        found[name] = folder
    first = {name: found[name] for name in SPLITS if name in found}
    return first | found


def _is_a_class(folders: dict[str, Path]) -> bool:
    """Whether ``train`` is a class, as of vehicles: it is beside other folders of images, and none is a split."""
    full = {name: folder for name, folder in folders.items() if holds_images(folder)}
    return len(full) > 1 and {*SPLITS} & full.keys() == {"train"} and all(map(images_at, full.values()))


def _refuse_unlisted(home: Path, others: Iterable[tuple[str, Path]], known: str) -> None:
    for _, folder in sorted(others):
        if holds_images(folder):
            word = re.fullmatch(r"\w[\w.+-]*", folder.name)  # as a store takes it
            take = f", or take it as a split of this name with --splits {known},{folder.name}" if word else ""
            raise DatasetError(
                f"{home}: {folder.name}/ holds images, but its name is no word for train, val or test; rename it, or "
                f"leave it out with --splits {known}{take}"
            )


def _undivided(root: Path) -> Listing:
    """List a folder whose folders are classes."""
    if not root.is_dir():
        raise MissingDataError(f"there is no folder {root}")
    home = classes_home(root)
    classes = _class_folders(home)
    looked, images = _looked(classes)
    if not images:
        raise MissingDataError(_no_images(root))
    refuse_no_classes(home, images)
    pairs = ((label, path) for label, paths in enumerate(images.values()) for path in paths)
    splits = {"train": _samples(home, pairs)}
    shared = _shared({"train": {name: classes[name] for name in images}}, [*_links("train", looked)])
    notes = (*doubts(home, classes, images), *shared, *_note_unnamed(splits))
    return Listing(tuple(images), splits, undivided=True, notes=notes, walked=True)


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """Folders by class name, sorted; a Mac and a Linux machine may have written one name in two Unicode forms."""
    found: dict[str, list[Path]] = {}
    for child in folders_in(folder):
        found.setdefault(unicodedata.normalize("NFC", child.name), []).append(child)
    return dict(sorted(found.items()))


def _looked(classes: dict[str, list[Path]]) -> tuple[dict[str, list[Images]], dict[str, list[str]]]:
    """What the folders of each class hold; and the images of the classes that have any."""
    looked = {name: [look_in(folder) for folder in folders] for name, folders in classes.items()}
    images = {name: [path for each in mine for path in each.names] for name, mine in looked.items()}
    return looked, {name: paths for name, paths in images.items() if paths}


def _links(split: str, looked: dict[str, list[Images]]) -> Iterator[_Place]:
    """Yield the links that lead to images of a split."""
    for name, images in ((name, images) for name, mine in looked.items() for images in mine):
        yield from (_Place(split, name, path) for path in images.linked_folders)
        yield from (_Place(split, name, path, is_file=True) for path in images.linked_files)


def _refuse_empty(split: Path, empty: dict[str, list[Path]]) -> None:
    for name, folders in sorted(empty.items()):
        raise DatasetError(
            f"class {name!r} of {split.name}/ has no images in {folders[0]}: {_held(folders[0])}; add images, or "
            "move the folder of this class away, in every split"
        )


def _no_images(folder: Path) -> str:
    """Say why a folder gives no images of classes."""
    return f"{folder} has no images in class folders: {_held(folder)}"


def _held(folder: Path) -> str:
    held = count_left_out(folder, ())
    return f"it holds {describe(held)}" if held else "it is empty"


FOLDER = Adapter(
    summary="any folder of images",
    find=find_folder,
    layout="train/<class>/<images> next to test/<class>/<images> or val/<class>/<images>; or <class>/<images>; images "
    "that a table lists are read by build table",
)
