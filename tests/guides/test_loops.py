"""The scripts of ``lgcoamix/LOOPS.md`` as they stand, with the real libraries, in one process and in two over gloo."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import PROOF, ROOT
from tests.guides.follow import SURROUNDINGS
from tests.lgcoamix.nursery import Nursery

TEXT = (ROOT / "lgcoamix" / "LOOPS.md").read_text()
SCRIPTS = {part.split("\n")[0]: re.findall(r"```python\n(.*?)```", part, re.DOTALL) for part in TEXT.split("\n## ")[1:]}
# Written before each script: every process notes the samples that it reads, and the epoch if it knows it.
NOTES = """
import json as _json, os as _os
from lgcoamix import SuperpixelDataset as _Dataset
_read = _Dataset.__getitems__
def _noted(self, indices):
    batch, indices = _read(self, indices), list(indices)
    epochs = [index[0] if isinstance(index, tuple) else None for index in indices]
    with open(f"read-{_os.environ.get('LOCAL_RANK', '0')}.txt", "a") as file:
        file.write(_json.dumps(list(zip(epochs, batch.samples.tolist()))) + "\\n")
    return batch
_Dataset.__getitems__ = _noted
"""


@pytest.fixture
def home(tmp_path: Path, flowers_store: Path) -> Path:
    """A folder with ``data/photos.h5``: 36 training images of three classes."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "photos.h5").symlink_to(flowers_store)
    return tmp_path


