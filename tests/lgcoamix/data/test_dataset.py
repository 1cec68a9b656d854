"""Samples of a store: image, map and label belong together, and are functions of (seed, epoch, sample)."""

import pickle
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset, default_collate, random_split

from lgcoamix.data import EpochBatches, LiveDataset, RunBatches, SuperpixelDataset, View, make_loader
from lgcoamix.data.transforms import show_map, show_window
from lgcoamix.mixing import Batch
from lgcoamix.settings.sections import DataSettings
from preprocess import build_store
from preprocess.extras import explain
from preprocess.store import Store
from tests.conftest import PROOF

EPOCH = 3


@pytest.fixture(scope="module")
def store(flowers_store) -> Store:
    return Store(flowers_store)


def _dataset(store: Store, **options: object) -> SuperpixelDataset:
    view = View(DataSettings(image_size=32, crop="resized"), train=True)
    return SuperpixelDataset(store, "train", view, **{"seed": 7, **options})


def _epoch(dataset: SuperpixelDataset, workers: int, start: str | None = None, epoch: int = EPOCH) -> list[Batch]:
    batches = RunBatches(len(dataset), 8, seed=7)
    batches.epoch = epoch
    return list(make_loader(dataset, batches, workers, start=start))


def _equal(left: list[Batch], right: list[Batch]) -> bool:
    return all(
        torch.equal(a.images, b.images)
        and torch.equal(a.maps, b.maps)
        and torch.equal(a.labels, b.labels)
        and torch.equal(a.samples, b.samples)
        for a, b in zip(left, right, strict=True)
    )


def test_a_sample_is_what_the_store_holds(store):
    dataset = SuperpixelDataset(store, "train")
    assert len(dataset) == 36
    for place, key in enumerate(store.keys("train")):
        image, ids, label = dataset[place]
        np.testing.assert_array_equal(image.permute(1, 2, 0), store.images("train", [place])[0])
        candidates = [store.maps("train", segments, [place])[0] for segments in (12, 30)]
        assert any(np.array_equal(ids, candidate) for candidate in candidates)
        assert store.classes[label] == key.split("/")[1]


def test_a_batch_holds_the_samples_in_the_order_asked_for(store):
    dataset = _dataset(store)
    indices = [(2, 30), (0, 4), (2, 4), (2, 17)]
    batch = dataset.__getitems__(indices)
    assert batch.samples.tolist() == [30, 4, 4, 17]
    assert batch.images.shape == (4, 3, 32, 32)
    assert batch.images.dtype == torch.uint8
    for row, index in enumerate(indices):
        image, ids, label = dataset[index]
        assert torch.equal(batch.images[row], image)
        assert torch.equal(batch.maps[row], ids)
        assert int(batch.labels[row]) == label
    assert not torch.equal(batch.images[1], batch.images[2])  # the same sample in two epochs


def test_the_count_bounds_every_id_of_the_store(store):
    ids = [
        store.maps(split, segments, range(len(store.splits[split])))
        for split in ("train", "test")
        for segments in (12, 30)
    ]
    batch = SuperpixelDataset(store, "test").__getitems__([0, 1])
    assert batch.count == max(int(part.max()) for part in ids) + 1


def test_a_subset_keeps_its_samples_and_their_labels(store):
    dataset = _dataset(store, subset=np.array([35, 2, 20]))
    assert dataset.labels.tolist() == store.labels("train")[[35, 2, 20]].tolist()
    batch = dataset.__getitems__([(EPOCH, 0), (EPOCH, 1), (EPOCH, 2)])
    assert len(dataset) == 3
    assert batch.samples.tolist() == [35, 2, 20]
    assert batch.labels.tolist() == store.labels("train")[[35, 2, 20]].tolist()
    # The augmentation belongs to the sample, not to its place.
    assert torch.equal(batch.images[1], _dataset(store)[(EPOCH, 2)][0])


