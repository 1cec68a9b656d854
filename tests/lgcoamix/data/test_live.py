"""Live maps: the shown image, segmented by the store's algorithm. Expected maps are scikit-image's, crop by crop."""

import csv
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from skimage import segmentation

from lgcoamix.cli import train
from lgcoamix.data import LiveDataset, ResidentDataset, RunBatches, SuperpixelDataset, View, make_loader
from lgcoamix.data.build import make_loaders
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.mixing import Batch
from lgcoamix.ops.distributed import Ranks
from lgcoamix.runs.compare import compare
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.sections import DataSettings, Settings
from preprocess.build.settings import BuildSettings
from preprocess.cli import main as preprocess
from preprocess.store import Store
from preprocess.superpixels import ALGORITHMS, Algorithm, Scale
from tests.conftest import PROOF
from tests.preprocess.conftest import build_here

SEGMENTS = (12, 30)  # of the store of flowers, 64 pixels; both equally likely
STORED = ("maps", "column_maps", "region_count", "map_dtype", "sentinel")  # all of a store that knows its stored maps
SMALL = ("--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--batch-size", "12")
SHORT = ("--device", "cpu", "--epochs", "1", "--no-tensorboard", "--no-pictures")


@pytest.fixture(scope="module")
def store(flowers_store: Path) -> Store:
    return Store(flowers_store)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of coarse noise, 48 x 40 pixels: classes a and b, 5 training and 2 test pictures each."""
    root, random = tmp_path_factory.mktemp("noisy"), np.random.default_rng(5)
    for split, count in (("train", 5), ("test", 2)):
        for path in (root / split / name / f"{number}.png" for name in "ab" for number in range(count)):
            path.parent.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(random.integers(0, 256, (8, 7, 3), dtype=np.uint8))
            coarse.resize((48, 40), Image.Resampling.BICUBIC).save(path)
    return root


@pytest.fixture(scope="module", params=["raw", "jpeg", *sorted(ALGORITHMS)])
def built_once(request: pytest.FixtureRequest, noisy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param if request.param in ALGORITHMS else "slic"
    codec = "jpeg" if request.param == "jpeg" else "raw"
    compactness = 20.0 if ALGORITHMS[name].uses_compactness else None
    settings = BuildSettings(
        *("folder", (Scale(7, 0.5), Scale(20, 0.5)), 40), algorithm=name, compactness=compactness, codec=codec
    )
    return build_here(noisy, tmp_path_factory.mktemp("built") / "built.h5", settings).path


@pytest.fixture
def built(built_once: Path) -> Store:
    """A store of noise at 40 pixels: of each codec with SLIC, and of each algorithm."""
    return Store(built_once)


def _view(size: int = 32, **settings: object) -> View:
    return View(DataSettings(image_size=size, **settings), train=True)


def _indices(count: int = 36, epoch: int = 1) -> list[tuple[int, int]]:
    return [(epoch, place) for place in range(count)]


def _drawn_segments(store: Store, indices: list[tuple[int, int]]) -> list[int]:
    """Which stored map training on stored maps would see of each sample."""
    maps = SuperpixelDataset(store, "train", seed=7).__getitems__(indices).maps
    coarse = store.maps("train", SEGMENTS[0], [place for _, place in indices])
    return [SEGMENTS[0] if np.array_equal(*pair) else SEGMENTS[1] for pair in zip(maps, coarse, strict=True)]


def _slic(image: np.ndarray, segments: int) -> np.ndarray:
    return segmentation.slic(image, n_segments=segments, compactness=10, start_label=0)


def _same(left: Batch, right: Batch) -> bool:
    return all(torch.equal(getattr(left, name), getattr(right, name)) for name in ("images", "labels", "maps"))


def test_without_a_view_live_maps_are_the_stored_ones_bit_for_bit(built):
    everything, chosen = range(10), built.superpixels
    for scale, column in zip(chosen.scales, chosen.columns, strict=True):
        stored = built.column_maps("train", column, everything)
        built.superpixels = replace(chosen, scales=(scale,), columns=(column,))
        live = LiveDataset(built, "train").__getitems__(_indices(10)).maps.numpy()
        np.testing.assert_array_equal(live, stored)
        assert live.dtype == stored.dtype
        assert len(np.unique(live)) > 2


def test_the_default_superpixels_of_photographs_too(store):
    for epoch in (0, 1):
        stored, live = (kind(store, "train", seed=7) for kind in (SuperpixelDataset, LiveDataset))
        assert _same(stored.__getitems__(_indices(epoch=epoch)), live.__getitems__(_indices(epoch=epoch)))


# 40 x 40 of the stored 64 x 64 pixels are 0.39 of them: of 12 segments 4.69, of 30 segments 11.72.
def test_a_crop_is_cut_into_its_share_of_the_segments(store):
    view, asked = _view(40, crop="random", flip=0.5), {12: 5, 30: 12}
    dataset = LiveDataset(store, "train", view, seed=7)
    batch, stored = dataset.__getitems__(_indices()), store.images("train", range(36))
    windows = view.windows([(64, 64)] * 36, dataset.draw(_indices()).uniforms)
    drawn = _drawn_segments(store, _indices())
    assert set(drawn) == set(SEGMENTS)
    assert set(windows.flip.tolist()) == {False, True}
    for place, segments in enumerate(drawn):
        top, left, _, _, flip = windows[place]
        crop = stored[place, top : top + 40, left : left + 40]
        crop = np.ascontiguousarray(crop[:, ::-1] if flip else crop)
        np.testing.assert_array_equal(batch.images[place].permute(1, 2, 0), crop)
        np.testing.assert_array_equal(batch.maps[place], _slic(crop, asked[segments]))


def test_a_resized_crop_is_segmented_as_it_is_shown(store):
    view = _view(32, crop="resized", scale=(0.1, 1.0))
    dataset = LiveDataset(store, "train", view, seed=7)
    batch = dataset.__getitems__(_indices())
    windows = view.windows([(64, 64)] * 36, dataset.draw(_indices()).uniforms)
    asked = [
        max(1, round(segments * int(windows.height[place]) * int(windows.width[place]) / 4096))
        for place, segments in enumerate(_drawn_segments(store, _indices()))
    ]
    assert min(asked) < 4
    assert max(asked) > 20
    for place, count in enumerate(asked):
        shown = np.ascontiguousarray(batch.images[place].permute(1, 2, 0))
        np.testing.assert_array_equal(batch.maps[place], _slic(shown, count))


def test_padding_counts_for_nothing_and_belongs_to_no_superpixel(store):
    view = _view(64, crop="pad", padding=20)
    dataset = LiveDataset(store, "train", view, seed=7)
    batch = dataset.__getitems__(_indices())
    windows = view.windows([(64, 64)] * 36, dataset.draw(_indices()).uniforms)
    drawn, true = _drawn_segments(store, _indices()), np.pad(np.ones((64, 64), bool), 20)
    assert batch.maps.dtype == torch.uint8
    for place, segments in enumerate(drawn):
        top, left, _, _, flip = windows[place]
        inside = true[top + 20 : top + 84, left + 20 : left + 84][:, :: -1 if flip else 1]
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        shown = np.ascontiguousarray(batch.images[place].permute(1, 2, 0).numpy()[part])
        expected = np.full((64, 64), 255)
        expected[part] = _slic(shown, round(segments * inside.sum() / 4096))
        np.testing.assert_array_equal(batch.maps[place], expected)
    assert (batch.maps == 255).any()


def test_images_of_their_own_sizes_are_segmented_as_they_are_shown(noisy, tmp_path):
    settings = BuildSettings("folder", (Scale(9, 1.0),), 16, resize="short", codec="png")
    varied = build_here(noisy, tmp_path / "varied.h5", settings)
    view = _view(32, crop="resized")
    dataset = LiveDataset(varied, "train", view)
    batch, sizes = dataset.__getitems__(_indices(10)), [image.shape[:2] for image in varied.images("train", range(10))]
    windows = view.windows(sizes, dataset.draw(_indices(10)).uniforms)
    for place, (height, width) in enumerate(sizes):
        asked = max(1, round(9 * int(windows.height[place]) * int(windows.width[place]) / (height * width)))
        shown = np.ascontiguousarray(batch.images[place].permute(1, 2, 0))
        np.testing.assert_array_equal(batch.maps[place], _slic(shown, asked))
    with pytest.raises(ValueError, match="different sizes; live maps of them need"):
        LiveDataset(varied, "train", _view(8, crop="random"))


def test_images_windows_and_labels_are_those_of_stored_maps(store):
    for view in (_view(), _view(40, crop="random"), _view(64, crop="pad")):
        stored, live = (kind(store, "train", view, seed=7) for kind in (SuperpixelDataset, LiveDataset))
        stored, live = stored.__getitems__(_indices()), live.__getitems__(_indices())
        assert torch.equal(stored.images, live.images)
        assert torch.equal(stored.labels, live.labels)
        assert torch.equal(stored.samples, live.samples)
        assert not torch.equal(stored.maps, live.maps)
        assert live.images.shape[2:] == live.maps.shape[1:]


@pytest.mark.parametrize(
    "view",
    [None, _view(24), _view(24, scale=(0.05, 0.3)), _view(24, crop="random"), _view(40, crop="pad", padding=6)],
    ids=["whole", "resized", "small parts", "random", "pad"],
)
def test_every_id_lies_below_the_count(built, view):
    dataset = LiveDataset(built, "train", view)
    largest = 0
    for epoch in range(4):
        batch = dataset.__getitems__(_indices(10, epoch))
        outside = torch.iinfo(batch.maps.dtype).max
        largest = max(largest, int(batch.maps[batch.maps != outside].max()))
        assert batch.count == dataset.count <= outside
    assert largest < dataset.count


# scikit-image keeps pieces of at least half of the mean area of a seed: at 40 x 40 pixels for up to
# 12 segments, the most of a flat image is 4 x 4 seeds. Counted here on flat images, count by count.
@pytest.mark.parametrize(("side", "most"), [(40, (5, 12)), (64, (12, 30))])
def test_the_count_is_what_slic_can_give_at_most(store, side, most):
    flat, bounds = np.zeros((side, side, 3), np.uint8), []
    for count in most:
        ids = segmentation.slic(flat, n_segments=count, start_label=0, enforce_connectivity=False)
        least = int(0.5 * flat[..., 0].size / len(np.unique(ids)))
        bounds.append(flat[..., 0].size // least + 1)
    assert LiveDataset(store, "train", _view(side, crop="random")).count == max(bounds)


def test_an_algorithm_that_gives_more_than_it_promises_is_an_error(store, monkeypatch):
    few = Algorithm(ALGORITHMS["slic"].run, lambda shape, segments: 2)
    monkeypatch.setitem(ALGORITHMS, "slic", few)
    with pytest.raises(RunError, match="promises ids below 3; fix"):
        LiveDataset(store, "train", _view()).__getitems__(_indices())


def test_an_algorithm_that_this_program_lacks_is_named(flowers_store, monkeypatch):
    monkeypatch.delitem(ALGORITHMS, "slic")
    with pytest.raises(RunError, match="names the superpixel algorithm 'slic', which this program does not have"):
        LiveDataset(flowers_store)


def test_nothing_of_the_stored_maps_is_read(store, monkeypatch):
    wanted = LiveDataset(store, "train", _view()).__getitems__(_indices())

    def refuse(*_: object) -> None:
        raise AssertionError("stored maps were read")

    for name in STORED:
        monkeypatch.setattr(Store, name, property(refuse))
    with pytest.raises(AssertionError):
        SuperpixelDataset(store, "train", _view()).__getitems__(_indices())
    assert _same(LiveDataset(store, "train", _view()).__getitems__(_indices()), wanted)


def test_a_split_without_stored_maps_has_live_ones(noisy, tmp_path):
    out = build_here(noisy, tmp_path / "grown.h5").path
    command = ["build", "folder", "--root", str(noisy), "--out", str(out), "--size", "16", "--shard-size", "4"]
    more = ("--segments", "4,9", "--algorithm", "grid", "--splits", "test")
    done = CliRunner().invoke(preprocess, [*command, *more])
    assert done.exit_code == 0, done.output
    grown = Store(out, "grid-4,9")
    assert not grown.has_maps("train")
    options = RunOptions(tmp_path / "run", "general", maps="live", workers=0)
    settings = Settings(data=DataSettings(image_size=8, crop="random", flip=0))
    batch = next(iter(make_loaders(grown, settings, options, True, Ranks(torch.device("cpu"))).train))
    # A quarter of the area: one of 4 segments, two of 9 (2.25), side by side.
    found = {ids.numpy().tobytes() for ids in batch.maps}
    assert found == {bytes(64), bytes([0, 0, 0, 0, 1, 1, 1, 1] * 8)}


def test_workers_and_how_they_start_change_no_live_map(store):
    dataset = LiveDataset(store, "train", _view(), seed=7)

    def epoch(workers: int, start: str | None = None) -> list[Batch]:
        return list(make_loader(dataset, RunBatches(36, 8, seed=7), workers, start=start))

    here = epoch(0)
    assert sum(len(batch.labels) for batch in here) == 36
    for workers, start in ((2, "fork"), *([(1, "spawn")] if PROOF else [])):
        assert all(_same(*pair) for pair in zip(epoch(workers, start), here, strict=True)), start
    alone = pickle.loads(pickle.dumps(dataset))[0, int(here[0].samples[3])]
    assert torch.equal(alone[1], here[0].maps[3])


def test_live_maps_are_streamed_whatever_the_device(store, tmp_path):
    options, cuda = RunOptions(tmp_path, "general", maps="live"), Ranks(torch.device("cuda"))
    loaders = make_loaders(store, Settings(), options, True, cuda)
    assert loaders.notices == ("cuda, streaming loader, live maps",)
    assert isinstance(loaders.train.dataset, LiveDataset)
    for loader in ("auto", "streaming"):
        loaders = make_loaders(store, Settings(), replace(options, loader=loader), True, Ranks(torch.device("cpu")))
        assert isinstance(loaders.train.dataset, LiveDataset)
    with pytest.raises(SettingsError, match="--loader streaming"):
        ResidentDataset(LiveDataset(store, "train", _view()), torch.device("cpu"))
    with pytest.raises(SettingsError, match="must be one of stored, live, got 'life'"):
        replace(options, maps="life")


def _command(store: Path, out: Path, *options: str) -> list[str]:
    return ["--shards", str(store), *SMALL, *SHORT, "--workers", "0", "--out", str(out), *options]


@pytest.fixture(scope="module")
def runs(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one seed: ``live``, with two workers, and ``stored``."""
    home = tmp_path_factory.mktemp("runs")
    options = {"live": ("--maps", "live", "--workers", "2"), "stored": ()}
    for name, given in options.items():
        done = CliRunner().invoke(train, _command(flowers_store, home / name, *given))
        assert done.exit_code == 0, done.output
        assert ("cpu, streaming loader, live maps" in done.output) == (name == "live")
    return home


