"""Shared fixtures: real photographs, small image folders, small stores. Everything is made by the real commands."""

import functools
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from preprocess.cli import main as preprocess

if TYPE_CHECKING:
    from tests.lgcoamix.nursery import Nursery
    from tests.warm import Warm

ROOT = Path(__file__).resolve().parent.parent
PROOF = bool(os.environ.get("LGCOAMIX_PROOF"))  # make proof: full counts

_WARM = "LGCOAMIX_WARM"  # the address of the server

Run = Callable[..., subprocess.CompletedProcess]


def run_command(
    *command: str | Path, cwd: Path | None = None, python: str | Path = sys.executable, **environment: str
) -> subprocess.CompletedProcess:
    """Run ``python ...`` from the source tree and capture its text; never raises on failure."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environment}
    return subprocess.run(
        [python, *map(str, command)],
        cwd=cwd or ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="session")
def run() -> Run:
    return run_command


def pytest_configure(config: pytest.Config) -> None:
    """Take Ctrl-C back from a shell that started us in the background; start what forks Python for the tests, once for
    all processes of pytest: it costs nothing until it is asked.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" not in os.environ and Path("/proc/self/stat").exists():
        from tests.warm import Server

        server = Server()
        os.environ[_WARM] = server.address
        config.add_cleanup(server.close)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> "Warm":
    """Starts Python in processes that have imported torch and its like, and nothing of ours."""
    if _WARM not in os.environ:
        pytest.skip("needs Linux")
    from tests.warm import Warm

    return Warm(os.environ[_WARM], tmp_path_factory.mktemp("warm"))


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory, warm: "Warm") -> Iterator["Nursery"]:
    """Starts ``train.py`` in processes of their own, without another import of torch."""
    from tests.lgcoamix.nursery import Nursery  # torch

    nursery = Nursery(tmp_path_factory.mktemp("told"), warm.python)
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def run_warm(warm: "Warm") -> Run:
    """The same as ``run``, without another import of torch; for questions that are not about imports."""
    return functools.partial(run_command, python=warm.python)


@pytest.fixture(scope="session")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder flowers17 with its 1,360 photographs."""
    archive = Path(os.environ.get("LGCOAMIX_REAL_DATA", ROOT.parent / "shared" / "data")) / "flowers17.tar"
    if not archive.is_file():
        pytest.skip(f"real photographs are not at {archive}; set LGCOAMIX_REAL_DATA to their folder")
    home = tmp_path_factory.mktemp("flowers")
    with tarfile.open(archive) as tar:
        # Python 3.11.4 brought the filter; the archive is our own.
        tar.extractall(home, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return home / "flowers17"


@pytest.fixture(scope="session")
def flowers_store(flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of a few photographs of three classes: 64 pixels, several shards, two scales."""
    root = tmp_path_factory.mktemp("few-flowers")
    for split, count in (("train", 12), ("test", 6)):
        for name in ("daisy", "iris", "tulip"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for path in sorted((flowers / split / name).iterdir())[:count]:
                (folder / path.name).write_bytes(path.read_bytes())
    out = tmp_path_factory.mktemp("store") / "flowers.h5"
    options = ("--size", "64", "--segments", "12,30", "--shard-size", "10", "--jobs", "1")
    done = CliRunner().invoke(preprocess, ["build", "folder", "--root", str(root), "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of figures alone: no picture is painted, which takes most of the time. In make proof they are."""
    if not PROOF:
        from matplotlib.figure import Figure

        monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


def paint(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> None:
    """Save a PNG of three coloured blocks."""
    random = np.random.default_rng(seed)
    picture = np.zeros((*size, 3), np.uint8)
    for start in (0, size[0] // 3, 2 * size[0] // 3):
        picture[start:] = random.integers(0, 256, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    """An image folder: classes a and b, 5 training and 3 test pictures each."""
    root = tmp_path / "painted"
    for seed, (split, count) in enumerate((("train", 5), ("test", 3))):
        for label, name in enumerate("ab"):
            for index in range(count):
                paint(root / split / name / f"{index}.png", 100 * seed + 10 * label + index)
    return root


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the examples: ``data/cub.h5`` of the pictures in ``raw``, and stores of JPEG and PNG beside it.

    Of two classes, 10 training and 6 test pictures of 16 pixels, in 4 and 9 segments.
    """
    home = tmp_path_factory.mktemp("examples")
    for split, count in (("train", 5), ("test", 3)):
        for label, name in enumerate("ab"):
            for index in range(count):
                paint(home / "raw" / split / name / f"{index}.png", 10 * index + label)
    (home / "data").mkdir()
    for name, codec, algorithm in (("cub", "raw", "slic"), ("jpeg", "jpeg", "grid"), ("png", "png", "grid")):
        given = ("--root", home / "raw", "--out", home / "data" / f"{name}.h5", "--size", "16", "--segments", "4,9")
        more = ("--codec", codec, "--algorithm", algorithm, "--jobs", "1")
        done = CliRunner().invoke(preprocess, ["build", "folder", *map(str, (*given, *more))])
        assert done.exit_code == 0, done.output
    return home
