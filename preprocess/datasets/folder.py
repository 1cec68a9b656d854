"""Any folder of images: ``train/<class>/...`` next to ``test/<class>/...`` or ``val/<class>/...``."""

import os
import unicodedata
from pathlib import Path

from PIL import Image

from preprocess.datasets.base import Adapter, Listing, Sample, locate
from preprocess.errors import DatasetError
from preprocess.text import listed

SPLITS = ("train", "val", "test")
_DEEPEST = 100  # folders: os.walk calls itself for each
_LAYOUT = "expected ROOT/train/<class>/<images> and ROOT/test/<class>/<images> (or val/)"


def find_folder(root: Path, names: tuple[str, ...] = SPLITS) -> Listing:
    """List an image folder.

    ``root`` is the folder with ``train/`` and optionally ``val/`` and ``test/``, or a folder up to two levels above it.
    Each split has one folder per class, in which images may be nested. Class names are in Unicode form NFC; folders
    that differ only by the form are one class. Classes are sorted by name; hidden files are skipped.

    Raises
    ------
    DatasetError : ``train/`` is missing, a class has no images, or the classes of the splits differ.
    """
    root = locate(root, "train").parent
    folders = {split: root / split for split in names if (root / split).is_dir()}
    classes = {split: _class_folders(folder) for split, folder in folders.items()}
    for split, found in classes.items():
        if found.keys() != classes["train"].keys():
            odd = listed(sorted(found.keys() ^ classes["train"].keys()), 5)
            raise DatasetError(f"{root}: {split}/ and train/ need the same class folders, they differ in: {odd}")
    if not classes["train"]:
        raise DatasetError(f"{root / 'train'} has no class folders; {_LAYOUT}")
    splits = {}
    for split in folders:
        samples: list[Sample] = []
        for label, (name, homes) in enumerate(classes[split].items()):
            found = [path for home in homes for path in images_in(home)]
            if not found:
                raise DatasetError(
                    f"class {name!r} of {split}/ has no images in {homes[0]}; add images or remove the folder"
                )
            samples += (Sample(path.relative_to(root).as_posix(), label, path) for path in found)
        splits[split] = tuple(samples)
    return Listing(tuple(classes["train"]), splits)


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """Folders by class name, sorted; a Mac and a Linux machine may have written one name in two Unicode forms."""
    found: dict[str, list[Path]] = {}
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            found.setdefault(unicodedata.normalize("NFC", child.name), []).append(child)
    return dict(sorted(found.items()))


def _raise(error: OSError) -> None:
    raise error


def images_in(folder: Path) -> list[Path]:
    """All image files below a folder, recognised by their suffix, sorted.

    Raises
    ------
    OSError : a folder cannot be read.
    DatasetError : folders are nested too deeply.
    """
    suffixes = tuple(Image.registered_extensions())
    found = []
    for home, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if folders and home.count(os.sep) - str(folder).count(os.sep) >= _DEEPEST:
            raise DatasetError(
                f"{folder} has folders more than {_DEEPEST} deep inside each other; move their images up"
            )
        # A dangling link counts as a file, so that it is reported as a failed image.
        images = [name for name in files if name.lower().endswith(suffixes) and not name.startswith(".")]
        found += (Path(home, name) for name in images)
    return sorted(found)


FOLDER = Adapter(
    summary="any folder of images",
    find=find_folder,
    layout="train/<class>/<images> next to test/<class>/<images> or val/<class>/<images>",
)
