"""The function ``slic``."""

import numpy as np
import pytest
from skimage import segmentation

from preprocess.superpixels import slic

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("options", [{}, {"compactness": 30.0, "max_num_iter": 3}, {"slic_zero": True}])
def test_equals_scikit_image(options):
    expected = segmentation.slic(IMAGE, n_segments=12, start_label=0, **{"compactness": 10, **options})
    np.testing.assert_array_equal(slic(IMAGE, 12, **options), expected)


def test_leaves_the_image_as_it_was():
    before = IMAGE.copy()
    slic(IMAGE, 12)
    np.testing.assert_array_equal(IMAGE, before)


@pytest.mark.parametrize(
    ("image", "count", "compactness"),
    [
        (IMAGE.astype(np.float32), 12, 10),
        (IMAGE[..., 0], 12, 10),
        (IMAGE, 0, 10),
        (IMAGE, 12, 0),
    ],
    ids=["float", "grey", "no segments", "no compactness"],
)
def test_other_input_is_refused(image, count, compactness):
    with pytest.raises(ValueError, match="must be"):
        slic(image, count, compactness)
