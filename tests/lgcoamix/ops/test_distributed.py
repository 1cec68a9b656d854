"""Several processes train as one: the same order, the same losses, every sample evaluated once, no silent death."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from lgcoamix.data import RunBatches, SuperpixelDataset, View, make_loader
from lgcoamix.data.order import split_evenly
from lgcoamix.errors import RunError
from lgcoamix.evaluation.loop import evaluate
from lgcoamix.models import WeightsError
from lgcoamix.models.statistics import statistics_of
from lgcoamix.ops.distributed import Ranks, joined
from lgcoamix.runs.load import make_network, read_trained
from tests.conftest import PROOF, ROOT
from tests.lgcoamix.nursery import Nursery

# Small; 36 training images in batches of 11: the last batch of 3 is too small for two ranks.
SMALL = ("--image-size", "32", "--batch-size", "11", "--weights", "none", "--device", "cpu", "--workers", "0")
VIT = ("--backbone", "test_vit", "--mixer", "none")  # no batch statistics
RESNET = ("--backbone", "test_resnet", "--mixer", "lgcoamix", "--set", "mixer.mix_prob=0.7")


@pytest.mark.parametrize(
    ("count", "parts", "pairs"),
    [
        (8, 2, [(0, 4), (4, 8)]),
        (7, 2, [(0, 3), (3, 7)]),
        (5, 2, [(0, 2), (2, 5)]),
        (4, 3, [(0, 2), (2, 4)]),
        (3, 2, [(0, 3)]),
        (2, 4, [(0, 2)]),
        (1, 2, [(0, 1)]),
        (9, 1, [(0, 9)]),
    ],
)
def test_a_batch_is_cut_into_parts_of_two_and_more(count, parts, pairs):
    assert split_evenly(count, parts) == pairs


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize(("length", "size"), [(36, 11), (40, 8), (23, 4), (13, 4), (7, 100)])
def test_the_ranks_together_train_on_the_same_order(length, size, world):
    alone = RunBatches(length, size, seed=4)
    ranks = [RunBatches(length, size, 4, rank, world) for rank in range(world)]
    for batches in (alone, *ranks):
        batches.epoch = 2
    columns = list(zip(*map(list, ranks), strict=True))
    assert len(columns) == len(alone)
    for number, (whole, shares) in enumerate(zip(alone, columns, strict=True)):
        weights = [batches.weight(number) for batches in ranks]
        assert sum(weights) == pytest.approx(1)
        counted = [share for share, weight in zip(shares, weights, strict=True) if weight]
        assert [index for share in counted for index in share] == whole
        for share, weight in zip(shares, weights, strict=True):
            assert len(share) >= min(2, len(whole))  # also where it counts for nothing
            assert weight in (0, len(share) / len(whole))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("length", [1, 5, 18, 20])
def test_the_ranks_together_evaluate_every_sample_once(length, world):
    ranks = [RunBatches(length, 4, None, rank, world) for rank in range(world)]
    seen = [place for batches in ranks for batch in batches for _, place in batch]
    assert sorted(seen) == list(range(length))
    assert all(len(list(batches)) == len(batches) for batches in ranks)


def test_an_epoch_can_be_entered_in_the_middle():
    batches = RunBatches(36, 5, seed=1)
    whole = list(batches)
    for first in (1, 4, len(whole)):
        batches.first = first
        assert list(batches) == whole[first:]


def _options(store: Path, out: Path, *options: object) -> tuple[object, ...]:
    return ("--shards", store, *SMALL, "--no-tensorboard", "--no-pictures", "--out", out, *options)


def _train(nursery: Nursery, store: Path, out: Path, world: int, *options: object) -> Path:
    options = _options(store, out, *options)
    ranks = nursery.finish_ranks(world, *options) if world > 1 else [nursery.finish(*options)]
    assert [training.out.read_text().count("wrote ") for training in ranks] == [1] + [0] * (world - 1)
    return out


def _rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["model"]


def test_two_ranks_give_the_losses_of_one(nursery, flowers_store, tmp_path):
    options = (*VIT, "--epochs", 2, "--val-fraction", 0.25)
    one, two = (_train(nursery, flowers_store, tmp_path / str(world), world, *options) for world in (1, 2))
    assert len(_rows(one)) == 2
    for left, right in zip(_rows(one), _rows(two), strict=True):
        assert left.keys() == right.keys()
        for name in left:
            assert right[name] == pytest.approx(left[name], abs=1e-5), name
    for name, value in _weights(one).items():
        torch.testing.assert_close(_weights(two)[name], value, atol=1e-5, rtol=1e-4)


@contextmanager
def _torchrun(world: int, home: Path, script: Path, *options: object) -> Iterator[subprocess.Popen]:
    """The real launcher; nothing of it is left at the end."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", world)
    process = subprocess.Popen(
        list(map(str, (*launcher, script, *options))),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        cwd=home,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# train.py that is told to stop after the first checkpoint, however fast or slow the machine is: by the file TOLD, or
# by its launcher.
STOPS = f"""
import os, runpy, signal, time
from lgcoamix.training.trainer import Trainer
save = Trainer._save
def save_and_stop(self):
    save(self)
    if self.folder is not None and self.stop.signal is None:
        if told := os.environ.get("TOLD"):
            open(told, "w").close()
        else:
            os.kill(os.getppid(), signal.SIGTERM)  # torchrun passes it on
        while self.stop.signal is None:
            time.sleep(0.001)
Trainer._save = save_and_stop
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
"""


def _assert_evaluated(checkpoint: Path, store: Path, row: dict) -> None:
    """All ranks evaluate the network that is saved, though BatchNorm has seen other images on each of them."""
    trained = read_trained(checkpoint)
    data = SuperpixelDataset(store, "test", View(trained.settings.data, train=False), maps=False)
    loader = make_loader(data, RunBatches(len(data), 8, None), workers=0)
    found = evaluate(make_network(trained), loader, statistics_of(trained.settings), Ranks(torch.device("cpu")))
    assert row["test_loss"] == pytest.approx(found["loss"], rel=1e-5)
    assert row["test_top1"] == pytest.approx(found["top1"])


# With three ranks a sum depends on its order.
SEVERAL = {"two ranks": (2, RESNET), **({"three ranks": (3, (*VIT[:2], "--mixer", "mixup"))} if PROOF else {})}


@pytest.mark.parametrize(("world", "method"), SEVERAL.values(), ids=SEVERAL)
def test_several_ranks_stop_and_go_on_as_if_nothing_had_been(world, method, nursery, flowers_store, tmp_path):
    options = (*method, "--epochs", 3, "--checkpoint-every", 2, "--set", "optim.accumulate=2")
    whole = _train(nursery, flowers_store, tmp_path / "whole", world, *options)
    rows = _rows(whole)
    assert len(rows) == 3
    if method is RESNET:
        assert all(row["local"] > 0 and row["contrast"] > 0 and 0 < row["mixed"] < 1 for row in rows)
        _assert_evaluated(whole / "last.pt", flowers_store, rows[-1])

    parts, resume, script = tmp_path / "parts", (*options, "--resume", "auto"), tmp_path / "stops.py"
    script.write_text(STOPS)
    given = _options(flowers_store, parts, *resume)
    for _ in range(2 if PROOF else 1):
        if PROOF:  # the launcher is torch's, and imports it once more for each rank
            with _torchrun(world, tmp_path, script, *given) as process:
                stderr = process.communicate(timeout=200)[1]
        else:
            told = tmp_path / "told"
            ranks = nursery.start_ranks(world, *given, script=script, TOLD=str(told))
            ranks[0].until(told.exists)
            for training in ranks:
                training.strike(signal.SIGTERM)
            assert [training.wait() for training in ranks] == [143] * world
            stderr = "".join(training.told() for training in ranks)
        assert stderr.count("interrupted; saved after step") == 1, stderr
    assert not (parts / "results.json").exists(), stderr
    _train(nursery, flowers_store, parts, world, *resume)
    for row, expected in zip(_rows(parts), rows, strict=True):
        # A checkpoint adds the sums of the ranks up sooner: the last digit of a mean may differ.
        assert row == pytest.approx(expected, rel=1e-12)
    for name, value in _weights(whole).items():
        assert torch.equal(_weights(parts)[name], value), name


def test_a_rank_that_loses_another_ends_within_a_minute_with_a_clear_error(nursery, flowers_store, tmp_path):
    out = tmp_path / "run"
    first, second = nursery.start_ranks(2, *_options(flowers_store, out, *RESNET, "--epochs", 10_000))
    first.until((out / "metrics.csv").exists)
    second.kill()
    assert first.wait(60) == 1
    assert "Error: rank 0 lost the connection to the other processes" in " ".join(first.told().split())
    assert "Traceback" not in first.told()
    assert torch.load(out / "last.pt", weights_only=True)["format"] == 1  # whole


@pytest.fixture
def rank(monkeypatch):
    """The environment of a rank that cannot reach the others."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)


@pytest.mark.usefixtures("rank")
@pytest.mark.parametrize(("told", "reason"), [("", "DistError"), ("\nconnection closed\nat x", "connection closed")])
def test_a_lost_connection_is_told_with_its_reason(told, reason):
    message = rf"^rank 0 lost the connection to the other processes \({reason}\); continue with --resume auto$"
    with pytest.raises(RunError, match=message), joined("cpu"):
        raise torch.distributed.DistError(told)


@pytest.mark.usefixtures("rank")
def test_weights_that_a_rank_cannot_load_are_no_lost_connection():
    with pytest.raises(WeightsError, match=r"^cannot get weights"), joined("cpu"):
        raise WeightsError("cannot get weights; check the network connection")


@pytest.mark.skipif(not PROOF, reason="the launcher is torch's: at full counts alone")
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks in /proc")
def test_a_killed_rank_of_torchrun_ends_the_job_within_a_minute_with_a_clear_error(flowers_store, tmp_path):
    out = tmp_path / "run"
    options = _options(flowers_store, out, *RESNET, "--epochs", 10_000)
    with _torchrun(2, tmp_path, ROOT / "train.py", *options) as process:
        deadline = time.monotonic() + 200
        while not (out / "metrics.csv").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        os.kill(int(children.split()[1]), signal.SIGKILL)
        stderr = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert "lost the connection to the other processes" in stderr or "SIGKILL" in stderr
    assert torch.load(out / "last.pt", weights_only=True)["format"] == 1  # whole