@pytest.mark.parametrize("workers", [0, 2])
def test_any_loader_gives_tensors_that_are_new_in_every_epoch_and_repeatable(store, workers):
    def epochs(seed: int) -> list[list[torch.Tensor]]:
        torch.manual_seed(seed)
        loader = DataLoader(_dataset(store), batch_size=8, num_workers=workers)
        return [[torch.cat(parts) for parts in zip(*loader, strict=True)] for _ in range(2)]

    one, two = epochs(0)
    images, maps, labels = one
    assert (images.shape, images.dtype) == ((36, 3, 32, 32), torch.uint8)
    assert maps.shape == (36, 32, 32)
    assert labels.tolist() == store.labels("train").tolist()
    changed = [(a != b).flatten(1).any(dim=1) for a, b in zip(one[:2], two[:2], strict=True)]
    assert all(float(part.float().mean()) > 0.9 for part in changed)
    again, other = epochs(0), epochs(1)
    assert all(torch.equal(a, b) for a, b in zip([*one, *two], [*again[0], *again[1]], strict=True))
    assert not torch.equal(other[0][0], images)


def test_every_worker_draws_its_own(store):
    # Each of two workers reads the same sample first.
    loader = DataLoader(_dataset(store), sampler=[0, 0, 0, 0], num_workers=2)
    images = [images for images, _, _ in loader]
    assert not any(torch.equal(images[a], images[b]) for a in range(4) for b in range(a))


def test_image_and_map_go_through_one_window(store):
    torch.manual_seed(3)
    dataset = _dataset(store)
    batch = dataset.__getitems__(range(36))
    torch.manual_seed(3)
    draws = dataset.draw(range(36))
    windows = dataset.view.windows([(64, 64)] * 36, draws.uniforms)
    assert set(draws.scales.tolist()) == {0, 1}
    for row in range(36):
        segments = store.scales[draws.scales[row]].segments
        stored = store.maps("train", segments, [row])[0]
        assert np.array_equal(batch.maps[row], show_map(stored, windows[row], 32, store.sentinel))
        assert np.array_equal(
            batch.images[row].permute(1, 2, 0), show_window(store.images("train", [row])[0], windows[row], 32)
        )


def test_evaluation_without_maps_leaves_the_generator_alone(store):
    dataset = SuperpixelDataset(store, "test", View(DataSettings(image_size=32), train=False), maps=False)
    before = torch.get_rng_state()
    images, labels = default_collate(dataset.__getitems__([0, 1]))
    assert images.shape == (2, 3, 32, 32)
    assert labels.shape == (2,)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_part_and_a_sum_of_data_sets_are_read_as_well(store):
    torch.manual_seed(0)
    dataset = _dataset(store)
    part, _ = random_split(dataset, [12, 24])
    for some, count in ((part, 12), (Subset(dataset, [3, -1]), 2), (ConcatDataset([dataset, dataset]), 72)):
        images, maps, labels = zip(*DataLoader(some, batch_size=5), strict=True)
        assert sum(map(len, images)) == sum(map(len, maps)) == sum(map(len, labels)) == count


@pytest.mark.parametrize("indices", [[36], [(0, 36)], [(0, 1), (0, -37)], [3, -37]])
def test_a_batch_with_an_index_out_of_range_is_an_index_error(store, indices):
    with pytest.raises(IndexError, match=r"index -?3[67] is out of range for 36 samples"):
        _dataset(store).__getitems__(indices)


def test_without_maps_the_images_are_the_same(store):
    batch = _dataset(store, maps=False).__getitems__([(1, 5), (1, 6)])
    assert batch.maps is None
    assert batch.count == 0
    assert torch.equal(batch.images, _dataset(store).__getitems__([(1, 5), (1, 6)]).images)


@pytest.mark.parametrize("index", [36, -37])
def test_an_index_out_of_range_is_an_index_error(store, index):
    with pytest.raises(IndexError, match="36 samples"):
        _dataset(store)[index]


@pytest.mark.parametrize("index", [1.5, "3", True, (0, 1, 2), slice(0, 3), None, ((0, 1), (0, 2))])
def test_an_index_is_a_position_or_a_pair(store, index):
    with pytest.raises(IndexError, match=r"expected positions, or pairs \(epoch, position\)"):
        _dataset(store)[index]


def test_a_batch_of_nothing_is_an_error(store):
    with pytest.raises(IndexError, match=r"expected positions, .* got \[\]; a batch holds at least one"):
        _dataset(store).__getitems__([])


