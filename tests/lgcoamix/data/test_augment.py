"""Augmentation of crops and maps: ids move with their pixels, draws are functions of the seed, files are checked."""

import inspect
import json
import os
import pickle
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from lgcoamix.data import Augment, EpochBatches, LiveDataset, ResidentDataset, SuperpixelDataset, View, make_loader
from lgcoamix.data.pipelines import READY
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.settings.sections import DataSettings
from preprocess.store import Store
from preprocess.superpixels import ALGORITHMS
from tests.conftest import PROOF

OUTSIDE = {"uint8": 255, "uint16": 65535}
SLOW = {"PiecewiseAffine", "Superpixels", "RandomFog"}  # a tenth of a second an image


@pytest.fixture(scope="module")
def library() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
        return pytest.importorskip("albumentations")


Make = Callable[..., Augment]


@pytest.fixture
def make(library: ModuleType) -> Make:
    """Build an augmentation from transforms; the top one is a Compose."""

    def build(*steps: object, size: int = 48) -> Augment:
        return Augment(document(library, *steps), size)

    return build


def document(library: ModuleType, *steps: object) -> dict[str, Any]:
    """What the library's own ``save`` writes."""
    return json.loads(json.dumps(library.to_dict(library.Compose(list(steps))), default=lambda value: value.value))


def picture(side: int = 48, dtype: str = "uint8") -> tuple[np.ndarray, np.ndarray]:
    """An image of noise, and a map of four regions whose ids lie far apart."""
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ids = np.full((side, side), 3, dtype)
    ids[20:], ids[:, 30:], ids[25:, 35:] = 9, 40, 200
    return image, ids


