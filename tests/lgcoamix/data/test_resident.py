"""The resident data set gives what the streaming one gives, bit for bit."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lgcoamix.data import ResidentDataset, RunBatches, SuperpixelDataset, View, make_loader
from lgcoamix.data.resident import resident_bytes
from lgcoamix.errors import RunError
from lgcoamix.settings.sections import DataSettings
from preprocess.build.settings import BuildSettings
from preprocess.cli import main as preprocess
from preprocess.store import Store
from preprocess.superpixels import Scale
from tests.preprocess.conftest import build_here

WIDE = BuildSettings("folder", (Scale(300, 1.0),), size=32)
CPU = torch.device("cpu")
VIEWS = {
    "resized": View(DataSettings(image_size=40, crop="resized", scale=(0.2, 1)), train=True),
    "random": View(DataSettings(image_size=48, crop="random"), train=True),
    "padded": View(DataSettings(image_size=64, crop="pad", padding=9), train=True),
    "test, smaller": View(DataSettings(image_size=48), train=False),
    "test, larger": View(DataSettings(image_size=80), train=False),
    "test, centre": View(DataSettings(image_size=48, test="center"), train=False),
    "as stored": None,
}


@pytest.fixture(scope="module")
def store(flowers_store) -> Store:
    return Store(flowers_store)


@pytest.fixture(params=["OpenCV", "torch"], autouse=True)
def library(request, monkeypatch):
    """On a CPU OpenCV crops one by one; where it is missing, torch does so in batches, as on a GPU."""
    if request.param == "torch":
        monkeypatch.setattr(ResidentDataset, "_crops_here", lambda self: False)


def test_a_device_may_be_named(store):
    image, _, label = ResidentDataset(SuperpixelDataset(store, "train"), "cpu")[5]
    expected = SuperpixelDataset(store, "train")[5]
    assert torch.equal(image, expected[0])
    assert label == expected[2]


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("subset", [None, np.array([35, 2, 20, 3, 9, 30])], ids=["all", "subset"])
def test_both_give_the_same_samples_and_pixels_in_the_same_order(view, subset, store):
    source = SuperpixelDataset(store, "train", view, seed=3, subset=subset)
    batches = RunBatches(len(source), 5, seed=3)
    for epoch in range(3):
        batches.epoch = epoch
        streamed = list(make_loader(source, batches, workers=0))
        resident = list(make_loader(ResidentDataset(source, CPU), batches, workers=0))
        assert len(streamed) == len(resident) == len(batches)
        for one, other in zip(streamed, resident, strict=True):
            assert one.samples.tolist() == other.samples.tolist()
            assert one.labels.tolist() == other.labels.tolist()
            assert torch.equal(one.images, other.images)
            assert one.maps.dtype == other.maps.dtype
            assert torch.equal(one.maps, other.maps)
            assert one.count == other.count


def test_without_maps_none_are_held(store):
    source = SuperpixelDataset(store, "train", VIEWS["random"], seed=3, maps=False)
    batch = ResidentDataset(source, CPU).__getitems__([(0, 0), (0, 7)])
    assert batch.maps is None
    assert torch.equal(batch.images, source.__getitems__([(0, 0), (0, 7)]).images)


def test_the_memory_it_takes_is_foretold(store):
    # 36 images of 64x64 pixels: three bytes a pixel, and one for each of two scales.
    assert resident_bytes(SuperpixelDataset(store, "train", VIEWS["random"])) == 36 * 64 * 64 * 5
    assert resident_bytes(SuperpixelDataset(store, "train", VIEWS["random"], maps=False)) == 36 * 64 * 64 * 3


def test_maps_of_two_bytes_are_the_same_too(painted, tmp_path):
    # A bound of more than 255 segments is stored in two bytes.
    store = Store(build_here(painted, tmp_path / "wide.h5", WIDE).path)
    assert store.map_dtype == np.uint16
    source = SuperpixelDataset(store, "train", View(DataSettings(image_size=32, crop="pad"), train=True))
    one, other = (
        source.__getitems__([(1, place) for place in range(10)]),
        ResidentDataset(source, CPU).__getitems__([(1, place) for place in range(10)]),
    )
    assert other.maps.dtype == torch.uint16
    assert torch.equal(one.maps.int(), other.maps.int())
    assert torch.equal(one.images, other.images)


def test_images_of_their_own_sizes_cannot_be_resident(painted, tmp_path):
    options = ("--segments", 4, "--jobs", 1, "--resize", "none", "--codec", "png")
    built = CliRunner().invoke(
        preprocess, list(map(str, ("build", "folder", "--root", painted, "--out", tmp_path / "varied.h5", *options)))
    )
    assert built.exit_code == 0, built.output
    store = Store(tmp_path / "varied.h5")
    source = SuperpixelDataset(store, "train", View(DataSettings(image_size=32), train=True))
    with pytest.raises(RunError, match="different sizes; use --loader streaming"):
        ResidentDataset(source, CPU)
