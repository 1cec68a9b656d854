"""What a user's type checker sees: every public name, with its types. Read by ``make lint``, and run by a test.

It runs in a folder with ``data/cub.h5``. ``assert_type`` fails for a checker that sees another type, or Any.
"""

import tempfile
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import lgcoamix
from lgcoamix import (
    MIXERS,
    RECIPES,
    AttentiveCutMix,
    Augment,
    Batch,
    CutMix,
    Cutout,
    DataSettings,
    Decoder,
    EpochBatches,
    LGCOAMix,
    LiveDataset,
    LocalGlobalNet,
    Mixer,
    Mixup,
    OcCaMix,
    ResidentDataset,
    Settings,
    SnapMix,
    SuperpixelDataset,
    SuperpixelGrid,
    View,
    hold_out,
    local_contrast,
    local_cross_entropy,
    make_loader,
    make_mixer,
    mixed_cross_entropy,
    pool_superpixels,
    region_areas,
)
from preprocess import (
    ALGORITHMS,
    DATASETS,
    Algorithm,
    Scale,
    Store,
    adjusted_rand_index,
    build_store,
    choose_scales,
    felzenszwalb,
    grid,
    slic,
    slic_multiscale,
    slico,
    watershed,
)


def superpixels() -> None:
    """Segment an image, and compare the maps."""
    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    ids = assert_type(slic(image, 4), np.ndarray)
    assert_type(slico(image, 4, compactness=1), np.ndarray)
    assert_type(watershed(image, 4), np.ndarray)
    assert_type(felzenszwalb(image, 4), np.ndarray)
    assert_type(slic_multiscale(image, (4, 9)), np.ndarray)
    assert_type(adjusted_rand_index(ids, grid(image, 4)), float)
    algorithm = assert_type(ALGORITHMS["grid"], Algorithm)
    assert_type(algorithm.segment(image, (4,), None), np.ndarray)
    assert_type(choose_scales(range(30, 41), (224, 224), most=4), tuple[Scale, ...])


def stores() -> None:
    """Read a store, and build one from arrays."""
    store = Store("data/cub.h5")
    assert_type(store.images("train", [0, 1]), np.ndarray | list[np.ndarray])
    assert_type(store.maps("train", 4, np.arange(2)), np.ndarray | list[np.ndarray])
    assert_type(store.labels("train"), np.ndarray)
    assert_type(store.classes, tuple[str, ...])
    assert_type(store.scales[0].weight, float)
    assert_type(DATASETS["cub"].licence, str)
    pictures = [(np.full((32, 32, 3), shade, np.uint8), shade // 128) for shade in range(0, 256, 32)]
    with tempfile.TemporaryDirectory() as folder:
        assert_type(build_store(pictures, f"{folder}/shades.h5", size=16, algorithm="grid", jobs=1), Store)


def data() -> None:
    """Read samples and batches."""
    view = View(DataSettings(image_size=12, crop="random"), train=True)
    dataset = SuperpixelDataset(Path("data/cub.h5"), "train", view)
    assert_type(dataset[0], tuple[Any, ...])
    assert_type(Augment.named("light"), Augment)
    live: SuperpixelDataset = LiveDataset(dataset.store, "train", view)
    assert_type(len(LiveDataset(Path("data/cub.h5"))), int)
    resident = ResidentDataset(dataset, "cpu")
    assert_type(len(live) + len(resident), int)
    order = EpochBatches(len(dataset), batch_size=4, seed=0)
    loader = assert_type(make_loader(dataset, order, workers=0), DataLoader[Batch])
    batch: Batch = next(iter(loader))
    assert_type(batch.images, Tensor)
    assert_type(batch.maps, Tensor | None)
    assert_type(batch.inputs(), Tensor)
    assert_type(hold_out(dataset.store.labels("train"), share=0.4), tuple[np.ndarray, np.ndarray])


def mixing() -> None:
    """Mix a batch with every method, in a loop of one's own and in timm's."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
    mixed = make_mixer("cutmix", alpha=0.5)(images, labels, generator=generator)
    assert_type(mixed.images, Tensor)
    assert_type(mixed.lam, Tensor)
    assert_type(mixed.soft_targets(num_classes=4), Tensor)
    assert_type(MIXERS["mixup"], type[Mixer])
    assert_type(CutMix(alpha=0.5).alpha, float)
    assert_type(Mixup().as_timm(4, generator=generator)(images, labels), tuple[Tensor, Tensor])
    methods: list[Mixer] = [AttentiveCutMix(), Cutout(), LGCOAMix(mix_prob=0.5), OcCaMix(), SnapMix(), SuperpixelGrid()]
    assert_type([method.needs_maps for method in methods], list[bool])
    loss = mixed_cross_entropy(torch.zeros(4, 4), mixed.labels_a, mixed.labels_b, mixed.weight_a, mixed.weight_b)
    assert_type(loss, Tensor)


def networks() -> None:
    """Pool the features of superpixels, classify them, and compute the local losses."""
    regions = (torch.arange(32) // 8).expand(2, 32, 32)
    decoder = Decoder(channels=[16, 32], reductions=[2, 4], width=8)
    features = assert_type(decoder.forward([torch.rand(2, 16, 16, 16), torch.rand(2, 32, 8, 8)], (32, 32)), Tensor)
    assert_type(pool_superpixels(features, regions, count=4), Tensor)
    areas = assert_type(region_areas(regions, count=4), Tensor)
    network = LocalGlobalNet("resnet18_cifar", num_classes=10, width=16)
    output = network.forward(torch.rand(2, 3, 32, 32), regions, count=4)
    assert_type(output.logits, Tensor)
    if output.local is not None:
        of_regions = torch.zeros(2, 4, dtype=torch.int64)
        assert_type(local_cross_entropy(output.local.logits, of_regions, areas > 0), Tensor)
        assert_type(local_contrast(output.local.logits.flatten(0, 1), of_regions.flatten()), Tensor)


def settings() -> None:
    """Read the settings of a recipe, and change them."""
    changed = RECIPES["cub-resnet18"].settings.with_method("cutmix").with_assignments(("optim.lr=0.1",))
    assert_type(changed, Settings)
    assert_type(changed.optim.lr, float)
    assert_type(changed.data, DataSettings)
    assert_type(lgcoamix.__version__, str)


if __name__ == "__main__":
    for part in (superpixels, stores, data, mixing, networks, settings):
        part()
