"""What happens around a build or a training: stopped workers, clocks, sources that change, odd proportions."""

import contextlib
import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lgcoamix.data.build import make_loaders
from lgcoamix.ops.distributed import Ranks
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.sections import Settings
from preprocess.build import task as building
from preprocess.build.plan import make_plan
from preprocess.build.run import build
from preprocess.build.settings import BuildSettings
from preprocess.datasets import Listing, Sample
from preprocess.store import Store
from preprocess.superpixels import Scale
from tests.conftest import PROOF
from tests.lgcoamix.nursery import Nursery, Training
from tests.preprocess.build.test_survival import all_gone, living, start, workers_of
from tests.preprocess.build.test_two_at_once import TOGETHER
from tests.preprocess.build.test_two_at_once import start as start_script
from tests.preprocess.conftest import all_files, flip, here

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")

BUILD = ("--size", "16", "--segments", "4", "--algorithm", "grid", "--shard-size", "4", "--jobs", "1")
SMALL = ("--mixer", "none", "--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--device", "cpu")
QUIET = ("--no-pictures", "--no-tensorboard")
STOPPED = 12 if PROOF else 1.5  # seconds


def paint(path: Path, seed: int, side: int = 20) -> None:
    """A pixel map, so that its edits keep their length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image folder: classes a and b, 6 images for training and 2 for the test each."""
    for split, count in (("train", 6), ("test", 2)):
        for label, name in enumerate("ab"):
            for number in range(count):
                paint(tmp_path / "raw" / split / name / f"{number}.ppm", 100 * label + 10 * count + number)
    return tmp_path / "raw"


def command_of(root: Path, out: Path, *more: str) -> tuple[str, ...]:
    return ("build", "folder", "--root", str(root), "--out", str(out), *BUILD, *more)


def succeed(*command: object) -> str:
    done = here(*command)
    assert done.exit_code == 0, done.output
    return done.output


def same_as_fresh(root: Path, out: Path) -> bool:
    """Whether a store holds what a new build of the sources would."""
    fresh = out.parent / "fresh" / "x.h5"
    shutil.rmtree(fresh.parent, ignore_errors=True)
    succeed(*command_of(root, fresh))
    succeed("verify", out, "--jobs", "1")
    return here("diff", out, fresh).exit_code == 0


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# Workers


@pytest.mark.skipif(not PROOF, reason="make proof")
def test_a_loader_worker_that_is_stopped_and_continued_changes_nothing(nursery: Nursery, root, tmp_path):
    succeed(*command_of(root, tmp_path / "x.h5", "--size", "32"))
    command = ("--shards", tmp_path / "x.h5", *SMALL, *QUIET, "--batch-size", 4, "--epochs", 5)
    nursery.finish(*command, "--out", tmp_path / "undisturbed", "--workers", 0)
    training = nursery.start(*command, "--out", tmp_path / "stopped", "--workers", 1)
    training.until(lambda: workers_in(training) and (tmp_path / "stopped" / "metrics.csv").exists())
    worker = min(workers_in(training))
    os.kill(worker, signal.SIGSTOP)
    time.sleep(STOPPED)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)
    assert training.wait() == 0, training.told()
    assert [row["loss"] for row in rows(tmp_path / "stopped")] == [
        row["loss"] for row in rows(tmp_path / "undisturbed")
    ]


def workers_in(training: Training) -> list[int]:
    """DataLoader workers: processes of the session but its leader."""
    return [pid for pid in living(training.pid) if pid != training.pid]


@pytest.mark.skipif(not PROOF, reason="make proof")
def test_a_build_worker_that_is_stopped_and_continued_changes_nothing(root, tmp_path):
    more = ("--backend", "loky", "--jobs", "2", "--shard-size", "1")
    running = start(["-m", "preprocess", *command_of(root, tmp_path / "x.h5", *more)])
    deadline = time.monotonic() + 60
    while not workers_of(running.pid):
        assert time.monotonic() < deadline
        assert running.poll() is None
    worker = workers_of(running.pid)[0]
    os.kill(worker, signal.SIGSTOP)
    time.sleep(STOPPED)
    os.kill(worker, signal.SIGCONT)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 0, told
    succeed(*command_of(root, tmp_path / "again" / "x.h5", "--shard-size", "1"))
    assert here("diff", tmp_path / "x.h5", tmp_path / "again" / "x.h5").exit_code == 0


