"""What was carried to a machine without a package registry: wheels, and a store packed into one file.

Needs the standard library alone.
"""

import importlib
import lzma
import os
import shutil
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

STORE, TINY = "cifar10.h5.xz", "tiny.h5"  # the second to try the path with
MOST_STORE, MOST = 60_000_000, 64 * 2**20  # bytes: of the store, of everything
_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_OURS = ("lgcoamix", "preprocess", "tests", ".assets", ".ci")


def take_wheels(folder: Path, into: Path) -> list[str]:
    """Unpack the wheels that fit this Python, and put them before what is installed.

    A wheel is an archive of what belongs on the path, so neither pip nor a registry is needed.

    Returns
    -------
    The names of their files.
    """
    fitting = [wheel for wheel in sorted(folder.glob("*.whl")) if fits(wheel.name, sys.version_info[:2])]
    for wheel in fitting:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(into)
    sys.path.insert(0, str(into))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(into), os.environ.get("PYTHONPATH"))))  # of children
    importlib.invalidate_caches()
    return [wheel.name for wheel in fitting]


def fits(name: str, version: tuple[int, int]) -> bool:
    """Whether a wheel is for this version of CPython: ``NAME-VERSION-PYTHON-ABI-PLATFORM.whl``."""
    python, abi = name.removesuffix(".whl").split("-")[-3:-1]
    own = f"cp{version[0]}{version[1]}"
    if abi == "abi3":  # of this version and all later ones
        return int(python.removeprefix("cp3")) <= version[1]
    return abi == own or (abi == "none" and f"py{version[0]}" in python.split("."))


def take_store(path: Path, into: Path) -> Path:
    """Uncompress a packed store whose name ends in ``.xz``; any other is used where it lies.

    Raises
    ------
    FileNotFoundError
    """
    if path.suffix != ".xz" or not path.is_file():
        path.stat()
        return path
    out = into / path.stem
    with lzma.open(path) as packed, out.open("wb") as file:
        shutil.copyfileobj(packed, file, 1 << 22)
    return out


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of what has to be copied: the source, the wheels, the store."""
    source = [path for name in _OURS for path in (_REPOSITORY / name).rglob("*") if "__pycache__" not in path.parts]
    source += [path for path in _REPOSITORY.iterdir() if path.is_file()]
    return {
        "source": _bytes(source),
        "wheels": _bytes(folder.glob("*.whl")),
        "store": _bytes([folder / STORE, folder / TINY]),
    }


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())
