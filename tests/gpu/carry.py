"""``make gpu-wheels``: fill the folder that is copied to a machine with a GPU, and say how large everything is."""

import argparse
import lzma
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from preprocess.terminal import say
from tests.gpu.carried import MOST, MOST_STORE, STORE, TINY, sizes

# What lacks where torch and torchvision are, in the versions that are installed here. What timm and the others may also
# use, such as the hub, is not needed.
_PURE = ("timm", "click", "rich", "pytest", "pluggy", "iniconfig", "packaging", "pygments")
_COMPILED = ("h5py",)  # the store
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_BUILD = ("--size", "32", "--segments", "30:35", "--compactness", "8", "--codec", "jpeg")  # as make cifar10, but JPEG


def main() -> None:
    """Download wheels, pack the store if its images are given, and list the sizes."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.carry", description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--python", required=True, help="versions of the Python there, such as '3.12'")
    parser.add_argument("--root", type=Path, help="folder of CIFAR-10 as JPEG files: train and test, classes below")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    download(given.into, given.python.split())
    if given.root:
        pack_images(given.root, given.into)
    with tempfile.TemporaryDirectory(dir=given.into) as scratch:
        tiny_store(Path(scratch) / TINY).replace(given.into / TINY)
    found = sizes(given.into)
    for name, number in found.items():
        say(f"{name:8}{number / 1e6:8.1f} MB")
    total = sum(found.values())
    say(f"{'all':8}{total / 1e6:8.1f} MB of at most {MOST / 1e6:.1f}")
    if not (given.into / STORE).exists():
        say("no store: give ROOT=folder of CIFAR-10 to pack one; without it, waiting and cells are left out")
    if total > MOST or found["store"] > MOST_STORE:
        sys.exit("Error: too large; carry wheels of one Python (GPU_PYTHON=3.12), or fewer images")


def download(into: Path, pythons: list[str]) -> None:
    """Download wheels in place of those that are there."""
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        _download(Path(scratch), _PURE, pythons[:1])
        for python in pythons:
            _download(Path(scratch), _COMPILED, [python])
        for old in into.glob("*.whl"):
            old.unlink()
        for wheel in Path(scratch).glob("*.whl"):
            wheel.replace(into / wheel.name)


def _download(into: Path, names: tuple[str, ...], pythons: list[str]) -> None:
    wanted = [f"{name}=={version(name)}" for name in names]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", str(into)]
    options += ["--implementation", "cp", *(f"--python-version={python}" for python in pythons)]
    options += [f"--platform={platform}" for platform in _PLATFORMS]
    done = subprocess.run([sys.executable, "-m", "pip", "download", *options, *wanted], check=False)
    if done.returncode:
        sys.exit(f"Error: pip could not download {', '.join(wanted)} for Python {', '.join(pythons)}")


def pack_images(root: Path, into: Path) -> None:
    """Build a store of images and maps, pack it into one file, and compress that."""
    built = Path("data/cifar10-jpeg.h5")
    command = [sys.executable, "-m", "preprocess"]
    build = [*command, "build", "folder", "--root", str(root), "--out", str(built), *_BUILD]
    if subprocess.run(build, check=False).returncode:
        sys.exit(f"Error: no store could be built of {root}")
    with tempfile.TemporaryDirectory(dir=into) as scratch:
        packed, compressed = Path(scratch) / "packed.h5", Path(scratch) / STORE
        subprocess.run([*command, "pack", str(built), str(packed)], check=True)
        compress(packed, compressed)
        compressed.replace(into / STORE)


def compress(path: Path, out: Path) -> None:
    """Compress a file: of small JPEG files, most is the same head."""
    with path.open("rb") as file, lzma.open(out, "wb", preset=3) as packed:
        shutil.copyfileobj(file, packed, 1 << 22)


def tiny_store(out: Path) -> Path:
    """Build and pack a store of 40 and 10 pictures of 10 classes, 32 pixels, to try the path with."""
    from preprocess.build.python import build_store
    from preprocess.store.pack import pack

    draw = np.random.default_rng(0)
    pictures = [(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8), number % 10) for number in range(50)]
    apart = out.with_name("apart.h5")
    store = build_store(
        {"train": pictures[:40], "test": pictures[40:]},
        apart,
        size=32,
        algorithm="grid",
        segments="9,16",
        codec="raw",
        jobs=1,
    )
    pack(store, out, lambda _: None)
    return out


if __name__ == "__main__":
    main()
