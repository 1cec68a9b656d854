"""``build --dry-run``."""

import re

import pytest

from preprocess.build.forecast import Forecast, advise, forecast, refuse_without_memory
from preprocess.build.plan import make_plan
from preprocess.build.settings import BuildSettings
from preprocess.datasets import DATASETS, Listing
from preprocess.errors import BuildError
from preprocess.superpixels import Scale
from tests.conftest import paint
from tests.preprocess.conftest import build_command, here

GB = 10**9


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """90 training and 30 test pictures."""
    root = tmp_path_factory.mktemp("many")
    for index in range(120):
        paint(root / ("train" if index < 90 else "test") / "ab"[index % 2] / f"{index}.png", index)
    return root


def _bytes(text: str, name: str) -> float:
    number, unit = re.search(rf"{re.escape(name)}[^0-9]*([0-9.]+) (bytes|kB|MB)", text).groups()
    return float(number) * {"bytes": 1, "kB": 1e3, "MB": 1e6}[unit]


@pytest.mark.parametrize("codec", ["raw", "jpeg"])
def test_the_forecast_holds_and_nothing_is_written(many, tmp_path, run, codec):
    options = ("--size", "64", "--segments", "9,16", "--codec", codec)
    command = ["-m", "preprocess", "build", "folder", "--root", many, "--out", tmp_path / "new" / "x.h5", *options]
    told = run(*command, "--dry-run")
    assert told.returncode == 0, told.stderr
    assert "120, 32 measured, 0 of them unusable" in told.stdout
    assert "recommended: --codec raw" in told.stdout
    assert "no store was written" in told.stdout
    assert list(tmp_path.iterdir()) == []
    done = run(*command, "--shard-size", "32")
    assert done.returncode == 0, done.stderr
    columns = {"images": 0, "slic-c10-9": 0, "slic-c10-16": 0}
    for path in (tmp_path / "new").rglob("*.h5"):
        if path.parent.name in columns:
            columns[path.parent.name] += path.stat().st_size
    maps, everything = columns["slic-c10-9"] + columns["slic-c10-16"], sum(columns.values())
    assert _bytes(told.stdout, "of which maps") == pytest.approx(maps, rel=0.15)
    assert _bytes(told.stdout, f"disk, --codec {codec}") == pytest.approx(everything, rel=0.15)


def test_no_image_to_measure_is_told(noisy, tmp_path):
    with pytest.raises(BuildError, match="no image is left to measure"):
        forecast(
            make_plan(tmp_path / "x.h5", Listing(("a",), {"train": ()}), BuildSettings("folder", (Scale(4, 1.0),)))
        )
    (tmp_path / "all.txt").write_text("\n".join(str(path.relative_to(noisy)) for path in noisy.rglob("*.png")))
    options = ("--root", noisy, "--out", tmp_path / "x.h5", "--exclude", tmp_path / "all.txt", "--dry-run")
    done = here("build", "folder", *options, "--size", 8, "--segments", 4)
    assert done.exit_code == 1
    assert done.output.endswith("Error: the exclude list leaves no image of train; take lines off it\n")


def test_bad_images_are_counted(many, tmp_path, run):
    for index in range(4):
        paint(tmp_path / "raw" / "train" / "a" / f"{index}.png", index)
    (tmp_path / "raw" / "train" / "a" / "x.png").write_bytes(b"not a picture")
    told = run(*build_command(tmp_path / "raw", tmp_path / "x.h5", "--dry-run"))
    assert told.returncode == 0, told.stderr
    assert "5, 5 measured, 1 of them unusable" in told.stdout
    for path in (tmp_path / "raw" / "train" / "a").iterdir():
        path.write_bytes(b"")
    told = run(*build_command(tmp_path / "raw", tmp_path / "x.h5", "--dry-run"))
    assert told.returncode == 1
    assert "none of 5 images is usable; the first is train/a/0.png" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("raw", "jpeg", "free", "memory", "says"),
    [
        (10, 2, 100, 32, "--codec raw"),
        (20, 4, 100, 32, "--codec jpeg: raw takes more than half of the memory"),
        (150, 30, 100, 500, "--codec jpeg: raw needs 151.0 GB"),
        (900, 180, 100, 500, "neither fits: JPEG needs 181.0 GB"),
    ],
)
def test_the_codec_that_suits(raw, jpeg, free, memory, says):
    found = Forecast(1, 1, 0, 1.0, raw * GB, jpeg * GB, GB, GB)
    assert advise(found, free * GB, memory * GB).startswith(says)


def test_a_build_that_needs_more_memory_than_there_is_is_refused(many, tmp_path):
    settings = BuildSettings("folder", (Scale(4, 1.0),), size=100, shard_size=50)
    plan = make_plan(tmp_path / "x.h5", DATASETS["folder"].find(many), settings)  # 90 images: 2 full shards, 1 of 30
    worker = 50 * 2 * 30_000 + 80_000  # a shard of 50 images and its copy, a map of 8 bytes a pixel
    refuse_without_memory(plan, 2, 2 * worker)
    with pytest.raises(
        BuildError, match=r"2 workers need at least 6\.2 MB of memory, and this machine has 6\.2 MB: lower"
    ):
        refuse_without_memory(plan, 2, 2 * worker - 1)
    refuse_without_memory(plan, 64, 3 * worker)  # as many as there are shards
