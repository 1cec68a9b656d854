"""A clone of the repository, and the home of a reader who follows its guides."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.warm import Warm


@pytest.fixture
def clone(tmp_path: Path, flowers_store: Path, warm: Warm) -> Path:
    """A copy of the tree, with this environment as its ``.venv``, and with what was compiled for ``flowers_store``.

    Its ``python`` and ``torchrun`` are forks of a process that has imported torch.
    """
    home = tmp_path / "clone"
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(lambda name: name and (ROOT / name).is_file(), names):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, home / name)
    for path in (path for package in ("lgcoamix", "preprocess") for path in (ROOT / package).rglob("__pycache__/*")):
        (home / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process was writing it
            shutil.copy2(path, home / path.relative_to(ROOT))
    (home / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".ready":
            (home / ".venv" / entry.name).symlink_to(entry)
    (home / ".venv" / ".ready").touch()
    programs = home / ".venv" / "bin"
    programs.unlink()
    programs.mkdir()
    for entry in (Path(sys.prefix) / "bin").iterdir():
        if entry.name not in ("python", "torchrun"):
            (programs / entry.name).symlink_to(entry)
    warm.write_client(programs / "python", programs / "python3")
    text = (Path(sys.prefix) / "bin" / "torchrun").read_text().partition("\n")[2]
    (programs / "torchrun").write_text(f"#!{programs / 'python'}\n{text}")
    (programs / "torchrun").chmod(0o755)
    return home


@pytest.fixture
def reader(tmp_path: Path, flowers: Path) -> Path:
    """The home of somebody who has photographs in ``~/flowers17``: some of three classes."""
    for split, count in (("train", 12), ("test", 6)):
        for name in ("daisy", "iris", "tulip"):
            folder = tmp_path / "home" / "flowers17" / split / name
            folder.mkdir(parents=True)
            for path in sorted((flowers / split / name).iterdir())[:count]:
                shutil.copy(path, folder)
    return tmp_path / "home"
