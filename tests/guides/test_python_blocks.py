"""The lines of Python in the READMEs for images of one's own work as they are written."""

import re
import sys

from preprocess.store import Store
from tests.conftest import ROOT, paint
from tests.preprocess.conftest import QUICK, here


def block(readme: str, heading: str) -> str:
    """The first block of Python after a heading."""
    text = (ROOT / readme).read_text().split(f"\n{heading}\n")[1]
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def test_the_lines_for_a_data_set_of_torchvision(reader, run_warm):
    done = run_warm("-c", block("README.md", "## The main job"), cwd=reader)
    assert done.returncode == 0, done.stderr
    store = Store(reader / "data" / "flowers17.h5")
    assert store.classes == ("daisy", "iris", "tulip")
    assert (len(store.splits["train"]), len(store.splits["test"])) == (36, 18)
    assert list(store.superpixel_sets) == ["slic-c10-39:52x4"]


def test_the_adapter_of_birds(tmp_path, monkeypatch):
    (tmp_path / "birds.py").write_text(block("preprocess/README.md", "## Adding a data set"))
    for seed, name in enumerate(("auk_1", "auk_2", "owl_1")):
        paint(tmp_path / "photos" / f"{name}.png", seed, size=(9, 9))
        (tmp_path / "photos" / f"{name}.png").rename(tmp_path / "photos" / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    given = ("--adapter", "birds:find_birds", "--root", "photos", "--split", "train", "--size", 8, "--segments", 4)
    done = here("build", "birds", *given, "--out", "x.h5", *QUICK)
    sys.modules.pop("birds", None)
    assert done.exit_code == 0, done.output
    assert Store("x.h5").classes == ("auk", "owl")
    assert Store("x.h5").labels("train").tolist() == [0, 0, 1]
