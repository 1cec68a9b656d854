"""``show``: a contact sheet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage.segmentation import find_boundaries

from preprocess.cli import main
from preprocess.inspect.sheet import boundaries, outlined
from preprocess.store import Store
from tests.preprocess.conftest import SMALL, build_here

YELLOW = (255, 255, 0)


@pytest.fixture
def grey_store(tmp_path: Path) -> Store:
    """Six pictures of one grey each: the only colour on a sheet is that of the boundaries."""
    folder = tmp_path / "raw" / "train" / "a"
    folder.mkdir(parents=True)
    for index in range(6):
        Image.new("RGB", (16, 16), (90 + 10 * index,) * 3).save(folder / f"{index}.png")
    return build_here(tmp_path / "raw", tmp_path / "grey.h5", replace(SMALL, shard_size=2))


def lengths(marked: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of the runs of True that are at least 60 long: panels, not titles."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(int), [0]])))
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= 60]


def test_one_row_an_image_and_one_column_a_scale_beside_the_image(grey_store, tmp_path, run):
    out = tmp_path / "sheet.png"
    done = run("-m", "preprocess", "show", grey_store.path, "--out", out, "--count", "4")
    assert done.returncode == 0, done.stderr
    with Image.open(out) as picture:
        assert picture.format == "PNG"
        sheet = np.asarray(picture.convert("RGB")).astype(int)
    inked = (sheet < 240).any(axis=2)
    rows, columns = lengths(inked.mean(axis=1) > 0.5), lengths(inked.mean(axis=0) > 0.5)
    assert (len(rows), len(columns)) == (4, 3)
    yellow = (abs(sheet - YELLOW).max(axis=2) < 120).astype(float)
    lines = [[yellow[top:bottom, left:right].mean() for left, right in columns] for top, bottom in rows]
    greys = [np.median(sheet[top:bottom, columns[0][0] : columns[0][1]]) for top, bottom in rows]
    assert greys == [90, 110, 120, 140]  # of six pictures the ones at even distances: 0, 2, 3, 5
    assert all(plain == 0 and few > 0 and many > few for plain, few, many in lines)


def refusal(*options: str | Path) -> tuple[int, str]:
    """Exit code and text of a call in this process that ends without an exception of its own."""
    result = CliRunner().invoke(main, ["show", *map(str, options)])
    assert isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.stderr


def test_an_unknown_split_is_a_usage_error(small_store, tmp_path):
    code, message = refusal(small_store.path, "--split", "val", "--out", tmp_path / "sheet.png")
    assert code == 2
    assert "train, test, got 'val'" in message


def test_a_picture_format_that_cannot_be_written_is_one_message(small_store, tmp_path):
    code, message = refusal(small_store.path, "--out", tmp_path / "sheet.doc", "--count", "1")
    assert code == 2
    assert "expected a file name that ends in .png, .jpg, .pdf" in message
    assert list(tmp_path.iterdir()) == []


def test_a_split_without_images_is_one_message(noisy, tmp_path):
    store = build_here(noisy, tmp_path / "lacking.h5", empty=("test",))
    assert (store.keys("test"), len(store.keys("train"))) == ([], 10)
    code, message = refusal(store.path, "--split", "test", "--out", tmp_path / "sheet.png")
    assert code in (1, 2)
    assert "test" in message
    assert not (tmp_path / "sheet.png").exists()


def test_boundaries_are_the_thick_ones_of_scikit_image():
    ids = np.random.default_rng(0).integers(0, 3, (9, 12)).astype(np.uint16).repeat(2, axis=0)
    np.testing.assert_array_equal(boundaries(ids), find_boundaries(ids, mode="thick"))
    image = np.full((2, 3, 3), 51, np.uint8)
    drawn = outlined(image, np.array([[0, 0, 7], [0, 0, 7]]))  # 128 times as large
    assert drawn.shape == (256, 384, 3)
    np.testing.assert_array_equal(drawn[:, 255:257], np.broadcast_to([1.0, 1.0, 0.0], (256, 2, 3)))
    assert (np.delete(drawn, [255, 256], axis=1) == 0.2).all()
    assert (image == 51).all()
