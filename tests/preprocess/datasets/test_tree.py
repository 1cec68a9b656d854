"""Walking the folders of a data set: order and names."""

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from preprocess.datasets.base import Found, Sample
from preprocess.datasets.folder import find_folder
from preprocess.datasets.tree import images_in, names_in

# As text, "a b/1.jpg" comes before "a/1.jpg", and "b.jpg" before "b/"; as paths they do not.
NAMES = (
    *("a/1.jpg", "a b/1.jpg", "a-b/c/2.JPG", "a/c/0.png", "b.jpg"),
    *("b/1.jpg", "A.jpeg", "\u00e9/1.jpg", "b/.hidden.jpg"),
)


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for name in NAMES:
            path = tmp_path / split / "one" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return tmp_path


def test_images_come_in_the_order_of_their_paths(nested):
    folder = nested / "train" / "one"
    expected = sorted(folder / name for name in NAMES if ".hidden" not in name)
    assert images_in(folder) == expected
    assert [Path(name) for name in names_in(folder)] == expected


@pytest.mark.parametrize("root", [".", "..", "absolute", "inner/.."])
def test_keys_are_relative_to_the_home_however_the_root_is_written(nested, root, monkeypatch):
    (nested / "inner").mkdir()
    monkeypatch.chdir(nested / "inner" if root == ".." else nested)
    listing = find_folder(nested if root == "absolute" else Path(root))
    keys = [sample.key for sample in listing.splits["test"]]
    assert keys == [path.relative_to(nested).as_posix() for path in images_in(nested / "test")]
    assert all(sample.path.samefile(nested / sample.key) for sample in listing.splits["test"])
    assert listing.walked


def test_a_found_sample_is_a_sample_that_keeps_its_path_as_text(tmp_path):
    (tmp_path / "a.png").write_bytes(b"four")
    found, plain = Found("a", 3, f"{tmp_path}/a.png"), Sample("a", 3, tmp_path / "a.png")
    assert (found.key, found.label, found.path, found.boxes) == (plain.key, plain.label, plain.path, plain.boxes)
    assert found.path_text == plain.path_text == str(tmp_path / "a.png")
    assert (found.read(), found.size(), found.digest(b"x")) == (plain.read(), plain.size(), plain.digest(b"x"))
    assert pickle.loads(pickle.dumps(found)) == found
    assert replace(found, path=tmp_path / "b.png").path == tmp_path / "b.png"
    assert replace(found, path=tmp_path / "b.png").size() == -1
    assert not hasattr(found, "__dict__")
    with pytest.raises(FrozenInstanceError):
        found.path = tmp_path
