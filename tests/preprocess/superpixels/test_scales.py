"""Which segment counts are stored, and how often each is drawn."""

import numpy as np
import pytest
from PIL import Image
from skimage.segmentation import slic

from preprocess.superpixels import choose_scales, parse_segments
from preprocess.superpixels.slic import largest_id


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("30:33", [30, 31, 32, 33]),
        ("7:7", [7]),
        ("50", [50]),
        ("100,25,50", [25, 50, 100]),
        ("8,8", [8]),
        (" 3 , 4", [3, 4]),
    ],
)
def test_segment_texts_are_read(text, counts):
    assert list(parse_segments(text)) == counts


@pytest.mark.parametrize(
    "text", ["", "0", "-3", "40:30", "0:5", "a", "3.5", "3:", ":", "1:2:3", "1,,2", "30-40", "1:2,3"]
)
def test_other_segment_texts_are_refused_and_quoted(text):
    with pytest.raises(ValueError, match="LO:HI") as caught:
        parse_segments(text)
    assert repr(text) in str(caught.value)


def test_an_explicit_list_is_stored_literally_with_equal_weights():
    chosen = choose_scales((36, 37, 200), (224, 224), 1)
    assert [(scale.segments, scale.weight) for scale in chosen] == [(36, 1 / 3), (37, 1 / 3), (200, 1 / 3)]


# Seeds lie on a grid of step sqrt(64 / n), rounded: 4 for n = 5 (started at 1), 3 for 6 to 10, 2 for 11 to 16.
@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (None, {5: 1 / 12, 8: 5 / 12, 13: 6 / 12}),
        (9, {5: 1 / 12, 8: 5 / 12, 13: 6 / 12}),
        (2, {7: 6 / 12, 13: 6 / 12}),
        (1, {10: 1.0}),
    ],
)
def test_a_range_on_eight_by_eight_pixels_by_hand(most, expected):
    chosen = choose_scales(range(5, 17), (8, 8), most)
    assert {scale.segments: scale.weight for scale in chosen} == pytest.approx(expected)


def test_all_gives_one_scale_for_each_distinct_map():
    coarse = np.random.default_rng(3).integers(0, 256, (15, 15, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC))
    maps = {count: slic(image, n_segments=count, compactness=10, start_label=0) for count in range(35, 44)}
    groups = [[35]]
    for count in range(36, 44):
        same = np.array_equal(maps[count], maps[count - 1])
        groups[-1].append(count) if same else groups.append([count])
    assert [36, 37] in groups
    assert [40, 41, 42] in groups
    chosen = choose_scales(range(35, 44), (224, 224), None)
    assert [scale.weight for scale in chosen] == pytest.approx([len(group) / 9 for group in groups])
    assert all(scale.segments in group for scale, group in zip(chosen, groups, strict=True))


@pytest.mark.parametrize("size", [16, 80, 224, 256])
@pytest.mark.parametrize("most", [1, 2, 4, 7, None])
def test_weights_sum_to_one_and_counts_rise_within_the_range(size, most):
    for counts in (range(30, 41), range(39, 53), range(1, 60), range(5, 6)):
        chosen = choose_scales(counts, (size, size), most)
        segments = [scale.segments for scale in chosen]
        assert sum(scale.weight for scale in chosen) == pytest.approx(1)
        assert segments == sorted(set(segments))
        assert set(segments) <= set(counts)
        assert len(chosen) <= (most or len(counts))


def test_four_scales_share_a_range_of_distinct_grids_evenly():
    weights = [scale.weight for scale in choose_scales(range(30, 41), (256, 256), 4)]
    assert sorted(weights) == pytest.approx([2 / 11, 3 / 11, 3 / 11, 3 / 11])


@pytest.mark.parametrize("size", [8, 17, 32])
@pytest.mark.parametrize("compactness", [0.001, 10])
def test_no_picture_gives_an_id_above_the_bound(size, compactness):
    random = np.random.default_rng(size)
    noise = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
    checks = (np.indices((size, size)).sum(axis=0) % 2 * 255).astype(np.uint8)
    pictures = [
        noise,
        noise[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)[:size, :size],  # the most pieces: 2 x 2 pixels each
        np.where(noise[..., :1] > 127, 255, 0).astype(np.uint8).repeat(3, axis=2),
        np.stack([checks] * 3, axis=2),
        np.zeros((size, size, 3), np.uint8),
    ]
    for count in (1, 2, 3, 7, 12, 23, 30, 33, size * size // 7, size * size // 2, size * size):
        bound = largest_id((size, size), count)
        for picture in pictures:
            found = slic(np.ascontiguousarray(picture), n_segments=count, compactness=compactness, start_label=0)
            assert found.max() <= bound