class Start:
    """Runs a script in ``home``, in one process or in two."""

    def __init__(self, home: Path, nursery: Nursery) -> None:
        self.home, self.nursery = home, nursery

    def __call__(self, script: str, processes: int = 1) -> str:
        """Fork a process that has imported torch, with the variables that torchrun sets; give what the first prints."""
        (self.home / "loop.py").write_text(NOTES + script)
        where = {"script": self.home / "loop.py", "cwd": self.home, "CUDA_VISIBLE_DEVICES": ""}
        done = self.nursery.finish_ranks(2, **where) if processes == 2 else [self.nursery.finish(**where)]
        for training in done:
            _nothing_is_warned(training.told())
        return done[0].out.read_text()

    def launched(self, script: str, processes: int, by_torchrun: bool) -> None:
        """Start it as a user does: with torchrun, or with Lightning, which starts the second process by itself."""
        (self.home / "loop.py").write_text(NOTES + script)
        start = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}"] if by_torchrun else []
        done = subprocess.run(
            [sys.executable, *start, "loop.py"],
            cwd=self.home,
            env={**os.environ, **SURROUNDINGS, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        _nothing_is_warned(done.stderr)


@pytest.fixture
def start(home: Path, nursery: Nursery) -> Start:
    return Start(home, nursery)


def _nothing_is_warned(told: str) -> None:
    for text in ("begins again", "reads every sample", "was set while"):
        assert text not in told


def _reads(home: Path, processes: int) -> list[list[list[tuple[int, int]]]]:
    """For every process the (epoch, sample) pairs of its batches."""
    files = sorted(home.glob("read-*.txt"))
    assert len(files) == processes
    return [[list(map(tuple, json.loads(line))) for line in path.read_text().splitlines()] for path in files]


def test_each_kind_of_loader_gives_batches(start):
    for script in SCRIPTS["Which loader"]:
        start(script)


@pytest.mark.parametrize(("processes", "launched"), [(1, False), (2, False), (2, True)] if PROOF else [(2, False)])
@pytest.mark.parametrize("name", ["Plain PyTorch", "Lightning", "Accelerate"])
def test_the_processes_see_every_sample_once_an_epoch(name, processes, launched, home, start):
    (script,) = SCRIPTS[name]
    script = script.replace('devices="auto"', f'devices={processes}, accelerator="cpu"')
    if launched:
        start.launched(script, processes, by_torchrun=name != "Lightning")
    else:
        start(script, processes)
    reads = _reads(home, processes)
    assert Counter(pair for process in reads for batch in process for pair in batch) == {
        (epoch, sample): 1 for epoch in (0, 1) for sample in range(36)
    }
    # 16 a batch, of all processes together: three batches an epoch, whose last has four.
    assert [[len(batch) for batch in process] for process in reads] == [
        [16 // processes, 16 // processes, 4 // processes] * 2
    ] * processes


@pytest.mark.parametrize("processes", [1, 2] if PROOF else [2])
def test_lightning_goes_on_with_the_next_epoch_after_a_checkpoint(processes, home, start):
    """34 images are three batches for one process and two for two: a rest of two joins the batch before it."""
    (script,) = SCRIPTS["Lightning"]
    head = script.split('if __name__ == "__main__":')[0].replace("EpochBatches(len(dataset),", "EpochBatches(34,")
    options = f'devices={processes}, accelerator="cpu", strategy="ddp_find_unused_parameters_true", logger=False'
    fits = f"""
    keep = lightning.pytorch.callbacks.ModelCheckpoint("kept", "last")
    lightning.Trainer(max_epochs=2, callbacks=[keep], {options}).fit(Classifier(3), Photos())
    lightning.Trainer(max_epochs=4, {options}).fit(Classifier(3), Photos(), ckpt_path="kept/last.ckpt")
"""
    start(head + 'if __name__ == "__main__":' + fits, processes)
    assert Counter(pair for process in _reads(home, processes) for batch in process for pair in batch) == {
        (epoch, sample): 1 for epoch in range(4) for sample in range(34)
    }


def test_a_loop_in_the_style_of_timm(home, start):
    (script,) = SCRIPTS["timm's training script"]
    assert "epoch 1: loss" in start(script)
    (batches,) = _reads(home, 1)
    assert Counter(pair for batch in batches for pair in batch) == {(None, sample): 2 for sample in range(36)}


PREPARED = """
import torch, warnings
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration
from torch.utils.data import DataLoader
from lgcoamix import EpochBatches, SuperpixelDataset

warnings.simplefilter("error", UserWarning)


class Indices(torch.utils.data.Dataset):
    def __len__(self):
        return 36

    def __getitem__(self, index):
        return index


accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(even_batches=False))
dataset = SuperpixelDataset("data/photos.h5", "train")
loader = accelerator.prepare(DataLoader(dataset, batch_sampler=EpochBatches(len(dataset), 5, 0)))
for epoch in range(2):
    for images, maps, labels in loader:
        assert images.shape[1:] == (3, 64, 64) and maps.shape[1:] == (64, 64)
options = DataLoaderConfiguration(dispatch_batches=True)
dispatched = Accelerator(cpu=True, dataloader_config=options).prepare(
    DataLoader(Indices(), batch_sampler=EpochBatches(36, 6, 3))
)
for epochs, positions in dispatched:  # read by the first process for all
    assert len(positions) == 6
twice = EpochBatches(len(dataset), 6, 1, accelerator.process_index, accelerator.num_processes)
try:
    next(iter(accelerator.prepare(DataLoader(dataset, batch_sampler=twice))))
except ValueError as error:
    assert "Accelerate divides the batches" in str(error)
else:
    raise AssertionError("divided twice")
try:
    next(iter(DataLoader(dataset, batch_sampler=EpochBatches(len(dataset), 6, 2))))
except UserWarning as warning:
    assert "each of 2 processes reads every sample: pass rank=" in str(warning)
else:
    raise AssertionError("not divided, without a word")
accelerator.end_training()
"""


def test_a_loader_that_accelerate_prepares_is_divided_once(home, start):
    start(PREPARED, processes=2)
    reads = _reads(home, 2)
    assert Counter(pair for process in reads for batch in process for pair in batch) == {
        (epoch, sample): 1 for epoch in (0, 1) for sample in range(36)
    }