@pytest.mark.skipif(not PROOF, reason="make proof")
def test_ctrl_c_ends_a_build_by_processes(root, tmp_path):
    for number in range(200):
        paint(root / "train" / "a" / f"more{number}.ppm", number, side=200)
    more = ("--backend", "loky", "--jobs", "2", "--shard-size", "1", "--size", "128")
    running = start(["-m", "preprocess", *command_of(root, tmp_path / "x.h5", *more)])
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("x.shards/*/*/*.h5")):
        assert time.monotonic() < deadline
    os.killpg(running.pid, signal.SIGINT)
    said, told = running.communicate(timeout=30)
    assert running.returncode == 130, told
    assert told.strip().splitlines()[-1] == "interrupted; finished work is kept: run the same command to continue"
    assert "Traceback" not in told + said
    assert all_gone(running.pid)
    assert not (tmp_path / "x.h5").exists()
    assert list(tmp_path.rglob("*.tmp")) == []
    succeed(*command_of(root, tmp_path / "x.h5", *more[2:]))
    succeed("verify", tmp_path / "x.h5", "--jobs", "1")


# Clocks and sources


def test_a_source_that_is_edited_after_the_clock_was_set_back_is_seen(root, tmp_path):
    out = tmp_path / "x.h5"
    succeed(*command_of(root, out))
    ahead = time.time() + 3600
    for shard in tmp_path.glob("x.shards/*/*/*.h5"):
        os.utime(shard, (ahead, ahead))  # as the clock showed before
    assert "nothing to do" in succeed(*command_of(root, out))
    flip(root / "train" / "a" / "3.ppm", 200)
    done = here(*command_of(root, out))
    assert done.exit_code == 1
    assert "1 images changed since" in done.output
    assert "train/a/3.ppm" in done.output
    succeed(*command_of(root, out, "--update"))
    assert same_as_fresh(root, out)


def test_sources_from_the_future_are_read_again_and_accepted(root, tmp_path):
    out = tmp_path / "x.h5"
    ahead = time.time() + 3600
    for path in root.rglob("*.ppm"):
        os.utime(path, (ahead, ahead))
    succeed(*command_of(root, out))
    before = all_files(tmp_path)
    assert "nothing to do" in succeed(*command_of(root, out))
    assert all_files(tmp_path) == before


@pytest.mark.parametrize("grows", [False, True])
def test_a_source_that_changes_while_its_shard_is_built_is_seen_by_the_next_run(grows, root, tmp_path, monkeypatch):
    out, edited = tmp_path / "x.h5", root / "train" / "a" / "1.ppm"
    read = building.read_sources

    def read_then_change(samples: tuple[Sample, ...], settings: BuildSettings) -> tuple:
        found = read(samples, settings)
        if any(sample.path == edited for sample in samples):
            paint(edited, 77, side=24) if grows else flip(edited, 100)
        return found

    monkeypatch.setattr(building, "read_sources", read_then_change)
    succeed(*command_of(root, out))
    monkeypatch.undo()
    done = here(*command_of(root, out))
    assert done.exit_code == 1, done.output
    assert "apply the changes with --update" in done.output
    succeed(*command_of(root, out, "--update"))
    assert same_as_fresh(root, out)


def test_a_folder_that_vanishes_in_mid_build_is_named_and_its_return_completes_the_store(root, tmp_path, monkeypatch):
    out, read = tmp_path / "x.h5", building.read_sources

    def hide_then_read(samples: tuple[Sample, ...], settings: BuildSettings) -> tuple:
        with contextlib.suppress(OSError):
            (root / "train" / "b").rename(tmp_path / "hidden")
        return read(samples, settings)

    monkeypatch.setattr(building, "read_sources", hide_then_read)
    done = here(*command_of(root, out))
    monkeypatch.undo()
    assert done.exit_code == 1
    assert "6 of 16 images are unusable" in done.output
    assert "train/b/0.ppm: cannot be read: No such file or directory" in done.output
    assert not out.exists()
    (tmp_path / "hidden").rename(root / "train" / "b")
    succeed(*command_of(root, out))
    assert same_as_fresh(root, out)


def test_two_updates_at_once_end_with_the_changes_of_both(root, tmp_path):
    out, meeting = tmp_path / "x.h5", tmp_path / "meeting"
    meeting.mkdir()
    succeed(*command_of(root, out))
    flip(root / "train" / "a" / "0.ppm", 100)
    updates = [start_script("-c", TOGETHER, meeting, *command_of(root, out, "--update"))]
    deadline = time.monotonic() + 60
    while not list(meeting.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    paint(root / "train" / "b" / "new.ppm", 5)
    flip(root / "test" / "b" / "1.ppm", 100)
    updates.append(start_script("-c", TOGETHER, meeting, *command_of(root, out, "--update")))
    for update in updates:
        _, told = update.communicate(timeout=120)
        assert "Traceback" not in told
        assert update.returncode == 0, told
    assert same_as_fresh(root, out)


# A training


@pytest.mark.parametrize("damage", ["truncated", "missing", "flipped"])
@pytest.mark.skipif(not PROOF, reason="make proof")
def test_a_training_reads_on_or_stops_with_a_message_while_its_store_is_repaired(damage, nursery, root, tmp_path):
    succeed(*command_of(root, tmp_path / "x.h5", "--size", "32"))
    command = ("--shards", tmp_path / "x.h5", *SMALL, *QUIET, "--batch-size", 4, "--epochs", 40, "--workers", 2)
    nursery.finish(*command, "--out", tmp_path / "undisturbed")
    training = nursery.start(*command, "--out", tmp_path / "run")
    training.until(lambda: (tmp_path / "run" / "metrics.csv").exists())
    shard = sorted(tmp_path.glob("x.shards/train/images/*.h5"))[0]
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:3000])
    else:
        flip(shard, 4000)
    done = here("verify", tmp_path / "x.h5", "--repair", "--root", root, "--jobs", "1")
    assert done.exit_code == 0, done.output
    code = training.wait()
    assert code in (0, 1)
    assert "Traceback" not in training.told()
    if code == 0:
        assert [row["loss"] for row in rows(tmp_path / "run")] == [
            row["loss"] for row in rows(tmp_path / "undisturbed")
        ]
    else:
        assert f"{shard.name}" in training.told()