def test_an_order_of_batches_in_the_place_of_one_of_samples_is_an_error(store):
    dataset = _dataset(store)
    with pytest.raises(IndexError, match=r"expected positions, or pairs .*; pass an EpochBatches as batch_sampler="):
        next(iter(DataLoader(dataset, batch_size=4, sampler=EpochBatches(len(dataset), 8, seed=201))))


def test_whole_numbers_of_numpy_and_torch_are_indices(store):
    dataset = _dataset(store)
    for indices in (np.array([3, 1]), torch.tensor([3, 1]), [torch.tensor(3), np.int32(1)], range(3, 0, -2)):
        assert dataset.__getitems__(indices).samples.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        (np.ones(36, dtype=bool), r"got \(36,\) bool; pass numpy.flatnonzero\(mask\)"),
        ([0.5], r"got \(1,\) float64"),
        ([[0, 1]], r"got \(1, 2\) int64"),
        ([3, -1], "from 0 to 35, got -1"),
        ([36], "from 0 to 35, got 36"),
    ],
)
def test_a_subset_is_a_list_of_sample_numbers(store, subset, message):
    with pytest.raises(ValueError, match=message):
        _dataset(store, subset=subset)


@pytest.mark.parametrize("kind", [SuperpixelDataset, LiveDataset])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": DataSettings(image_size=32)}, r"such as View\(DataSettings\(image_size=64\), train=True\), got Data"),
        ({"view": 32}, r"such as View\(DataSettings\(image_size=64\), train=True\), got 32"),
        ({"seed": "x"}, "seed must be an integer, got 'x'"),
        ({"seed": None}, "seed must be an integer, got None"),
        ({"seed": True}, "seed must be an integer, got True"),
    ],
)
def test_arguments_of_another_kind_are_refused(store, kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(store, "train", **options)


@pytest.mark.parametrize(
    ("resize", "side", "message"),
    [("short", 24, None), ("short", 25, "25 is larger than the 24 pixels"), ("none", 20, "have various sizes")],
)
@pytest.mark.parametrize("train", [True, False])
def test_a_crop_may_not_lie_beyond_images_of_various_sizes(train, resize, side, message, tmp_path):
    pictures = [(np.full(shape, 200, np.uint8), 0) for shape in ((40, 60, 3), (90, 120, 3))]
    size = 24 if resize == "short" else None
    options = {"algorithm": "grid", "segments": 4, "jobs": 1, "resize": resize, "size": size, "codec": "png"}
    store = build_store({"train": pictures}, tmp_path / "x.h5", **options)
    view = View(DataSettings(image_size=side, crop="random", test="center"), train)
    if message is None:
        assert all((image == 200).all() for image, _, _ in SuperpixelDataset(store, "train", view))
        return
    with pytest.raises(ValueError, match=message):
        SuperpixelDataset(store, "train", view)
    resized = View(DataSettings(image_size=side, crop="resized", test="resize"), train)
    assert all((image == 200).all() for image, _, _ in SuperpixelDataset(store, "train", resized))


@pytest.mark.parametrize(
    ("settings", "train", "message"),
    [
        (
            {"image_size": 65, "crop": "random"},
            True,
            r"65 is larger than the 64 pixels .* DataSettings\(crop='resized'\)",
        ),
        ({"image_size": 73, "crop": "pad"}, True, r"73 is larger than the 64 pixels .* DataSettings\(crop='resized'\)"),
        ({"image_size": 65, "test": "center"}, False, r"65 is larger .* DataSettings\(test='resize'\), or a store of"),
        ({"image_size": 72, "crop": "pad"}, True, None),  # with a border of four
        ({"image_size": 65, "crop": "random"}, False, None),
        ({"image_size": 65, "test": "center"}, True, None),
    ],
)
def test_a_crop_beyond_the_images_is_refused(store, settings, train, message):
    view = View(DataSettings(**settings), train)
    if message is None:
        side = settings["image_size"]
        assert SuperpixelDataset(store, "train", view)[0][0].shape == (3, side, side)
        return
    with pytest.raises(ValueError, match=message):
        SuperpixelDataset(store, "train", view)


def test_a_subset_in_the_place_of_maps_is_refused(store):
    with pytest.raises(ValueError, match=r"maps must be True or False, got \[3, 4\]"):
        SuperpixelDataset(store, "train", None, 0, [3, 4])


def test_a_seed_of_numpy_is_the_same_seed(store):
    one, other = (_dataset(store, seed=seed).__getitems__([(1, 5)]) for seed in (np.int32(7), 7))
    assert torch.equal(one.images, other.images)


def test_seeds_and_epochs_augment_apart(store):
    first, again = _dataset(store)[(1, 0)], _dataset(store)[(1, 0)]
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], _dataset(store)[(2, 0)][0])
    assert not torch.equal(first[0], _dataset(store, seed=8)[(1, 0)][0])


