"""The functions ``slic`` and ``slic_multiscale``: what they accept, return and refuse."""

import importlib
import platform
import subprocess
import sys

import numpy as np
import pytest
from skimage import segmentation

from preprocess.superpixels import slic, slic_multiscale, slico
from tests.conftest import ROOT

MODULE = importlib.import_module("preprocess.superpixels.slic")  # the package has a function of this name
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compactness": 30.0, "max_num_iter": 3},
        {"slic_zero": True},
        {"enforce_connectivity": False},
        {"max_num_iter": 1},
    ],
)
def test_ids_and_dtype_are_those_of_scikit_image(options):
    expected = segmentation.slic(IMAGE, n_segments=12, start_label=0, **{"compactness": 10, **options})
    found = slic(IMAGE, 12, **options)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_several_counts_are_the_maps_of_each_count_in_the_order_asked_for():
    found = slic_multiscale(IMAGE, (12, 5, 40, 5), compactness=4.0)
    assert found.shape == (4, 20, 30)
    for ids, count in zip(found, (12, 5, 40, 5), strict=True):
        np.testing.assert_array_equal(ids, segmentation.slic(IMAGE, count, compactness=4.0, start_label=0))


def test_the_image_stays_as_it_was_and_may_be_read_only_or_a_view():
    image = IMAGE.copy()
    image.flags.writeable = False
    np.testing.assert_array_equal(slic(image, 12), slic(IMAGE, 12))
    np.testing.assert_array_equal(image, IMAGE)
    view = np.ascontiguousarray(IMAGE[:, ::-1])[:, ::-1]
    np.testing.assert_array_equal(slic(view, 12), slic(IMAGE, 12))


def test_maps_of_one_image_survive_the_next_image_of_the_same_shape():
    first = slic(IMAGE, 12)
    kept = first.copy()
    slic(255 - IMAGE[::-1], 12)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    "image",
    [
        IMAGE / 255.0,
        IMAGE.astype(np.float32),
        IMAGE.astype(np.uint16),
        np.dstack([IMAGE, IMAGE[..., :1]]),
        IMAGE[..., :1],
        IMAGE > 127,
    ],
    ids=["float64", "float32", "uint16", "four channels", "one channel", "bool"],
)
def test_other_images_are_answered_as_scikit_image_does(image):
    if image.dtype == np.float32:
        image = image / 255
    np.testing.assert_array_equal(slic(image, 12), segmentation.slic(image, 12, start_label=0))


@pytest.mark.parametrize("count", [600, 601, 10_000, 12.5, np.int16(12)])
def test_unusual_counts_are_answered_as_scikit_image_does(count):
    np.testing.assert_array_equal(slic(IMAGE, count), segmentation.slic(IMAGE, count, start_label=0))


@pytest.mark.parametrize(
    "compactness", [1e-9, 1e-4, 1e6, 10, -10.0, np.float32(3), np.float16(10.1), np.int64(7), np.longdouble(10) / 3]
)
def test_unusual_compactness_is_answered_as_scikit_image_does(compactness):
    expected = segmentation.slic(IMAGE, 12, compactness=compactness, start_label=0)
    np.testing.assert_array_equal(slic(IMAGE, 12, compactness), expected)


@pytest.mark.parametrize(
    ("image", "count", "compactness", "what"),
    [
        (IMAGE[..., 0], 12, 10, r"\(20, 30\) uint8"),
        (IMAGE[:0], 12, 10, r"\(0, 30, 3\)"),
        (IMAGE, 0, 10, "n_segments of at least 1"),
        (IMAGE, -3, 10, "-3"),
        (IMAGE, "12", 10, "12"),
        (IMAGE, 12, 0, "positive compactness"),
        (IMAGE, 12, "10", "positive compactness"),
        (IMAGE.tolist(), 12, 10, "list"),
    ],
    ids=["no channels", "no pixels", "no segments", "negative", "text", "no compactness", "text compactness", "list"],
)
def test_what_scikit_image_cannot_answer_is_a_value_error_that_says_what_came(image, count, compactness, what):
    with pytest.raises(ValueError, match=what):
        slic_multiscale(image, (count,), compactness)
    with pytest.raises(ValueError, match=what):
        slico(image, count, compactness)


