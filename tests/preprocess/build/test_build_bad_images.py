"""Pictures that cannot be used: named, withheld by default, left out on request."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.store import Store
from tests.preprocess.conftest import QUICK, Built, build_command

GOOD = [f"train/{name}/{index}.png" for name in "ab" for index in range(5)]


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def failed(noisy, tmp_path_factory, run):
    """A build of the noisy folder with three bad training pictures; its process, its folders."""
    home = tmp_path_factory.mktemp("failed")
    shutil.copytree(noisy, home / "raw")
    (home / "raw/train/a/3 cut.jpg").write_bytes(jpeg()[:-150])
    (home / "raw/train/a/gone.png").symlink_to("nowhere.png")
    (home / "raw/train/b/zeros.jpg").write_bytes(bytes(len(jpeg())))
    return run(*build_command(home / "raw", home / "x.h5")), home


@pytest.fixture
def home(failed, tmp_path: Path) -> Built:
    """A copy that a test may continue."""
    shutil.copytree(failed[1], tmp_path / "home", symlinks=True)
    root, out = tmp_path / "home" / "raw", tmp_path / "home" / "x.h5"
    return Built(root, out, build_command(root, out))


def test_bad_pictures_are_named_with_their_reasons_and_withhold_the_index(failed):
    done, home = failed
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "3 of 19 images" in done.stderr
    for key, reason in (("a/3 cut.jpg", "truncated"), ("a/gone.png", "No such file"), ("b/zeros.jpg", "not an image")):
        (line,) = (line for line in done.stderr.splitlines() if f"train/{key}: " in line)
        assert reason in line
    assert "--skip-bad" in done.stderr
    assert not (home / "x.h5").exists()
    assert [path for path in home.rglob("*") if path.name.endswith(".tmp")] == []


def test_the_rest_is_published_on_request_without_computing_again(home, run):
    done = run(*home.command, "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert ": 0 maps computed" in done.stdout
    store = Store(home.out)
    assert store.keys("train") == GOOD
    assert store.labels("train").tolist() == [0] * 5 + [1] * 5
    assert len(store.keys("test")) == 6
    expected = [Image.open(home.root / key).resize((16, 16), Image.Resampling.BILINEAR) for key in GOOD]
    np.testing.assert_array_equal(store.images("train", range(10)), [np.asarray(image) for image in expected])
    told = run("-m", "preprocess", "inspect", home.out).stdout
    assert "train: 3 images left out" in told
    assert "train/a/3 cut.jpg" in told


def test_after_mending_the_files_the_same_command_publishes_all(home, run):
    (home.root / "train/a/3 cut.jpg").write_bytes(jpeg())
    (home.root / "train/a/gone.png").unlink()
    shutil.copy(home.root / "train/a/0.png", home.root / "train/a/gone.png")
    (home.root / "train/b/zeros.jpg").write_bytes(jpeg())  # of the length that the bad file had
    done = run(*home.command)
    assert done.returncode == 0, done.stderr
    store = Store(home.out)
    assert set(store.keys("train")) == {*GOOD, "train/a/3 cut.jpg", "train/a/gone.png", "train/b/zeros.jpg"}
    assert all(not split["failed"] for split in store.document["splits"].values())


@pytest.fixture
def own(noisy, tmp_path) -> Built:
    """A folder that a test may spoil, without a store."""
    root, out = shutil.copytree(noisy, tmp_path / "raw"), tmp_path / "x.h5"
    return Built(root, out, build_command(root, out, *QUICK))


def spoil(folder: Path) -> None:
    for path in folder.rglob("*.png"):
        path.write_bytes(b"no picture")


def test_a_class_without_a_usable_training_picture_is_told(own, run):
    spoil(own.root / "train" / "b")
    done = run(*own.command, "--skip-bad")
    assert done.returncode == 0, done.stderr
    warning = "warning: test has images of classes of which train has none, which no network can learn: b; mend"
    assert warning in " ".join(done.stdout.split())
    assert Store(own.out).labels("train").tolist() == [0] * 5
    spoil(own.root / "test" / "b")
    said = " ".join(run(*own.command, "--skip-bad", "--update").stdout.split())
    assert warning not in said
    assert "warning: no image of a class is usable, but the class is kept: b; mend their files in train" in said


@pytest.mark.parametrize("first", [False, True])
def test_a_split_without_a_usable_picture_is_not_published(first, own, run):
    if first:
        assert run(*own.command).returncode == 0
        before = own.out.read_bytes()
    spoil(own.root / "test")
    done = run(*own.command, "--skip-bad", "--update")
    assert done.returncode == 1
    assert "6 of 6 images of test are unusable" in done.stderr
    assert "test/a/0.png: " in done.stderr
    assert "rerun the command, or leave test out: --splits train" in " ".join(done.stderr.split())
    assert (own.out.read_bytes() == before) if first else not own.out.exists()
    done = run(*own.command, "--skip-bad", "--splits", "train")
    assert done.returncode == 0, done.stderr
    assert "0 maps computed" in done.stdout or "nothing to do" in done.stdout


def test_a_data_set_without_one_usable_picture_is_never_published(tmp_path, run):
    folder = tmp_path / "raw" / "train" / "a"
    folder.mkdir(parents=True)
    (folder / "0.jpg").write_bytes(b"")
    done = run(*build_command(tmp_path / "raw", tmp_path / "x.h5", "--skip-bad"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "train/a/0.jpg: the file is empty" in done.stderr
    assert not (tmp_path / "x.h5").exists()
