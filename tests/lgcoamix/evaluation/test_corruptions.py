"""Common corruptions: each against what it should do to a painted image, and their draws, which depend on the seed."""

import pickle
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch

from lgcoamix.data import SuperpixelDataset, View
from lgcoamix.evaluation.corruptions import CORRUPTIONS, SEVERITIES, Corrupted, build
from lgcoamix.settings.sections import DataSettings
from preprocess.store import Store

SIDE = 64
NOISY = {name for name in CORRUPTIONS if name.endswith("noise")} | {
    "glass_blur",
    "motion_blur",
    "fog",
    "elastic_transform",
}


@pytest.fixture(scope="module")
def corrupted(flowers_store) -> Corrupted:
    view = View(DataSettings(image_size=SIDE), train=False)
    return Corrupted(SuperpixelDataset(Store(flowers_store), "test", view, maps=False), SIDE, seed=0)


def apply(name: str, severity: int, image: np.ndarray) -> np.ndarray:
    return build(name, severity, image.shape[0])(image=image.copy())["image"].astype(int)


def grey(value: int, side: int = 224) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


@pytest.mark.parametrize("side", [10, 32, 224, 448])
def test_every_corruption_takes_inputs_of_any_size(side):
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    for name in CORRUPTIONS:
        for severity in SEVERITIES if side < 224 else (1, 5):
            found = build(name, severity, side)(image=image.copy())["image"]
            assert (found.shape, found.dtype) == (image.shape, np.uint8), name
            assert (found != image).any(), name


def test_there_are_five_severities_of_everything():
    for corruption in CORRUPTIONS.values():
        assert {len(values) for values in (*corruption.ranges.values(), *corruption.values.values())} == {5}
        assert all(corruption.at(severity, 224) for severity in SEVERITIES)


@pytest.mark.parametrize(("severity", "deviation"), [(1, 0.08), (3, 0.18)])
def test_gaussian_noise_has_the_published_deviation(severity, deviation):
    found = apply("gaussian_noise", severity, grey(128)) - 128
    assert found.std() == pytest.approx(255 * deviation, rel=0.03)
    assert abs(found.mean()) < 1


@pytest.mark.parametrize(("severity", "share"), [(1, 0.03), (5, 0.27)])
def test_impulse_noise_makes_a_share_of_the_pixels_black_or_white(severity, share):
    found = apply("impulse_noise", severity, grey(100))
    for value in (0, 255):
        assert (found == value).mean() == pytest.approx(share / 2, abs=0.001)
    assert (found == 100).mean() == pytest.approx(1 - share, abs=0.001)


def test_shot_noise_counts_photons_in_linear_light():
    linear = (100 / 255) ** 2.2
    found = (apply("shot_noise", 2, grey(100)) / 255) ** 2.2
    assert found.mean() == pytest.approx(linear, rel=0.02)
    assert found.var() == pytest.approx(linear / 25, rel=0.05)


@pytest.mark.parametrize(("severity", "added"), [(1, 25.5), (5, 127.5)])
def test_brightness_is_added_to_the_value_and_clipped(severity, added):
    assert np.abs(apply("brightness", severity, grey(100)) - 100 - added).max() <= 0.5
    assert apply("brightness", severity, grey(250)).min() == 255


@pytest.mark.parametrize(("severity", "factor"), [(1, 0.4), (5, 0.05)])
def test_contrast_shrinks_around_the_mean(severity, factor):
    image = grey(50)
    image[:, 112:] = 150  # mean 100
    found = apply("contrast", severity, image)
    assert found[0, 0, 0] == pytest.approx(100 - 50 * factor, abs=1)
    assert found[0, -1, 0] == pytest.approx(100 + 50 * factor, abs=1)


def test_pixelate_averages_squares():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    found = apply("pixelate", 5, image)  # a quarter
    means = image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(found.reshape(16, 4, 16, 4, 3) - means[:, None, :, None]).max() <= 1


@pytest.mark.parametrize(("severity", "quality"), [(1, 25), (5, 7)])
def test_jpeg_compression_is_that_of_opencv_with_the_channels_in_their_order(severity, quality, corrupted):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    _, data = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    expected = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(corrupted.corrupt(image, "jpeg_compression", severity, 0), expected)


@pytest.mark.parametrize("name", ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform"])
def test_what_moves_or_blurs_leaves_an_even_image_alone(name):
    for severity in SEVERITIES:
        assert np.abs(apply(name, severity, grey(90)) - 90).max() <= 1


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur"])
def test_blur_spreads_a_point_over_more_pixels_with_severity(name):
    image = grey(0)
    image[112, 112] = 255
    counts = [int((apply(name, severity, image) > 0).sum()) for severity in SEVERITIES]
    assert counts[0] > 3
    assert counts == sorted(counts)


def test_lengths_grow_with_the_input():
    blur = CORRUPTIONS["motion_blur"]
    assert [blur.at(5, side)["blur_limit"] for side in (32, 224, 448)] == [(5, 5), (31, 31), (61, 61)]
    assert [CORRUPTIONS["defocus_blur"].at(4, side)["radius"] for side in (32, 224, 448)] == [(1, 1), (8, 8), (16, 16)]
    elastic = [CORRUPTIONS["elastic_transform"].at(3, side) for side in (112, 224, 448)]
    assert [part["sigma"] for part in elastic] == pytest.approx([1.22, 2.44, 4.88])
    # Displacements, which go with alpha / sigma, double with the side.
    assert [part["alpha"] / part["sigma"] for part in elastic] == pytest.approx([2.5, 5, 10])


def test_images_stand_one_condition_after_the_other(corrupted):
    n = len(corrupted.dataset)
    assert len(corrupted) == 65 * n
    assert corrupted.conditions[5] == ("shot_noise", 1)
    batch = corrupted.__getitems__([(0, 5 * n + 3), (0, 64 * n), (0, 5 * n + 4)])
    clean = corrupted.dataset.__getitems__([(0, 3), (0, 0), (0, 4)])
    assert torch.equal(batch.labels, clean.labels)
    assert batch.images.shape == (3, 3, SIDE, SIDE)
    before = clean.images.permute(0, 2, 3, 1).numpy()
    for place, (name, severity, sample) in enumerate(
        (("shot_noise", 1, 3), ("jpeg_compression", 5, 0), ("shot_noise", 1, 4))
    ):
        expected = corrupted.corrupt(before[place].copy(), name, severity, sample)
        assert np.array_equal(batch.images[place].permute(1, 2, 0).numpy(), expected)


def test_draws_are_a_function_of_seed_condition_and_sample(corrupted):
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    other = Corrupted(corrupted.dataset, SIDE, seed=1)
    for name in CORRUPTIONS:
        first = corrupted.corrupt(image.copy(), name, 3, 0)
        corrupted.corrupt(image.copy(), name, 3, 7)
        assert np.array_equal(corrupted.corrupt(image.copy(), name, 3, 0), first)
        assert np.array_equal(pickle.loads(pickle.dumps(corrupted)).corrupt(image.copy(), name, 3, 0), first)
        if name in NOISY:
            assert (corrupted.corrupt(image.copy(), name, 3, 1) != first).any(), name
            assert (other.corrupt(image.copy(), name, 3, 0) != first).any(), name


def test_no_global_random_state_is_read_or_changed(corrupted):
    import random

    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    found: list[Callable] = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        found.append([corrupted.corrupt(image.copy(), name, 5, 2) for name in CORRUPTIONS])
        assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert all(map(np.array_equal, *found))
