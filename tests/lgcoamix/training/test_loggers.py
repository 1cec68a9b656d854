"""TensorBoard and Weights & Biases hold what the tables hold, also after a run went on."""

import csv
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import ROOT, Run

SMALL = ("--backbone", "resnet10t", "--weights", "none", "--image-size", "32", "--batch-size", "12", "--device", "cpu")
COMMON = (*SMALL, "--epochs", 3, "--workers", 0, "--mixer", "lgcoamix", "--set", "mixer.mix_prob=1")


@pytest.fixture(scope="module")
def folder(run: Run, flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both logs, offline, which was stopped after its first epoch and went on."""
    out = tmp_path_factory.mktemp("logs") / "run"
    command = (ROOT / "train.py", "--shards", flowers_store, *COMMON, "--wandb", "flowers", "--out", out)
    # The run is cut after its first epoch by the very exception that an interrupted one raises.
    script = (
        "import sys, signal, runpy, os\n"
        "from lgcoamix.training.trainer import Trainer\n"
        "finish = Trainer._finish_epoch\n"
        "def stop(self, row, *rest):\n"
        "    finish(self, row, *rest)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "Trainer._finish_epoch = stop\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    environment = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    stopped = run("-c", script, *command, **environment)
    assert stopped.returncode == 143, stopped.stderr
    done = run(*command, "--resume", "auto", **environment)
    assert done.returncode == 0, done.stderr
    assert "resuming after step 1 of epoch 2" in done.stderr
    return out


def test_tensorboard_has_every_figure_of_every_epoch_once(folder):
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in set(rows[0]) - {"epoch"}:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(int(row["epoch"]), pytest.approx(float(row[name]), rel=1e-6, abs=1e-6)) for row in rows]
        assert found == expected, name
    assert [event.step for event in events.Scalars("images_per_second")] == [0, 1, 2]


def test_tensorboard_shows_mixed_batches_and_the_curves(folder):
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {"mixed", "curves", "lambda"}
    assert {image.step for image in events.Images("mixed")} == {0, 1, 2}
    assert all(image.width > 300 for image in events.Images("mixed"))


def test_weights_and_biases_keeps_one_run_in_the_run_folder(folder):
    runs = list((folder / "wandb").glob("offline-run-*"))
    name = (folder / ".wandb-id").read_text()
    assert runs
    assert all(path.name.endswith(name) for path in runs)
    assert all(list(path.glob("*.wandb")) for path in runs)


def test_without_weights_and_biases_the_error_says_what_to_install(run, flowers_store, tmp_path):
    (tmp_path / "wandb.py").write_text("raise ImportError('not here')\n")
    command = (ROOT / "train.py", "--shards", flowers_store, *COMMON, "--wandb", "x", "--out", tmp_path / "run")
    done = run(*command, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 1
    assert "pip install 'lgcoamix[wandb]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_tensorboard_nothing_is_written_for_it(run, flowers_store, tmp_path):
    command = (ROOT / "train.py", "--shards", flowers_store, *SMALL, "--epochs", 1, "--workers", 0, "--mixer", "none")
    done = run(*command, "--no-tensorboard", "--out", tmp_path / "run", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run" / "tensorboard").exists()
