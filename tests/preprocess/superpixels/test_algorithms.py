"""The other superpixel algorithms, and what all of them promise."""

import numpy as np
import pytest
from PIL import Image
from skimage import color, filters, segmentation

from preprocess.superpixels import ALGORITHMS, adjusted_rand_index, felzenszwalb, grid, slico, watershed
from tests.conftest import PROOF


def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    noise = random.integers(0, 256, (37, 50, 3), dtype=np.uint8)
    coarse = noise[np.arange(37)[:, None] // 9, np.arange(50)[None, :] // 9]
    return [noise, coarse, np.zeros((37, 50, 3), np.uint8), noise[:1], noise[:, :1], noise[:1, :1]]


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("count", [1, 5, 30, 300])
def test_ids_are_dense_deterministic_and_within_the_bound(name, count):
    algorithm = ALGORITHMS[name]
    for picture in pictures():
        before = picture.copy()
        ids = algorithm.run(picture, count, 10.0)
        assert ids.shape == picture.shape[:2]
        assert np.issubdtype(ids.dtype, np.integer)
        np.testing.assert_array_equal(np.unique(ids), np.arange(ids.max() + 1))
        assert ids.max() <= algorithm.largest_id(picture.shape[:2], count)
        np.testing.assert_array_equal(algorithm.run(picture, count, 10.0), ids)
        np.testing.assert_array_equal(picture, before)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_several_counts_are_the_maps_of_each_count(name):
    algorithm, picture = ALGORITHMS[name], pictures()[1]
    found = algorithm.segment(picture, (30, 5, 12), 10.0)
    assert found.shape == (3, 37, 50)
    for ids, count in zip(found, (30, 5, 12), strict=True):
        np.testing.assert_array_equal(ids, algorithm.run(picture, count, 10.0))


def test_grid_by_hand():
    image = np.zeros((4, 6, 3), np.uint8)
    expected = [[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5], [3, 3, 4, 4, 5, 5]]
    np.testing.assert_array_equal(grid(image, 6), expected)
    np.testing.assert_array_equal(grid(image, 1), np.zeros((4, 6)))
    np.testing.assert_array_equal(grid(image, 100), np.arange(24).reshape(4, 6))
    assert grid(np.zeros((256, 256, 3), np.uint8), 36).max() == 35
    assert grid(np.zeros((224, 224, 3), np.uint8), 30).max() == 29  # 5 rows, 6 columns


def test_slico_is_that_of_scikit_image():
    for picture in pictures()[:2]:
        expected = segmentation.slic(picture, 20, compactness=5.0, slic_zero=True, start_label=0)
        np.testing.assert_array_equal(slico(picture, 20, 5.0), expected)


def test_watershed_floods_scikit_images_gradient_from_its_markers():
    for picture in pictures()[:2]:
        gradient = filters.sobel(color.rgb2gray(picture))
        for compactness, theirs in ((10.0, 0.001), (1000.0, 0.1)):
            expected = segmentation.watershed(gradient, markers=20, compactness=theirs) - 1
            np.testing.assert_array_equal(watershed(picture, 20, compactness), expected)


def test_felzenszwalb_takes_its_parameters_from_the_mean_area():
    picture = np.random.default_rng(2).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    # 3600 pixels / 36 = 100 each: scale 3 * 10, no region under 25
    expected = segmentation.felzenszwalb(picture, scale=30.0, sigma=0.8, min_size=25)
    np.testing.assert_array_equal(felzenszwalb(picture, 36), expected)


def test_felzenszwalb_gives_about_as_many_regions_as_asked_for(flowers):
    paths = sorted(flowers.rglob("*.jpg"))[:: 27 if PROOF else 136]
    for side in (64, 224):
        images = [np.asarray(Image.open(path).convert("RGB").resize((side, side))) for path in paths]
        for count in (25, 100):
            mean = np.mean([felzenszwalb(image, count).max() + 1 for image in images])
            assert 0.6 * count < mean < 1.3 * count, (side, count)


def pair_counting(left: np.ndarray, right: np.ndarray) -> float:
    """The adjusted Rand index by looking at every pair of pixels."""
    left, right = left.ravel(), right.ravel()
    first, second = np.triu_indices(left.size, 1)
    in_left, in_right = left[first] == left[second], right[first] == right[second]
    both, chance = (in_left & in_right).sum(), in_left.sum() * in_right.sum() / len(first)
    return (both - chance) / ((in_left.sum() + in_right.sum()) / 2 - chance)


def test_agreement_counts_pairs_of_pixels():
    random = np.random.default_rng(5)
    for regions in (2, 5, 20):
        left, right = random.integers(0, regions, (2, 9, 11))
        right = np.where(random.random((9, 11)) < 0.5, left, right)
        assert adjusted_rand_index(left, right) == pytest.approx(pair_counting(left, right))
        assert adjusted_rand_index(right, left) == pytest.approx(adjusted_rand_index(left, right))


def test_agreement_by_hand():
    left = np.array([[0, 0, 1, 1]])
    assert adjusted_rand_index(left, 7 - left) == 1
    assert adjusted_rand_index(left, np.zeros((1, 4), int)) == 0
    assert adjusted_rand_index(np.zeros((1, 4), int), np.zeros((1, 4), int)) == 1
    # pairs together: left 2, right 2, both 0, by chance 2 * 2 / 6
    assert adjusted_rand_index(left, np.array([[0, 1, 0, 1]])) == pytest.approx((0 - 4 / 6) / (2 - 4 / 6))