def states() -> tuple[object, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - that it does not change
    return random.getstate(), kind, keys.tolist(), *rest, torch.get_rng_state().tolist()


def usable(library: ModuleType) -> dict[str, Augment]:
    """All transforms that can be made without parameters, and that a crop and its map are enough for."""
    found = {}
    for name in dir(library):
        kind = getattr(library, name)
        if not (inspect.isclass(kind) and issubclass(kind, library.BasicTransform)) or (name in SLOW and not PROOF):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = Augment(document(library, kind(p=1.0)), 48)
        except (SettingsError, ValueError, TypeError, NotImplementedError):
            continue
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_transform_keeps_shapes_and_ids_and_leaves_all_random_state_alone(library):
    names = usable(library)
    assert len(names) > 70
    assert {"Rotate", "SafeRotate", "ElasticTransform", "CoarseDropout", "GaussNoise", "ShiftScaleRotate", "D4"} <= set(
        names
    )
    before = states()
    for name, augment in names.items():
        for dtype, outside in OUTSIDE.items():
            image, ids = picture(dtype=dtype)
            untouched = image.copy(), ids.copy()
            found, moved = augment(image, ids, outside, seed=3)
            assert (found.shape, found.dtype, moved.shape, moved.dtype) == (image.shape, image.dtype, ids.shape, dtype)
            assert set(np.unique(moved)) <= {3, 9, 40, 200, outside}, name
            np.testing.assert_array_equal(image, untouched[0], err_msg=name)
            np.testing.assert_array_equal(ids, untouched[1], err_msg=name)
            again, without = augment(image, None, outside, seed=3)
            assert without is None
            np.testing.assert_array_equal(again, found, err_msg=f"{name}: the image depends on whether there is a map")
    assert states() == before


NEAREST = {
    "Affine": {"rotate": (-40, 40), "scale": (0.7, 1.3), "shear": (-15, 15), "translate_percent": (-0.2, 0.2)},
    "Rotate": {},
    "SafeRotate": {},
    "Perspective": {},
    "ElasticTransform": {"alpha": 40},
    "GridDistortion": {},
    "OpticalDistortion": {},
}


@pytest.mark.parametrize("name", [*NEAREST, "D4", "RandomGridShuffle", "VerticalFlip", "TimeReverse"])
def test_a_map_moves_with_its_image(name, library, make):
    nearest = {"interpolation": 0, **NEAREST[name]} if name in NEAREST else {}
    augment = make(library.OneOf([library.Sequential([getattr(library, name)(**nearest, p=1.0)], p=1.0)], p=1.0))
    ids = (np.arange(48 * 48).reshape(48, 48) // 8 % 200 + 10).astype(np.uint8)  # each pixel shows its own id
    changed = 0
    for seed in range(10):
        image, moved = augment(np.repeat(ids[..., None], 3, 2), ids, 255, seed)
        inside = moved != 255
        assert inside.mean() > 0.3
        np.testing.assert_array_equal(image[inside], np.repeat(moved[inside][:, None], 3, 1))
        changed += not np.array_equal(moved, ids)
    assert changed > 4


@pytest.mark.parametrize(("dtype", "outside"), OUTSIDE.items())
def test_pixels_from_outside_get_the_sentinel_and_erased_ones_keep_their_id(dtype, outside, library, make):
    image, ids = picture(dtype=dtype)
    shift = library.Affine(translate_px={"x": (10, 10), "y": (0, 0)}, p=1.0)
    _, moved = make(library.SomeOf([shift], n=1, p=1.0))(image, ids, outside, seed=0)
    assert (moved[:, :10] == outside).all()
    np.testing.assert_array_equal(moved[:, 10:], ids[:, :-10])
    erased, same = make(library.Erasing(scale=(0.2, 0.3), p=1.0))(image, ids, outside, seed=0)
    assert (erased != image).any(axis=2).mean() > 0.15
    np.testing.assert_array_equal(same, ids)
    _, holes = make(library.CoarseDropout(fill_mask=0, p=1.0))(image, ids, outside, seed=0)
    assert set(np.unique(holes)) - set(np.unique(ids)) == {outside}


@pytest.mark.parametrize("name", READY)
@pytest.mark.parametrize("side", [32, 64, 224])
def test_the_ready_made_pipelines_fit_all_sizes_and_are_functions_of_the_seed(name, side):
    augment, other = Augment.named(name, side), Augment.named(name)
    image, ids = picture(side)
    seen, kept = set(), []
    for seed in range(20):
        found, moved = augment(image, ids, 255, seed)
        for again, map_again in (
            other(image, ids, 255, seed),
            pickle.loads(pickle.dumps(other))(image, ids, 255, seed),
        ):
            np.testing.assert_array_equal(found, again)
            np.testing.assert_array_equal(moved, map_again)
        assert (name == "light") == np.array_equal(moved, ids) or name == "strong"
        seen.add(found.tobytes())
        kept.append((moved != 255).mean())
    assert len(seen) >= 14
    assert min(kept) > 0.6, "most of the image stays in view"


def test_a_pipeline_is_recorded_with_every_parameter_and_built_again_from_that(library):
    short = {"__class_fullname__": "albumentations.augmentations.geometric.rotate.Rotate", "p": 0.5}
    augment = Augment({"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": [short]}})
    assert augment.pipeline == json.loads(json.dumps(augment.pipeline))
    assert augment.pipeline["transform"]["transforms"][0]["limit"] == [-90.0, 90.0]
    assert Augment(augment.pipeline).pipeline == augment.pipeline
    whole = library.Compose([library.Rotate(p=0.5)])
    for given in (whole, library.to_dict(whole), document(library, *whole)):
        assert Augment(given).pipeline == augment.pipeline
    with pytest.raises(SettingsError, match="it is not a pipeline of albumentations"):
        Augment([1])


def test_a_file_of_the_librarys_own_is_taken_in_both_formats(library, tmp_path):
    pipeline = library.Compose([library.OneOf([library.Rotate(limit=5), library.Blur()], p=0.7), library.SafeRotate()])
    for kind in ("yaml", "json"):
        library.save(pipeline, str(tmp_path / f"mine.{kind}"), data_format=kind)
    found = [Augment.named(tmp_path / f"mine.{kind}").pipeline for kind in ("yaml", "json")]
    assert found[0] == found[1] == document(library, *pipeline.transforms)


REFUSED = {
    "Normalize": ({}, "Normalize must keep size and type of any image, but makes float32"),
    "ToTensorV2": ({}, "ToTensorV2"),
    "ToFloat": ({}, "must keep size and type"),
    "Resize": ({"height": 48, "width": 48}, "Resize must keep size and type"),
    "RandomCrop": ({"height": 48, "width": 48}, "RandomCrop must keep size and type"),
    "RandomResizedCrop": ({"size": [48, 48]}, "RandomResizedCrop must keep size and type"),
    "CenterCrop": ({"height": 500, "width": 500}, "CenterCrop fails on a 48x48 image"),
    "RandomScale": ({}, "RandomScale must keep size and type"),
    "MaskDropout": ({}, "MaskDropout needs mask"),
    "HistogramMatching": ({"metadata_key": "hm"}, "HistogramMatching"),
    "FDA": ({"reference_images": ["/etc/passwd"]}, "FDA"),
    "TextImage": ({"font_path": "/etc/passwd"}, "TextImage needs textimage_metadata"),
    "OverlayElements": ({}, "OverlayElements needs overlay_metadata"),
    "Morphological": ({}, "Morphological is not used here: it would move the borders"),
    "RandomCropNearBBox": ({}, "RandomCropNearBBox needs cropping_bbox"),
    "ToTensor3D": ({}, "ToTensor3D needs volumes"),
    "Lambda": ({"name": "x"}, "Lambda holds a function"),
    "Rotaet": ({}, "has no transform 'Rotaet'; did you mean Rotate"),
    "os.system": ({}, "has no transform 'system'"),
    "Blur": ({"blur_limit": "wide"}, "Blur: .*blur_limit"),
    "Rotate": ({"degrees": 5}, "Rotate has no parameter 'degrees'"),
    "GaussianBlur": ({"sigma_limit": [0.1, 1e9]}, "numbers up to 4096"),
    "NoOp": ({"p": None}, "NoOp: p must be a probability from 0 to 1, got None"),
    "HorizontalFlip": ({"p": 7.0}, "HorizontalFlip: p must be a probability from 0 to 1, got 7.0"),
    "Transpose": ({"p": "a"}, "Transpose: p must be a probability from 0 to 1, got 'a'"),
    "PlanckianJitter": ({"temperature_limit": [3000, 15001]}, "numbers up to 15000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_transform_that_cannot_be_used_is_named(name, tmp_path):
    parameters, message = REFUSED[name]
    step = {"__class_fullname__": name, "p": 0.01, **parameters}  # found however rarely it is applied
    inner = {"__class_fullname__": "OneOf", "p": 0.01, "transforms": [step]}
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": [inner]}}))
    with pytest.raises(SettingsError, match=message) as caught:
        Augment.named(path, 48)
    assert str(caught.value).startswith(f"--augment {path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_what_is_no_pipeline_of_albumentations_is_named(library):
    for other in (library.HorizontalFlip(), torchvision.transforms.Compose([])):
        with pytest.raises(SettingsError, match=r"expected albumentations.Compose\(\[...\]\), got (Horiz|Compose)"):
            Augment(other)


BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
FILES = {
    "transform: [": "is not YAML",
    "3": "it is not a pipeline of albumentations",
    "transform: {__class_fullname__: Blur, p: 1.0}": "it is not a pipeline",
    "transform: {__class_fullname__: Compose, p: 1.0, transforms: 5}": "transforms must be a list",
    "transform: {__class_fullname__: Compose, p: 1.0, transforms: [5]}": "5 is no transform",
    "transform: {__class_fullname__: Compose, p: 1.0, bbox_params: {format: coco}, transforms: []}": "bbox_params",
    "transform: {__class_fullname__: Compose, p: 1.0, when: 2001-01-01, transforms: []}": "expected numbers, texts",
    "transform: {__class_fullname__: Compose, p: .nan, transforms: []}": "numbers up to",
    "transform: {__class_fullname__: Compose, p: 1.0, seeds: 3, transforms: []}": "seeds",
    "transform: {__class_fullname__: Compose, p: 7.0, transforms: []}": "Compose: p must be a probability",
    "x: !!python/object/apply:os.system ['touch made']": "is not YAML",
    f"{BOMB}d: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]": "at most 10,000 values",
    "&a [*a]": "nested at most 32 deep",
    "[" * 5000: "is not YAML",
    "#" * 70_000: "at most 65,536 bytes",
}


@pytest.mark.parametrize("text", FILES, ids=lambda text: text[:40])
def test_a_file_that_holds_no_pipeline_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(text)
    with pytest.raises(SettingsError, match=FILES[text]) as caught:
        Augment.named("mine.yaml")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_missing_file_and_a_fifo_are_refused_at_once(tmp_path):
    (tmp_path / "mine.yaml").touch()
    for name, meant in (("lihgt", "light"), (str(tmp_path / "mein.yaml"), "mine.yaml")):
        with pytest.raises(
            SettingsError, match=r"takes light, strong or a file; there is no file .*; did you mean "
        ) as caught:
            Augment.named(name)
        assert str(caught.value).endswith(f"{meant}?")
    with pytest.raises(SettingsError, match="there is no file"):
        Augment.named(tmp_path / "none.yaml")
    os.mkfifo(tmp_path / "fifo.yaml")
    with pytest.raises(SettingsError, match="it is a FIFO"):
        Augment.named(tmp_path / "fifo.yaml")
    with pytest.raises(SettingsError, match="it is a folder"):
        Augment.named(tmp_path)
    with pytest.raises(SettingsError, match="takes light, strong or a file, got ''"):
        Augment.named("")


def test_a_colour_temperature_has_the_defaults_of_the_library(library):
    made = Augment(library.Compose([library.PlanckianJitter()]))
    assert made.pipeline["transform"]["transforms"][0]["temperature_limit"] == [3000, 15000]


def test_what_fails_only_later_says_so(library, make):
    augment = make(library.CropAndPad(px=-10, keep_size=True, p=1.0))
    with pytest.raises(RunError, match="--augment fails on a 8x8 image"):
        augment(np.zeros((8, 8, 3), np.uint8), None, 255, 0)


@pytest.fixture(scope="module")
def store(flowers_store: Path) -> Store:
    return Store(flowers_store)


def augmented(store: Store, name: str | None = "strong", **options: object) -> SuperpixelDataset:
    view = View(DataSettings(image_size=32, crop="resized"), train=True)
    return SuperpixelDataset(store, "train", view, **{"seed": 7, "augment": name, **options})


def test_a_sample_is_a_function_of_seed_epoch_and_number(store):
    dataset, plain = augmented(store), augmented(store, None)
    batch = dataset.__getitems__([(2, 30), (0, 4), (2, 4), (2, 17)])
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for row, index in enumerate([(2, 30), (0, 4), (2, 4), (2, 17)]):
        image, ids, _ = dataset[index]
        assert torch.equal(batch.images[row], image)
        assert torch.equal(batch.maps[row], ids)
    images = [dataset[(epoch, 4)][0] for epoch in range(4)]
    assert not any(torch.equal(images[0], other) for other in images[1:])
    assert not torch.equal(batch.images, plain.__getitems__([(2, 30), (0, 4), (2, 4), (2, 17)]).images)
    draws, without = dataset.draw([(2, 30)]), plain.draw([(2, 30)])
    assert np.array_equal(draws.uniforms, without.uniforms)  # windows and scales are those of a plain run
    windows = plain.view.windows([(64, 64)], draws.uniforms)
    image, ids = plain.show(enumerate(store.images("train", [30])), enumerate(plain.read_maps(draws)), windows)
    found, moved = Augment.named("strong", 32)(image[0], ids[0], store.sentinel, int(draws.augment[0]))
    np.testing.assert_array_equal(batch.images[0].permute(1, 2, 0), found)
    np.testing.assert_array_equal(batch.maps[0], moved)


@pytest.mark.parametrize(("workers", "start"), [(2, "fork"), *([(2, "spawn")] if PROOF else [])])
def test_workers_change_nothing(store, workers, start):
    dataset = augmented(store)

    def epoch(workers: int, start: str | None = None) -> list:
        batches = EpochBatches(len(dataset), 8, seed=7)
        batches.epoch = 3
        return list(make_loader(dataset, batches, workers, start=start))

    for alone, other in zip(epoch(0), epoch(workers, start), strict=True):
        assert torch.equal(alone.images, other.images)
        assert torch.equal(alone.maps, other.maps)


def test_the_resident_loader_refuses(store):
    with pytest.raises(SettingsError, match="--augment runs in the DataLoader workers; use --loader streaming or auto"):
        ResidentDataset(augmented(store), torch.device("cpu"))


@pytest.mark.parametrize("settings", [{"crop": "resized"}, {"crop": "random"}, {"crop": "pad", "image_size": 72}])
def test_live_maps_are_the_superpixels_of_the_augmented_crop(settings, store, library):
    view = View(DataSettings(**{"image_size": 32, "padding": 8, **settings}), train=True)
    turned = Augment(document(library, library.Rotate(limit=(30, 30), p=1.0)), view.size)
    stored = SuperpixelDataset(store, "train", view, seed=7, augment=turned)
    live = LiveDataset(store, "train", view, seed=7, augment=turned)
    indices = [(1, place) for place in range(8)]
    found, other, draws = live.__getitems__(indices), stored.__getitems__(indices), live.draw(indices)
    assert torch.equal(found.images, other.images)
    segment, compactness = ALGORITHMS["slic"].segment, store.superpixels.compactness
    outside = torch.iinfo(found.maps.dtype).max
    for row, window in enumerate(view.windows([(64, 64)] * 8, draws.uniforms)):
        wanted = store.scales[draws.scales[row]].segments * window[2] * window[3] / 64**2
        image = np.ascontiguousarray(found.images[row].permute(1, 2, 0))
        cut = segment(image, (max(1, round(wanted)),), compactness)[0]
        inside = (other.maps[row] != store.sentinel).numpy()  # the stored map moved with the same crop
        assert inside.mean() < 1
        np.testing.assert_array_equal(found.maps[row].numpy()[inside], cut[inside])
        assert (found.maps[row].numpy()[~inside] == outside).all()
        assert cut.max() < found.count
