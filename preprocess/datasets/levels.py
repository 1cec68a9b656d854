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
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_SPLIT = re.compile(
    r"(?:(?P<train>train(?:ing|val)?|trn)|(?P<test>test(?:ing)?|tst|eval(?:uation)?)|(?P<val>val(?:id(?:ation)?)?))"
    r"(?:sets?|data|images?|imgs?)?"
)
_MASKS = ("mask", "seg", "segmentation", "groundtruth", "gt", "trimap", "label")
_MASK = re.compile(rf"(.+?)[ _.-]*(?:{'|'.join(_MASKS)})s?[ _.-]*\d*", re.IGNORECASE)
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
    """Raise a DatasetError if folders with images have names of splits, or all of them names of what holds images.

    Parameters
    ----------
    home : the folder of the classes.
    names : their names.
    """
    odd = _splits_in(names)
    if any(split_name(name) == "train" for name in names) and len(odd) == len(names) > 1:
        raise DatasetError(f"the splits {listed(sorted(names), _SHOWN)} lie deep in other folders; give --root {home}")
    if odd:
        raise DatasetError(
            f"{home}: {listed(sorted(odd), _SHOWN)} are words for splits and not for classes; rename the folder of the "
            "images for training to train, and others to val or test"
        )
    if names and all(map(_CONTAINERS.fullmatch, names)):
        raise DatasetError(
            f"{home}: {listed(sorted(names), _SHOWN)} hold images but are no names of classes; if a table has the "
            "labels, use build table --table FILE, else move the images into a folder for each class"
        )


def kinds_in(name: str) -> list[str]:
    """Return the splits that the words in a name mean: train and test for ``TrainImages_testset``."""
    found = (_SPLIT.fullmatch(word.lower()) for word in _WORD.findall(name))
    return [word.lastgroup or "" for word in found if word]


def doubts(home: Path, classes: Mapping[str, Sequence[Path]], images: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield warnings where folders may not be classes, or images no photographs.

    Parameters
    ----------
    home : the folder of the classes.
    classes : class name -> its folders.
    images : class name -> paths of its images; none is empty.
    """
    if len(images) == 1:
        yield f"warning: there is one class only in {home}: {next(iter(images))!r}"
    if odd := [name for name in images if _kind(name)]:
        yield (
            f"warning: {_shown(odd)} in {home} are taken for classes; if they are splits, rename them to train, val or "
            "test"
        )
    elif odd := [name for name in images if _CONTAINERS.fullmatch(name)]:
        yield f"warning: {listed(odd, _SHOWN)} in {home} may be no classes; give --root the folder of the classes"
    below = {name: _below(classes[name][0], paths) for name, paths in images.items()}
    inside = {name: folders - {""} for name, folders in below.items()}
    for name, folders in inside.items():
        if copies := sorted(folders & images.keys() - {name}):
            yield (
                f"warning: the class {name!r} holds folders with names of classes ({_shown(copies)}): if it is a copy "
                "of the set, or a folder around it, move it away"
            )
    names = set().union(*below.values())
    if all(map(_CONTAINERS.fullmatch, names)) and len(names) > 1:
        yield (
            f"warning: the classes hold folders called {_shown(names)}, whose images are all taken; move away what is "
            "no photograph, such as masks"
        )
    elif "" not in names and len(names) > 1:
        yield f"warning: all images lie in folders below the classes ({_shown(images)}); {_advice(home, inside)}"
    elif nested := [f"{name}/{folder}" for name, folders in inside.items() if len(folders) > 1 for folder in folders]:
        yield (
            f"warning: images in folders below a class are taken for images of that class: {_shown(nested)}; if these "
            "folders are classes, move them beside the others"
        )
    if masks := list(_masks(images)):
        yield (
            f"warning: images named as masks of others: {len(masks):,}, such as {masks[0]}; leave them out with "
            "--exclude, or move them away"
        )


def _advice(home: Path, inside: Mapping[str, set[str]]) -> str:
    """Say how to go on where the folders below those of the classes may be the classes."""
    if common := set.intersection(*inside.values()):
        roots = " or ".join(os.fspath(home / name) for name in list(inside)[:_SHOWN])
        if len(inside) > 1 and all(names == common for names in inside.values()):
            return (
                f"all of them hold the same folders ({_shown(common)}), as splits do: rename them to train, val or "
                f"test; or, if each is a whole set, choose one of these with --root: {roots}"
            )
        return f"if the folders below are the classes ({_shown(common)}), choose one of these with --root: {roots}"
    names = _shown(set().union(*inside.values()))
    return (
        f"if the folders below are the classes ({names}), move them up into one folder, or list the images with build "
        "table or an --adapter"
    )


def _shown(names: Collection[str]) -> str:
    return listed(sorted(names), _SHOWN)


def _splits_in(names: Collection[str]) -> list[str]:
    """Names that are words for splits: val or test alone, or two of the three as parts of names."""
    kinds = {name: kind for name in names if (kind := _kind(name))}
    exact = [name for name in names if split_name(name) in ("val", "test")]
    return list(kinds) if len(set(kinds.values())) > 1 else exact


def _kind(name: str) -> str:
    """The split that the first such word in a name means; empty if there is none."""
    return next(iter(kinds_in(name)), "")


def _below(folder: Path, paths: Sequence[str]) -> set[str]:
    """Names of the folders in a folder that hold its images; "" stands for the folder itself."""
    start = len(os.fspath(folder / "x")) - 1
    rest = (path[start:].partition(os.sep) for path in paths)
    return {name if below else "" for name, below, _ in rest}


def _masks(images: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the images whose name is that of another image and a word such as mask."""
    for paths in images.values():
        text = "\n".join(paths).lower()
        if not any(word in text for word in _MASKS):  # most classes: a million names in no time
            continue
        suspects = [(path, match[1]) for path in paths if (match := _MASK.fullmatch(_stem(path)))]
        if suspects:
            stems = {os.path.splitext(path)[0] for path in paths}  # noqa: PTH122 - text, not paths
            folders = ((path, os.path.join(os.path.dirname(path), stem)) for path, stem in suspects)  # noqa: PTH118, PTH120
            yield from (path for path, other in folders if other in stems)


def _stem(path: str) -> str:
    return os.path.splitext(path[path.rfind(os.sep) + 1 :])[0]  # noqa: PTH122
