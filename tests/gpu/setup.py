"""Where the parts run and how large they are: on a GPU as in a training of today, else just large enough to run."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from lgcoamix.mixing import MIXERS, AttentiveCutMix, Batch, Mixer
from lgcoamix.settings.sections import ComputeSettings
from tests.benchmarks.common import open_mixer
from tests.gpu.day import LeftOut

METHODS = tuple(MIXERS)


@dataclass(frozen=True)
class Setup:
    """The same for all parts.

    Parameters
    ----------
    device : ``cuda`` or ``cpu``.
    quick : everything tiny, to try the path.
    store : CIFAR-10 as it was carried, or None.
    work : folder for scratch files.
    """

    device: str
    quick: bool
    store: Path | None
    work: Path

    @property
    def torch_device(self) -> torch.device:
        """The device."""
        return torch.device(self.device)

    @property
    def backbone(self) -> str:
        """The network that is timed."""
        return "test_resnet" if self.quick else "resnet50"

    @property
    def batch(self) -> int:
        """B of what is timed."""
        return 4 if self.quick else 64

    @property
    def side(self) -> int:
        """H and W of what is timed, in pixels."""
        return 32 if self.quick else 224

    @property
    def extractor(self) -> dict[str, object]:
        """Options of Attentive CutMix: its own network, or a tiny one."""
        return {"extractor": "test_byobnet"} if self.quick else {}

    def compute(self, compiled: bool = False) -> ComputeSettings:
        """How steps are computed where they are timed: bfloat16, channels last."""
        return ComputeSettings("bf16", compile=compiled)

    def mixer(self, name: str) -> Mixer:
        """A method with its gate open."""
        return open_mixer(name, **(self.extractor if MIXERS[name] is AttentiveCutMix else {}))


def store_of(setup: Setup) -> Path:
    """Where the carried store lies.

    Raises
    ------
    LeftOut : there is none, or nothing that reads it.
    """
    if setup.store is None:
        raise LeftOut("no store was carried: make gpu-wheels ROOT=... packs one")
    if find_spec("h5py") is None:
        raise LeftOut("h5py, which reads the store, is missing: make gpu-wheels GPU_PYTHON=... brings it")
    return setup.store


def squares(batch: int, side: int, cells: int = 6, classes: int = 10) -> Batch:
    """Noise with a grid of squares for superpixels: uint8 images, cells² regions; always the same."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.arange(side) * cells // side
    maps = (rows[:, None] * cells + rows[None, :]).to(torch.uint8).repeat(batch, 1, 1)
    images = torch.randint(256, (batch, 3, side, side), generator=draw, dtype=torch.uint8)
    return Batch(images, torch.arange(batch) % classes, maps, cells**2)
