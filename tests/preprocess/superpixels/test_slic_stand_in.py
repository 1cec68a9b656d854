"""``preprocess.slic`` in the place of ``skimage.segmentation.slic``: one call, both functions, the same outcome."""

import importlib
import inspect
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from skimage import segmentation

from preprocess import slic
from tests.conftest import PROOF

MODULE = importlib.import_module("preprocess.superpixels.slic")
RANDOM = np.random.default_rng(0)
RGB = np.kron(RANDOM.integers(0, 200, (6, 7, 3)), np.ones((5, 4, 1))).astype(np.uint8)
RGB += RANDOM.integers(0, 40, RGB.shape, dtype=np.uint8)  # (30, 28, 3): blocks with noise, not square
FLOAT = RGB / 255
HOLES = FLOAT.copy()
HOLES[:6, :6] = np.nan
MASK = np.hypot(*np.mgrid[-14:16, -13:15]) < 12
NO_CORNER = np.ones((30, 28), bool)
NO_CORNER[:6, :6] = False

# Images with the axis of their channels; True where the compiled part may answer.
IMAGES: dict[str, tuple[np.ndarray, int | None, bool]] = {
    "uint8": (RGB, -1, True),
    "uint8, axis 2": (RGB, 2, True),
    "channels first": (np.ascontiguousarray(RGB.transpose(2, 0, 1)), 0, True),
    "channels first, counted from the end": (RGB.transpose(2, 0, 1), -3, True),
    "channels in the middle": (RGB.transpose(0, 2, 1), 1, True),
    "float64": (FLOAT, -1, False),
    "float32, channels first": (FLOAT.transpose(2, 0, 1).astype(np.float32), 0, False),
    "grey": (RGB[..., 0], None, False),
    "grey float": (FLOAT[..., 0], None, False),
    "four channels": (np.dstack([RGB, RGB[..., 0]]), -1, False),
    "volume": (RGB[:12, :12], None, False),
}
# Options; True where the compiled part may answer.
OPTIONS: dict[str, tuple[dict[str, Any], bool]] = {
    "defaults": ({}, True),
    "as ours": ({"sigma": 0.0, "convert2lab": True, "min_size_factor": 0.5, "max_size_factor": 3.0}, True),
    "zero": ({"slic_zero": True, "max_num_iter": 3}, True),
    "unconnected": ({"enforce_connectivity": False, "compactness": 1.0}, True),
    "smoothed": ({"sigma": 1}, False),
    "smoothed along one axis": ({"sigma": (2.0, 0.0)}, False),
    "smoothed by three": ({"sigma": [0, 1, 2]}, False),
    "spacing": ({"spacing": (1, 2)}, False),
    "spacing of three": ({"spacing": np.array([2.0, 1, 1]), "sigma": 1}, False),
    "no Lab": ({"convert2lab": False}, False),
    "sizes": ({"min_size_factor": 0.1, "max_size_factor": 1.5}, False),
    "masked": ({"mask": MASK}, False),
    "masked and smoothed": ({"mask": MASK, "sigma": 0.5, "slic_zero": True}, False),
}


@pytest.fixture
def asked(monkeypatch) -> list[tuple]:
    """Calls that were handed over to scikit-image, and answered there."""
    calls: list[tuple] = []
    by_library = MODULE._by_library
    monkeypatch.setattr(MODULE, "_by_library", lambda *given, **more: calls.append(given) or by_library(*given, **more))
    return calls


