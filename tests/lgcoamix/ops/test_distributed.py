"""Several processes train as one: the same order, the same losses, every sample evaluated once, no silent death."""

import csv
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from lgcoamix.cli import train
from lgcoamix.data import EpochBatches
from lgcoamix.data.order import split_evenly
from tests.conftest import PROOF, ROOT

# Small; 36 training images in batches of 11: the last batch of 3 is too small for two ranks.
SMALL = ("--image-size", "32", "--batch-size", "11", "--weights", "none", "--device", "cpu", "--workers", "0")
VIT = ("--backbone", "vit_tiny_patch16_224", "--mixer", "none")  # no batch statistics
QUIET = ("--no-tensorboard", "--no-pictures")
RESNET = ("--backbone", "resnet10t", "--mixer", "lgcoamix", "--set", "mixer.mix_prob=0.7")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


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
    alone = EpochBatches(length, size, seed=4)
    ranks = [EpochBatches(length, size, 4, rank, world) for rank in range(world)]
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
    ranks = [EpochBatches(length, 4, None, rank, world) for rank in range(world)]
    seen = [place for batches in ranks for batch in batches for _, place in batch]
    assert sorted(seen) == list(range(length))
    assert all(len(list(batches)) == len(batches) for batches in ranks)


def test_an_epoch_can_be_entered_in_the_middle():
    batches = EpochBatches(36, 5, seed=1)
    whole = list(batches)
    for first in (1, 4, len(whole)):
        batches.first = first
        assert list(batches) == whole[first:]


def _arguments(store: Path, out: Path, *options: object) -> list[str]:
    return [str(part) for part in ("--shards", store, *SMALL, *QUIET, "--out", out, *options)]


def _command(store: Path, out: Path, world: int, *options: object) -> list[str]:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world))
    return [sys.executable, *launcher, str(ROOT / "train.py"), *_arguments(store, out, *options)]


@pytest.fixture(scope="module")
def server() -> multiprocessing.context.BaseContext:
    """Ranks without a launcher: forks of a process that has imported the trainer, which takes longer than training."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "PYTHONPATH", "COLUMNS"):
            patch.setenv(name, ENVIRONMENT[name])
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["lgcoamix.training.run", "tests.lgcoamix.ops.test_distributed"])
        forkserver.ensure_running()
    return context


def _rank(arguments: list[str], environment: dict[str, str], log: Path) -> None:
    """One rank, as torchrun would start it."""
    os.environ.update(environment)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    train(arguments)


def _train(server: multiprocessing.context.BaseContext, store: Path, out: Path, world: int, *options: object) -> Path:
    arguments = _arguments(store, out, *options)
    host = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    agent = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(host.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    logs = [out.with_name(f"{out.name}-{rank}.log") for rank in range(world)]
    ranks = []
    for rank, log in enumerate(logs):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        ranks.append(server.Process(target=_rank, args=(arguments, agent | own, log)))
        ranks[-1].start()
    for process in ranks:
        process.join(300)
    said = "".join(log.read_text() for log in logs)
    assert [process.exitcode for process in ranks] == [0] * world, said
    assert said.count("wrote ") == 1  # one rank speaks
    return out


def _rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "last.pt", weights_only=True)["model"]


def test_two_ranks_give_the_losses_of_one(server, flowers_store, tmp_path):
    options = (*VIT, "--epochs", 2, "--val-fraction", 0.25)
    one, two = (_train(server, flowers_store, tmp_path / str(world), world, *options) for world in (1, 2))
    assert len(_rows(one)) == 2
    for left, right in zip(_rows(one), _rows(two), strict=True):
        assert left.keys() == right.keys()
        for name in left:
            assert right[name] == pytest.approx(left[name], abs=1e-5), name
    torch.testing.assert_close(_weights(two), _weights(one), atol=1e-5, rtol=1e-4)


def _saved_since(moment: float, checkpoint: Path) -> bool:
    return checkpoint.exists() and checkpoint.stat().st_mtime > moment


def _until(condition: object, process: subprocess.Popen, seconds: float = 200) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _start(command: list[str], home: Path) -> subprocess.Popen:
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=ENVIRONMENT, cwd=home, start_new_session=True, **pipes)


def _ranks_of(launcher: subprocess.Popen) -> list[int]:
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text()
    return [int(number) for number in children.split()]


def _end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# With three ranks a sum depends on its order.
SEVERAL = {"two ranks": (2, RESNET), **({"three ranks": (3, (*VIT[:2], "--mixer", "mixup"))} if PROOF else {})}


@pytest.mark.parametrize(("world", "method"), SEVERAL.values(), ids=SEVERAL)
def test_several_ranks_stop_and_go_on_as_if_nothing_had_been(world, method, server, flowers_store, tmp_path):
    options = (*method, "--epochs", 3, "--checkpoint-every", 2, "--set", "optim.accumulate=2")
    whole = _train(server, flowers_store, tmp_path / "whole", world, *options)
    rows = _rows(whole)
    assert len(rows) == 3
    if method is RESNET:
        assert all(row["local"] > 0 and row["contrast"] > 0 and 0 < row["mixed"] < 1 for row in rows)

    parts = tmp_path / "parts"
    command = _command(flowers_store, parts, world, *options, "--resume", "auto")
    for _ in range(2 if PROOF else 1):
        process, began = _start(command, tmp_path), time.time()
        try:
            _until(partial(_saved_since, began, parts / "last.pt"), process)
            os.kill(process.pid, signal.SIGTERM)  # torchrun passes it on
            stderr = process.communicate(timeout=60)[1]
        finally:
            _end(process)
        assert stderr.count("interrupted; saved after step") == 1
    _train(server, flowers_store, parts, world, *options, "--resume", "auto")
    for row, expected in zip(_rows(parts), rows, strict=True):
        # A checkpoint adds the sums of the ranks up sooner: the last digit of a mean may differ.
        assert row == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(_weights(parts), _weights(whole), atol=0, rtol=0)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks in /proc")
def test_a_killed_rank_ends_the_job_within_a_minute_with_a_clear_error(flowers_store, tmp_path):
    out = tmp_path / "run"
    process = _start(_command(flowers_store, out, 2, *RESNET, "--epochs", 10_000), tmp_path)
    try:
        _until(lambda: (out / "metrics.csv").exists(), process)
        os.kill(_ranks_of(process)[1], signal.SIGKILL)
        stderr = process.communicate(timeout=60)[1]
    finally:
        _end(process)
    assert process.returncode != 0
    assert "lost the connection to the other processes" in stderr or "SIGKILL" in stderr
    assert torch.load(out / "last.pt", weights_only=True)["format"] == 1  # whole