def _row(folder: Path) -> dict[str, str]:
    with (folder / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row


def test_a_run_with_live_maps_is_another_one_and_says_so(runs):
    live, stored = (json.loads((runs / name / "config.json").read_text()) for name in ("live", "stored"))
    assert live["store"]["superpixels"] == "slic-c10-12,30, live"
    assert live["store"]["keys"].keys() == {"train/images", "test/images"}
    assert stored["store"]["superpixels"] == "slic-c10-12,30"  # as in runs from before there were live maps
    assert len(stored["store"]["keys"]) == 6
    assert live["settings"] == stored["settings"]
    assert _row(runs / "live")["loss"] != _row(runs / "stored")["loss"]
    assert 0 < float(_row(runs / "live")["lam_area"]) < 1


def test_live_runs_depend_on_the_seed_alone_and_never_on_stored_maps(runs, flowers_store, tmp_path):
    copy = tmp_path / flowers_store.name
    shutil.copy(flowers_store, copy)
    shutil.copytree(flowers_store.with_suffix(".shards"), copy.with_suffix(".shards"))
    for path in copy.with_suffix(".shards").glob("*/slic-*/*.h5"):
        path.write_bytes(bytes(path.stat().st_size))  # as large as before: nothing is missing
    done = CliRunner().invoke(train, _command(copy, tmp_path / "broken"))
    assert done.exit_code == 1
    assert "preprocess verify" in done.output
    done = CliRunner().invoke(train, _command(copy, tmp_path / "live", "--maps", "live"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "live" / "metrics.csv").read_bytes() == (runs / "live" / "metrics.csv").read_bytes()


@pytest.mark.parametrize(("folder", "maps"), [("live", "stored"), ("stored", "live")])
def test_resuming_with_other_maps_is_refused(runs, flowers_store, tmp_path, folder, maps):
    shutil.copytree(runs / folder, tmp_path / folder)
    command = _command(flowers_store, tmp_path / folder, "--resume", "auto")
    done = CliRunner().invoke(train, [*command, "--maps", folder])
    assert done.exit_code == 0, done.output
    for finished in (True, False):  # told by the results, and by the checkpoint
        if not finished:
            (tmp_path / folder / "results.json").unlink()
        done = CliRunner().invoke(train, [*command, "--maps", maps])
        assert done.exit_code == 1
        assert "contains another run: store.superpixels is slic-c10-12,30" in done.output


def test_a_comparison_keeps_live_and_stored_maps_apart(runs):
    groups = compare([runs]).groups
    assert {group.label for group in groups} == {
        "lgcoamix (superpixels=slic-c10-12,30)",
        "lgcoamix (superpixels=slic-c10-12,30, live)",
    }


def test_live_maps_and_the_resident_loader_are_a_usage_error(flowers_store, tmp_path):
    out = tmp_path / "run"
    done = CliRunner().invoke(train, _command(flowers_store, out, "--maps", "live", "--loader", "resident"))
    assert done.exit_code == 2
    assert "--maps live segments in the DataLoader workers: use --loader streaming or auto" in done.output
    assert not out.exists()