def outcome(function: Callable, *given: Any, **options: Any) -> tuple:
    """What a call gives: labels or an error, and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            labels = function(*given, **options)
            answer = (labels.dtype, labels.shape, labels.tolist())
        except Exception as error:
            answer = (type(error), str(error))
    return answer, [(warning.category, str(warning.message)) for warning in caught]


def test_parameters_are_those_of_scikit_image_in_its_order_but_ids_start_from_0():
    ours, theirs = inspect.signature(slic).parameters, inspect.signature(segmentation.slic).parameters
    assert [(one.name, one.kind) for one in ours.values()] == [(one.name, one.kind) for one in theirs.values()]
    differ = {name for name in ours if ours[name].default != theirs[name].default}
    assert differ == {"start_label"}
    assert (ours["start_label"].default, theirs["start_label"].default) == (0, 1)


@pytest.mark.parametrize("start_label", [0, 1])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_labels_errors_and_warnings_are_those_of_scikit_image(image, options, start_label, asked):
    (pixels, axis, fits), (given, compiled) = image, options
    before = pixels.copy()
    found = outcome(slic, pixels, 12, **given, start_label=start_label, channel_axis=axis)
    assert len(asked) == (not (fits and compiled))
    assert found == outcome(segmentation.slic, pixels, 12, **given, start_label=start_label, channel_axis=axis)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ((RGB,), {"start_label": 2}),
        ((RGB,), {"start_label": 1.0}),
        ((RGB,), {"start_label": "1"}),
        ((RGB[..., 0],), {}),
        ((RGB[..., 0],), {"channel_axis": 2}),
        ((RGB,), {"channel_axis": 3}),
        ((RGB,), {"channel_axis": (-1,)}),
        ((RGB,), {"channel_axis": (0, 1)}),
        ((RGB[:0],), {}),
        ((RGB.tolist(),), {}),
        ((RGB, 0), {}),
        ((RGB, -3), {}),
        ((RGB, "12"), {}),
        ((RGB, 12, 0), {}),
        ((RGB, 12, "10"), {}),
        ((RGB,), {"spacing": 2}),
        ((RGB,), {"spacing": (1, 2, 3, 4)}),
        ((RGB,), {"sigma": (1, 2, 3, 4)}),
        ((RGB,), {"sigma": np.zeros(2)}),
        ((RGB,), {"sigma": -1}),
        ((RGB,), {"max_num_iter": 0}),
        ((RGB,), {"max_size_factor": float("inf")}),
        ((RGB,), {"mask": MASK[:-1]}),
        ((RGB[..., :2],), {"convert2lab": True}),
        ((np.ma.MaskedArray(RGB, RGB > 99),), {"enforce_connectivity": False}),
        ((HOLES,), {}),
        ((HOLES,), {"mask": NO_CORNER}),
    ],
)
def test_what_is_unusual_is_answered_or_refused_as_scikit_image_does(given, options, asked):
    options = {"start_label": 0, **options}
    assert outcome(slic, *given, **options) == outcome(segmentation.slic, *given, **options)
    assert len(asked) == 1


def test_a_call_by_position_means_the_same(asked):
    given = (RGB, 12, 5.0, 4, 0, None, None, False, 0.5, 3, True, 1)
    assert outcome(slic, *given) == outcome(segmentation.slic, *given)
    assert not asked
    given = (RGB, 12, 5.0, 4, 1.0, (1, 2), False, True, 0.3, 2, True, 1, MASK)
    assert outcome(slic, *given) == outcome(segmentation.slic, *given)
    assert len(asked) == 1


def test_no_arguments_are_a_hundred_segments_of_compactness_10(asked):
    np.testing.assert_array_equal(slic(RGB), segmentation.slic(RGB, 100, 10, start_label=0))
    assert not asked


def test_ids_from_1_where_the_first_component_is_small(asked):
    """It is merged before any other has an id."""
    random = np.random.default_rng(1)
    settings = [*itertools.product(range(1, 30), (True, False))]
    for _ in range(100 if PROOF else 4):
        for count, zero in settings:
            image = np.where(random.random((*random.integers(1, 20, 2), 3)) < 0.5, 0, 255).astype(np.uint8)
            expected = segmentation.slic(image, count, 1.0, slic_zero=zero, start_label=1)
            np.testing.assert_array_equal(slic(image, count, 1.0, slic_zero=zero, start_label=1), expected)
    assert not asked
