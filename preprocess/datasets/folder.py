"""Any folder of images: ``train/<class>/...``, with ``test/<class>/...`` or ``val/<class>/...`` beside it."""

from pathlib import Path

from PIL import Image

from preprocess.datasets.base import Adapter, Listing, Sample
from preprocess.errors import DatasetError

SPLITS = ("train", "val", "test")
_LAYOUT = "expected ROOT/train/<class>/<images> and ROOT/test/<class>/<images> (or val/)"


def find_folder(root: Path) -> Listing:
    """List an image folder.

    Parameters
    ----------
    root : holds ``train/`` and, optionally, ``val/`` and ``test/``; each holds one folder for each class, in which
        images may be nested. Classes are numbered in the order of their names; hidden files are passed over.

    Raises
    ------
    DatasetError : no ``train/``, a class without images, or splits whose classes differ.
    """
    folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if "train" not in folders:
        raise DatasetError(f"{root} has no folder train/; {_LAYOUT}")
    classes = {split: _class_names(folder) for split, folder in folders.items()}
    for split, names in classes.items():
        if names != classes["train"]:
            odd = ", ".join(sorted(set(names) ^ set(classes["train"]))[:5])
            raise DatasetError(f"{root}: the classes of {split}/ and train/ differ ({odd}); both need the same folders")
    if not classes["train"]:
        raise DatasetError(f"{root / 'train'} has no class folders; {_LAYOUT}")
    suffixes = tuple(Image.registered_extensions())
    splits = {}
    for split, folder in folders.items():
        samples: list[Sample] = []
        for label, name in enumerate(classes[split]):
            found = _images(folder / name, suffixes)
            if not found:
                raise DatasetError(
                    f"class {name!r} of {split}/ has no images in {folder / name}; add some or remove the folder"
                )
            samples += (Sample(path.relative_to(root).as_posix(), label, path) for path in found)
        splits[split] = tuple(samples)
    return Listing(tuple(classes["train"]), splits)


def _class_names(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _images(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    # A dangling link is listed too: it must show up as a failed image, not vanish.
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(suffixes)
        and not path.is_dir()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


FOLDER = Adapter(summary="any folder: train/<class>/, test/<class>/ or val/<class>/", find=find_folder)
