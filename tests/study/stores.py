"""What the cells train on: stores and weights in ``data/study``, made from the archives by the product's commands."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lgcoamix.errors import RunError
from preprocess.files import lock, write_whole
from tests.study.plan import BIRD_MAPS, MAPS, WEIGHTS

HOME = Path("data/study")  # paths start in the root of the repository, so that no document holds those of a machine
COPIES = Path("tests/study/near_copies.txt")  # test images of flowers17 with a near copy in train
_ARCHIVES = Path(os.environ.get("LGCOAMIX_REAL_DATA", "../shared/data"))


@dataclass(frozen=True)
class Recipe:
    """How a store is built.

    Parameters
    ----------
    archive : name of a tar file that holds one folder of the same name.
    options : of ``preprocess build folder``, for its images.
    maps : name of a set of superpixels -> options of the build.
    """

    archive: str
    options: tuple[str, ...]
    maps: dict[str, tuple[str, ...]]


_BIRDS = ("--size", "112")
_BIRD_MAPS = {BIRD_MAPS: ("--segments", "41:54")}
STORES = {
    "flowers17": Recipe(
        "flowers17",
        ("--size", "256", "--exclude", str(COPIES)),
        {
            MAPS: ("--segments", "30:40"),
            "slic-c10-35": ("--segments", "35"),
            "grid-30:40x4": ("--segments", "30:40", "--algorithm", "grid"),
        },
    ),
    "cub100": Recipe("cub100", _BIRDS, _BIRD_MAPS),
    "cub100-train": Recipe("cub100", (*_BIRDS, "--splits", "train"), _BIRD_MAPS),  # no look at the test images
}


@cache
def make_store(name: str, say: Callable[[str], None]) -> Path:
    """Build a store with all its superpixels, once; a finished one is left unchanged.

    Raises
    ------
    RunError : an archive is missing, or the build failed.
    """
    recipe, store = STORES[name], HOME / f"{name}.h5"
    root = unpacked(recipe.archive, say)
    with _alone():
        for maps, options in recipe.maps.items():
            words = ("build", "folder", "--root", root, "--out", store, *recipe.options, *options, "--jobs", "1")
            command = [sys.executable, "-m", "preprocess", *map(str, words)]
            if subprocess.run(command, check=False).returncode:
                raise RunError(f"the superpixels {maps} of {store} were not built: see above")
    return store


def make_weights() -> None:
    """Copy the ImageNet weights beside the stores, so that settings name them the same on every machine."""
    target = Path(WEIGHTS)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, _archive(target.name).read_bytes())


def unpacked(name: str, say: Callable[[str], None]) -> Path:
    """Unpack an archive beside the stores, once, and return its folder.

    Raises
    ------
    RunError : it is missing.
    """
    raw = HOME / "raw"
    with _alone():
        if not (raw / name).exists():
            archive, aside = _archive(f"{name}.tar"), raw / f"{name}.part"
            say(f"unpacking {archive}")
            shutil.rmtree(aside, ignore_errors=True)
            with tarfile.open(archive) as tar:
                # Python 3.11.4 brought the filter; the archive is our own.
                tar.extractall(aside, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
            (aside / name).replace(raw / name)
            aside.rmdir()
    return raw / name


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other driver makes anything here."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / ".lock").open("wb") as file:
        lock(file)
        yield


def _archive(name: str) -> Path:
    path = _ARCHIVES / name
    if not path.is_file():
        raise RunError(f"expected {path}; set LGCOAMIX_REAL_DATA to the folder that holds {name}")
    return path
