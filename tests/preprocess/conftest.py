"""Small stores of noisy pictures: 16 pixels, several shards in each split, built within a second."""

import contextlib
import os
import shutil
import subprocess
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from preprocess.build.plan import make_plan
from preprocess.build.run import build
from preprocess.build.settings import BuildSettings
from preprocess.cli import main
from preprocess.datasets import DATASETS
from preprocess.store import Store
from preprocess.superpixels import Scale
from tests.conftest import run_command

HEADER_BYTES = 512  # of the user block before the HDF5 file
SMALL = BuildSettings("folder", (Scale(4, 0.5), Scale(9, 0.5)), size=16, shard_size=4)


def build_here(
    root: Path, out: Path, settings: BuildSettings = SMALL, skip_bad: bool = False, empty: tuple[str, ...] = ()
) -> Store:
    """Build a store in this process, without workers; of the splits ``empty``, as if nothing had been listed."""
    listing = DATASETS["folder"].find(root)
    listing = replace(listing, splits=listing.splits | dict.fromkeys(empty, ()))
    plan = make_plan(out, listing, settings)
    build(plan, 1, skip_bad, lambda done: None)
    return Store(out)


def shard_files(store: Store, split: str, column: str) -> list[Path]:
    """The shards of one column, by their names."""
    return sorted((store.path.with_suffix(".shards") / split / column).iterdir())


def open_plain(path: Path) -> h5py.File:
    """Open a shard without the store's reader. HDF5 wants the same lock setting of all who share a file."""
    return h5py.File(path, locking=False)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def ghostscript(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program ``gs`` first on the path; return the file that it leaves when it is started."""
    mark, program = home / "gs was here", home / "programs" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return mark


def flip(path: Path, offset: int, bit: int = 0) -> None:
    """Invert one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


# Not SLIC: its compiled part takes a second to load in every process.
QUICK = ("--algorithm", "watershed")


def here(*arguments: object) -> Result:
    """The command in this process, which has imported all it needs. An exception that it did not mean is raised."""
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


def run_here(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """``python -m [lgcoamix] preprocess ...`` in this process; what nobody caught is a traceback here too."""
    words = [str(word) for word in command if word != "lgcoamix"]
    assert words[:2] == ["-m", "preprocess"]
    with contextlib.chdir(cwd or Path.cwd()):
        done = CliRunner().invoke(main, words[2:], env={"COLUMNS": "200"}, prog_name="preprocess")
    told = done.stderr
    if not isinstance(done.exception, SystemExit | None):
        told += "".join(traceback.format_exception(done.exception))
    return subprocess.CompletedProcess(command, done.exit_code, done.stdout, told)


def all_files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Content and modification time of every file, by path within the folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="session")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of coarse noise, 24 x 20 pixels: classes a and b, 5 training and 3 test pictures each."""
    root = tmp_path_factory.mktemp("noisy")
    random = np.random.default_rng(7)
    for split, count in (("train", 5), ("test", 3)):
        for name in "ab":
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
                coarse.resize((24, 20), Image.Resampling.BICUBIC).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture(scope="session")
def small_store(noisy: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Raw images; treat its files as read-only."""
    return build_here(noisy, tmp_path_factory.mktemp("small") / "small.h5")


@pytest.fixture
def own_store(small_store: Store, tmp_path: Path) -> Store:
    """A copy that a test may damage."""
    return copy_store(small_store, tmp_path)


def copy_store(store: Store, folder: Path) -> Store:
    shutil.copy(store.path, folder)
    shards = store.path.with_suffix(".shards")
    shutil.copytree(shards, folder / shards.name)
    return Store(folder / store.path.name)


@dataclass(frozen=True)
class Built:
    """A store that the command line built, with the command and what it said."""

    root: Path
    out: Path
    command: tuple[str, ...]
    told: str = ""


def build_command(root: Path, out: Path, *options: str) -> tuple[str, ...]:
    """The command line of a small build; later options win."""
    small = ("--size", "16", "--segments", "4,9", "--shard-size", "4", "--jobs", "1")
    return ("-m", "preprocess", "build", "folder", "--root", str(root), "--out", str(out), *small, *options)


@pytest.fixture(scope="session")
def built_once(noisy: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Built by the real command in a process; treat its files as read-only."""
    home = tmp_path_factory.mktemp("built")
    shutil.copytree(noisy, home / "raw")
    command = build_command(home / "raw", home / "pictures.h5")
    done = run_command(*command)
    assert done.returncode == 0, done.stderr
    return Built(home / "raw", home / "pictures.h5", command, done.stdout)


@pytest.fixture
def built(built_once: Built, tmp_path: Path) -> Built:
    """A copy, times of files included, that a test may change."""
    shutil.copytree(built_once.out.parent, tmp_path / "home")
    root, out = tmp_path / "home" / "raw", tmp_path / "home" / "pictures.h5"
    return Built(root, out, build_command(root, out))


@pytest.fixture(scope="session")
def plain_once(noisy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pixel maps in ``raw``, whose edits keep their lengths, and a store of them; read-only."""
    home = tmp_path_factory.mktemp("plain")
    for path in noisy.rglob("*.png"):
        picture = home / "raw" / path.relative_to(noisy).with_suffix(".ppm")
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(picture)
    done = here(*build_command(home / "raw", home / "store" / "x.h5", *QUICK)[2:])
    assert done.exit_code == 0, done.output
    return home


@pytest.fixture
def home(plain_once: Path, tmp_path: Path) -> Built:
    """A copy, times of files included, that a test may change."""
    shutil.copytree(plain_once, tmp_path / "home")
    return built_in(tmp_path / "home")


def built_in(home: Path) -> Built:
    """The store of ``plain_once`` in another folder."""
    root, out = home / "raw", home / "store" / "x.h5"
    return Built(root, out, build_command(root, out, *QUICK))
