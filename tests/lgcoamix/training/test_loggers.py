"""TensorBoard and Weights & Biases hold what the tables hold, also after a run went on."""

import csv
import io
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lgcoamix.cli import train
from preprocess.extras import PackageError
from tests.lgcoamix.nursery import Nursery

SMALL = (
    "--backbone",
    "test_resnet",
    "--weights",
    "none",
    "--image-size",
    "32",
    "--batch-size",
    "12",
    "--device",
    "cpu",
)
COMMON = (*SMALL, "--device", "cpu", "--epochs", 2, "--workers", 0, "--mixer", "lgcoamix", "--set", "mixer.mix_prob=1")


# The run stops after its first epoch by the very exception that an interrupted one raises.
STOPS = """
import os, runpy, signal
from lgcoamix.training.trainer import Trainer
finish = Trainer._finish_epoch
def stop(self, row, *rest):
    finish(self, row, *rest)
    os.kill(os.getpid(), signal.SIGTERM)
Trainer._finish_epoch = stop
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(nursery: Nursery, flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both logs, offline, which was stopped after its first epoch and resumed."""
    home = tmp_path_factory.mktemp("logs")
    (home / "stops.py").write_text(STOPS)
    command = ("--shards", flowers_store, *COMMON, "--wandb", "flowers", "--out", home / "run")
    environment = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    stopped = nursery.start(*command, script=home / "stops.py", **environment)
    assert stopped.wait() == 143, stopped.told()
    done = nursery.finish(*command, "--resume", "auto", **environment)
    assert "resuming after step 1 of epoch 2" in done.told()
    return home / "run"


def test_tensorboard_has_every_figure_of_every_epoch_once(folder):
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in set(rows[0]) - {"epoch"}:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        expected = [(int(row["epoch"]), pytest.approx(float(row[name]), rel=1e-6, abs=1e-6)) for row in rows]
        assert found == expected, name
    assert [event.step for event in events.Scalars("images_per_second")] == [0, 1]


def test_tensorboard_shows_mixed_batches_and_the_curves(folder):
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {"mixed", "curves", "lambda"}
    assert {image.step for image in events.Images("mixed")} == {0, 1}
    assert all(image.width > 300 for image in events.Images("mixed"))
    (curves,) = events.Images("curves")
    with Image.open(io.BytesIO(curves.encoded_image_string)) as small, Image.open(folder / "curves.png") as large:
        assert small.width / large.width == pytest.approx(110 / 300, rel=0.01)  # for a screen, and for print


def test_weights_and_biases_keeps_one_run_in_the_run_folder(folder):
    runs = list((folder / "wandb").glob("offline-run-*"))
    name = (folder / ".wandb-id").read_text()
    assert runs
    assert all(path.name.endswith(name) for path in runs)
    assert all(list(path.glob("*.wandb")) for path in runs)


def test_without_weights_and_biases_no_run_begins(flowers_store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # import raises ImportError
    done = _here(flowers_store, tmp_path / "run", "--wandb", "x")
    assert isinstance(done.exception, PackageError)
    assert str(done.exception).startswith("--wandb needs wandb, which the extra [wandb] brings")
    assert not (tmp_path / "run").exists()


def test_without_tensorboard_nothing_is_written_for_it(flowers_store, tmp_path):
    done = _here(flowers_store, tmp_path / "run", "--epochs", 1, "--no-tensorboard", "--no-pictures")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "run" / "results.json").exists()
    assert not (tmp_path / "run" / "tensorboard").exists()


def _here(store: Path, out: Path, *options: object) -> Result:
    return CliRunner().invoke(train, list(map(str, ("--shards", store, *COMMON, "--out", out, *options))))