def test_the_scale_is_drawn_by_the_weights_of_the_store(flowers_store):
    store = Store(flowers_store)
    scales = tuple(replace(scale, weight=weight) for scale, weight in zip(store.scales, (0.2, 0.8), strict=True))
    store.superpixels = replace(store.superpixels, scales=scales)
    dataset, epochs = SuperpixelDataset(store, "train", seed=1), 100 if PROOF else 25
    coarse, total = 0, 36 * epochs
    maps = torch.from_numpy(store.maps("train", 12, range(36)))
    for epoch in range(epochs):
        batch = dataset.__getitems__([(epoch, place) for place in range(36)])
        coarse += int((batch.maps == maps).flatten(1).all(dim=1).sum())
    assert abs(coarse - 0.2 * total) < 4 * (total * 0.2 * 0.8) ** 0.5


def test_the_scale_does_not_depend_on_the_crop(store):
    # Both are drawn from the seed of the sample; with streams of their own they are independent.
    plain = SuperpixelDataset(store, "train", seed=7)
    flips = View(DataSettings(image_size=64, crop="random", flip=0.5), train=True)
    moved = SuperpixelDataset(store, "train", flips, seed=7)
    coarse = store.maps("train", 12, range(36))
    table = np.zeros((2, 2))
    for epoch in range(20):
        indices = [(epoch, place) for place in range(36)]
        still, turned = plain.__getitems__(indices), moved.__getitems__(indices)
        drawn = [np.array_equal(ids, coarse[place]) for place, ids in enumerate(still.maps)]
        flipped = (still.images != turned.images).flatten(1).any(dim=1).tolist()
        np.add.at(table, (np.array(drawn, int), np.array(flipped, int)), 1)
    expected = table.sum(0) * table.sum(1)[:, None] / table.sum()
    assert ((table - expected) ** 2 / expected).sum() < 10.8  # chi-square, one degree of freedom: 0.1 %


def test_workers_and_how_they_start_change_nothing(store):
    dataset = _dataset(store)
    here = _epoch(dataset, 0)
    assert sum(len(batch.labels) for batch in here) == 36
    for workers, start in ((1, "fork"), (2, "fork"), *([(1, "spawn"), (2, "spawn")] if PROOF else [])):
        assert _equal(_epoch(dataset, workers, start), here), f"{workers} workers by {start}"
    assert not _equal(_epoch(dataset, 0, epoch=EPOCH + 1), here)
    # What spawn sends to a worker, without the seconds of a new interpreter.
    loader = make_loader(dataset, RunBatches(36, 8, seed=7), workers=1)
    sent = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn, loader.worker_init_fn)))
    some = [(EPOCH, 0), (EPOCH, 1)]
    assert _equal([sent[1](sent[0].__getitems__(some))], [dataset.__getitems__(some)])


def test_workers_that_persist_see_the_next_epoch(store):
    dataset, batches = _dataset(store), RunBatches(36, 8, seed=7)
    loader = make_loader(dataset, batches, workers=1, start="fork")
    for epoch in (0, 1):
        batches.epoch = epoch
        assert _equal(list(loader), _epoch(dataset, 0, epoch=epoch))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("source", ["raise ImportError('libGL.so.1')", "x = {}['y']"])
def test_a_broken_opencv_is_told_before_a_run_has_a_folder(source, workers, flowers_store, tmp_path, monkeypatch):
    for name in ("cv2", "lgcoamix.data.transforms"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "cv2.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    dataset = SuperpixelDataset(flowers_store, "train", View(DataSettings(image_size=12), train=True))
    with pytest.raises((ImportError, KeyError)) as caught:
        make_loader(dataset, EpochBatches(len(dataset), 4, seed=0), workers)
    assert "opencv-python-headless (cv2), which is installed but does not import" in explain(caught.value)
