"""Which folders are the classes: their level is found, and said where it is doubtful."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from preprocess.datasets.base import split_name
from preprocess.datasets.tree import folders_in, is_image, walk
from preprocess.errors import DatasetError
from preprocess.text import listed

_DEEPEST = 5  # folders that hold nothing but the next one
_SHOWN = 5
_WORDS = "train|training|test|testing|val|valid|validation|eval"
_SPLITS = re.compile(rf"(?:.*[^a-z])?(?:{_WORDS})(?:[^a-z].*)?", re.IGNORECASE)
_CONTAINERS = re.compile(
    r"images?|imgs?|jpe?g(images)?|png|photos?|pictures|annotations?|labels?|masks?", re.IGNORECASE
)


def classes_home(folder: Path, few: bool = False) -> Path:
    """Return the folder of the classes: this one, or one below it.

    Where one folder alone holds images, and these are in several folders below it, it is a wrapper, as archives have.

    Parameters
    ----------
    folder : of a split, or of all.
    few : whether to pass wrappers of one folder as well, for a split beside one that has wrappers.
    """
    home = folder
    for _ in range(_DEEPEST):
        inside = [] if images_at(home) else [each for each in folders_in(home) if holds_images(each)]
        if len(inside) > 1 or (few and inside and images_at(inside[0])):
            return home
        if not inside:
            return folder
        home = inside[0]
    return folder


def holds_images(folder: Path) -> bool:
    """Whether there is an image in a folder or below it."""
    return any(is_image(level, name) for level in walk(folder) for name in level.files)


def images_at(folder: Path) -> bool:
    """Whether there is an image in a folder itself."""
    level = next(walk(folder))
    return any(is_image(level, name) for name in level.files)


def refuse_no_classes(home: Path, names: Collection[str]) -> None:
    """Raise a DatasetError if all folders with images have names of splits, or all of what holds images.

    Parameters
    ----------
    home : the folder of the classes.
    names : their names.
    """
    if any(split_name(name) == "train" for name in names) and all(map(_SPLITS.fullmatch, names)):
        raise DatasetError(f"the splits {listed(sorted(names), _SHOWN)} lie deep in other folders; give --root {home}")
    if names and all(map(_SPLITS.fullmatch, names)):
        raise DatasetError(
            f"{home}: {listed(sorted(names), _SHOWN)} are words for splits and not for classes; rename the folder for "
            "training to train, and others to val or test"
        )
    if names and all(map(_CONTAINERS.fullmatch, names)):
        raise DatasetError(
            f"{home}: {listed(sorted(names), _SHOWN)} hold images but are no names of classes; if a table has the "
            "labels, use build table --table FILE, else move the images into a folder for each class"
        )


def doubts(home: Path, classes: Mapping[str, Sequence[Path]], images: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield warnings where folders may not be classes.

    Parameters
    ----------
    home : the folder of the classes.
    classes : class name -> its folders.
    images : class name -> paths of its images; none is empty.
    """
    if len(images) == 1:
        yield f"warning: there is one class only in {home}: {next(iter(images))!r}"
    if odd := [name for name in images if _SPLITS.fullmatch(name)]:
        yield (
            f"warning: {listed(odd, _SHOWN)} in {home} are taken for classes; if they are splits, rename them to "
            "train, val or test"
        )
    elif odd := [name for name in images if _CONTAINERS.fullmatch(name)]:
        yield f"warning: {listed(odd, _SHOWN)} in {home} may be no classes; give --root the folder of the classes"
    below = {name: _below(classes[name][0], paths) for name, paths in images.items()}
    if all(below.values()) and len(set().union(*below.values())) > 1:
        name, folders = next(iter(below.items()))
        yield (
            f"warning: all images lie in folders below those of the classes ({listed(list(images), _SHOWN)}); if the "
            f"folders below are the classes ({listed(sorted(folders), _SHOWN)}), give --root {classes[name][0]}"
        )


def _below(folder: Path, paths: Sequence[str]) -> set[str]:
    """Names of the folders in a folder that hold all images; none if an image lies in it directly."""
    start, found = len(os.fspath(folder / "x")) - 1, set()
    for path in paths:
        name, below, _ = path[start:].partition(os.sep)
        if not below:
            return set()
        found.add(name)
    return found