def test_a_long_thin_image_of_many_segments_takes_little_memory():
    """The table of all places against all seeds would hold 12 GiB."""
    image = np.random.default_rng(1).integers(0, 256, (1, 40_000, 3), dtype=np.uint8)
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    np.testing.assert_array_equal(slic(image, 20_000), segmentation.slic(image, 20_000, start_label=0))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


def test_near_colours_are_within_the_bound_of_those_of_scikit_image():
    """The kernel's docstring, 2: 2^-38 / compactness, and half a step of fixed point."""
    random = np.random.default_rng(2)
    greys = np.arange(256, dtype=np.uint8).repeat(12).reshape(32, 32, 3)
    for image in (greys, random.integers(0, 256, (32, 32, 3), dtype=np.uint8), random.integers(0, 9, (32, 32, 3))):
        colours = MODULE._Colours(image.astype(np.uint8), 0.5)
        near = colours.tiles.fixed[0].reshape(4, 4, 3, 8, 8).transpose(2, 0, 3, 1, 4).reshape(3, 32, 32)
        assert not len(colours.lab)
        colours.be_exact()
        assert np.abs(near / colours.scale - colours.lab).max() < 2.0**-38 / 0.5 + 0.5 / colours.scale


def test_near_colours_decide_noise_but_not_ties(monkeypatch):
    asked, be_exact = [], MODULE._Colours.be_exact
    monkeypatch.setattr(MODULE._Colours, "be_exact", lambda colours: asked.append(1) or be_exact(colours))
    slic(IMAGE, 12)
    assert not asked
    flat = np.full((50, 50, 3), 77, np.uint8)
    np.testing.assert_array_equal(slic(flat, 12), segmentation.slic(flat, 12, start_label=0))
    assert asked


def test_no_counts_are_refused():
    with pytest.raises(ValueError, match="at least one count"):
        slic_multiscale(IMAGE, ())


@pytest.fixture
def fresh():
    MODULE._is_known_platform.cache_clear()
    yield
    MODULE._is_known_platform.cache_clear()


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """Segment counts that scikit-image is asked for, in place of an answer."""
    counts: list[int] = []
    monkeypatch.setattr(
        MODULE, "_by_library", lambda image, count, *_, **__: counts.append(count) or np.zeros(image.shape[:2], int)
    )
    return counts


@pytest.mark.usefixtures("fresh")
def test_an_untested_scikit_image_is_asked_itself_and_named_in_a_warning(asked, monkeypatch):
    monkeypatch.setattr(MODULE, "version", lambda _: "0.99.0")
    with pytest.warns(UserWarning, match=r"not 0\.99\.0"):
        slic(IMAGE, 12)
    slic_multiscale(IMAGE, (5, 7))
    assert asked == [12, 5, 7]


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_processors_whose_scikit_image_rounds_alike_use_the_kernel(asked, monkeypatch, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    slic(IMAGE, 12)
    slic_multiscale(IMAGE, (5, 7))
    assert asked == []


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("machine", ["aarch64", "arm64", "ARM64", "ppc64le", ""])  # Linux, macOS, Windows, Linux, none
def test_other_processors_ask_scikit_image(asked, monkeypatch, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    slic(IMAGE, 12)
    slic_multiscale(IMAGE, (5, 7))
    assert asked == [12, 5, 7]


def test_importing_the_algorithms_does_not_import_numba():
    code = "import sys, preprocess.superpixels, preprocess.cli; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_function_that_cannot_be_cached_is_compiled_all_the_same():
    from preprocess.superpixels.slic_kernel import _jit

    space: dict = {}
    exec("def double(x):\n    return 2 * x", space)  # without a file, so without a place for a cache
    assert _jit(space["double"])(21) == 42
