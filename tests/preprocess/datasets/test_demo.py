"""The generated demo set, with a few pictures of each class."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.datasets import DATASETS, demo

FEW = {"train": 3, "test": 2}
CREATE = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from PIL import Image
from preprocess.datasets import demo
demo.PER_CLASS.update(train=3, test=2)
root = Path(sys.argv[1])
demo.create_demo(root)
files = sorted(root.rglob("*.png"))
print(json.dumps({path.relative_to(root).as_posix(): hashlib.sha256(np.asarray(Image.open(path)).tobytes()).hexdigest()
                  for path in files}))
"""


@pytest.fixture
def few(monkeypatch) -> None:
    for split, count in FEW.items():
        monkeypatch.setitem(demo.PER_CLASS, split, count)


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(np.asarray(Image.open(path)).tobytes()).hexdigest()
        for path in root.rglob("*.png")
    }


def test_two_creations_are_equal_pixel_for_pixel(few, tmp_path, run):
    demo.create_demo(tmp_path / "here")
    done = run("-c", CREATE, tmp_path / "there", PYTHONHASHSEED="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == digests(tmp_path / "here")


def test_every_class_has_equally_many_pictures_and_none_comes_twice(few, tmp_path):
    DATASETS["demo"].create(tmp_path / "demo")
    listing = DATASETS["demo"].find(tmp_path / "demo")
    assert len(listing.classes) == 8
    for split, count in FEW.items():
        labels = [sample.label for sample in listing.splits[split]]
        assert np.bincount(labels).tolist() == [count] * 8
    found = digests(tmp_path / "demo")
    assert len(found) == len(set(found.values())) == 8 * 5


def test_the_full_set_holds_960_pictures():
    splits = [split for split, _, _ in demo.demo_samples()]
    assert (splits.count("train"), splits.count("test")) == (640, 320)


def test_the_mean_colour_does_not_give_the_class_away():
    means = np.array([[demo.draw_beetle("train", label, index).mean() for index in range(12)] for label in range(8)])
    between, within = means.mean(axis=1).std(), means.std(axis=1).mean()
    # Of eight means over 12 draws each, chance alone gives a spread of within / sqrt(12).
    assert between < 2 * within / math.sqrt(12)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_creation_that_fails_midway_leaves_nothing(few, tmp_path, monkeypatch, error):
    draw = demo.draw_beetle

    def fail_later(split: str, label: int, index: int) -> np.ndarray:
        if (split, label, index) == ("train", 2, 1):
            raise error
        return draw(split, label, index)

    monkeypatch.setattr(demo, "draw_beetle", fail_later)
    with pytest.raises(error):
        demo.create_demo(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []
