"""The guides of the package READMEs, followed literally: every command, file and edit, in a copy of the source tree."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SECTION = re.compile(r"^## (Guide: [^\n]+|When something goes wrong)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"```(\w+)\n(.*?)```\n", re.DOTALL)
NAMED_FILE = re.compile(r"`(\w+/[\w/]+\.py)`")  # a block is the last one that the text before it names


def as_script(readme: Path) -> str:
    """All guides of a README as one shell script: a Python block is the file named before it, a diff is applied."""
    lines = ["set -euo pipefail"]
    for title, text in SECTION.findall(readme.read_text()):
        lines.append(f"echo '== {title}'")
        for block in FENCE.finditer(text):
            kind, content = block.groups()
            if kind == "sh":
                lines.append(f"set -x\n{content}{{ set +x; }} 2> /dev/null")
            elif kind == "diff":
                lines.append(f"git apply - <<'END OF BLOCK'\n{content}END OF BLOCK")
            else:
                name = NAMED_FILE.findall(text[: block.start()])[-1]
                lines.append(f"cat > {name} <<'END OF BLOCK'\n{content}END OF BLOCK")
    return "\n".join(lines)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the tree, with this environment as its ``.venv``."""
    home = tmp_path / "clone"
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(lambda name: name and (ROOT / name).is_file(), names):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, home / name)
    (home / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != ".ready":
            (home / ".venv" / entry.name).symlink_to(entry)
    (home / ".venv" / ".ready").touch()
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


def follow(readme: str, clone: Path, reader: Path) -> str:
    """Run the guides of a README in a clone; give what they print."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        ["bash", "-c", as_script(clone / readme)],
        cwd=clone,
        env={**environment, "HOME": str(reader), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in done.stdout, done.stdout[-6000:]
    return done.stdout


def test_the_guides_of_training_work_as_they_are_written(clone, reader):
    said = follow("lgcoamix/README.md", clone, reader)
    for title in ("own data set", "mixing method", "cluster", "goes wrong"):
        assert re.search(f"^== .*{title}", said, re.MULTILINE), title
    for path in (
        "photos.html",
        "photos-twice.txt",
        "runs/try/best.pt",
        "look/batch.png",
        "runs/sweep/comparison.csv",
        "runs/try/evaluation-test/evaluation.json",
        "models/photos/model.safetensors",
        "models/photos/model.onnx",
        "runs/beside/results.json",
        "runs/job/results.json",
    ):
        assert (clone / path).is_file(), path
    with (clone / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    assert {row["class_1"] for row in rows} <= {"daisy", "iris", "tulip"}
    assert re.search(r"^3$", said, re.MULTILINE), "number of classes, from timm alone"
    assert re.search(r"^\d+ passed", said, re.MULTILINE), "contract tests of the new method"


def test_the_guides_of_preprocessing_work_as_they_are_written(clone, reader):
    said = follow("preprocess/README.md", clone, reader)
    assert "== Guide: on a cluster" in said
    assert "== Guide: a superpixel algorithm of your own" in said
    for path in ("data/on-dask.h5", "data/photos-packed.h5", "bricks.png", "runs/bricks/results.json"):
        assert (clone / path).is_file(), path
    assert re.search(r"^\d+ passed", said, re.MULTILINE), "tests of the new algorithm"


def test_messages_that_the_guide_explains_are_in_the_program():
    text = (ROOT / "lgcoamix" / "README.md").read_text().split("## When something goes wrong")[1].split("\n## ")[0]
    quoted = [
        part for row in text.splitlines() if row.startswith("| `") for part in re.findall("`(.+?)`", row.split("|")[1])
    ]
    assert len(quoted) > 8
    source = "\n".join(path.read_text() for name in ("lgcoamix", "preprocess") for path in (ROOT / name).rglob("*.py"))
    foreign = {"CUDA out of memory"}  # torch's own
    for words in set(quoted) - foreign:
        assert words.removesuffix(" nan") in source, words