ALONE = "every epoch leaves out one training image, each time another: it would be alone in the last batch"


@pytest.mark.parametrize(
    ("share", "batch", "sizes", "said"),
    [
        (0.0, 1000, [8], ()),  # a batch larger than the data is all of it
        (0.0, 7, [7], (ALONE,)),  # the last image alone would be no batch
        (0.6, 4, [3], ("--val-fraction 0.6 leaves no image to train on of 1 classes: b",)),
        (0.1, 4, [4, 3], ("--val-fraction 0.1 leaves no image for validation of 1 classes: b",)),
    ],
)
def test_odd_proportions_of_batch_and_validation_share_work_and_are_said(share, batch, sizes, said, root, tmp_path):
    """Of 7 images in class a and 1 in b."""
    paint(root / "train" / "a" / "7.ppm", 3)
    for number in range(1, 6):
        (root / "train" / "b" / f"{number}.ppm").unlink()
    succeed(*command_of(root, tmp_path / "x.h5", "--size", "32"))
    settings = Settings().with_method("none").with_values("optim", batch_size=batch)
    options = RunOptions(tmp_path / "run", "r", device="cpu", workers=0, val_fraction=share)
    loaders = make_loaders(Store(tmp_path / "x.h5"), settings, options, False, Ranks(torch.device("cpu")))
    assert [len(found.labels) for found in loaders.train] == sizes
    assert loaders.notices == ("cpu, streaming loader", *said)


CLASSES = 70_000


@pytest.fixture
def many_classes(root: Path, tmp_path: Path) -> Path:
    """A store of 70,000 classes, of which the last and a few more have images."""
    pairs = zip(sorted((root / "train").rglob("*.ppm")), [0, 1, 65_535, 65_536, *[CLASSES - 1] * 8], strict=True)
    train = tuple(Sample(f"train/{path.parent.name}/{path.name}", label, path) for path, label in pairs)
    test = tuple(Sample(sample.key.replace("train", "test"), sample.label, sample.path) for sample in train[2:8])
    listing = Listing(tuple(f"class {number:05d}" for number in range(CLASSES)), {"train": train, "test": test})
    settings = BuildSettings("folder", (Scale(4, 1.0),), size=32, algorithm="grid", compactness=None)
    build(make_plan(tmp_path / "many.h5", listing, settings), 1, False, lambda done: None)
    return tmp_path / "many.h5"


@pytest.mark.skipif(not PROOF, reason="make proof")
def test_more_classes_than_16_bits_hold_are_stored_trained_and_evaluated(many_classes, nursery, tmp_path):
    store = Store(many_classes)
    assert len(store.classes) == CLASSES
    assert store.labels("train").tolist()[:5] == [0, 1, 65_535, 65_536, 69_999]
    succeed("verify", many_classes, "--jobs", "1")
    succeed("inspect", many_classes)
    succeed("report", many_classes, "--out", tmp_path / "report.html", "--count", "2")
    run = tmp_path / "run"
    quick = ("--batch-size", 4, "--epochs", 1, "--workers", 0, "--no-tensorboard")
    nursery.finish("--shards", many_classes, *SMALL, *quick, "--out", run)
    begin = time.monotonic()
    options = ("--checkpoint", run, "--shards", many_classes, "--workers", 0, "--fgsm", "1", "--drop", "none")
    done = nursery.finish("evaluate", *options, "--out", tmp_path / "ev", script="tests/hostile/as_module.py")
    assert time.monotonic() - begin < 30
    written = {path.name for path in (tmp_path / "ev").iterdir()}
    assert "confusion.png" not in written
    assert {"per_class.png", "per_class.csv", "reliability.png"} <= written
    document = json.loads((tmp_path / "ev" / "evaluation.json").read_text())
    assert document["figures"]["confusion"] is None
    assert document["figures"]["counts"][69_999] == 4
    assert sum(document["figures"]["counts"]) == 6
    assert "no confusion matrix: 70,000 classes" in done.out.read_text()
