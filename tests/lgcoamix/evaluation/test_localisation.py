"""Boxes around activation maps: painted maps with known answers, the protocol in plain loops, boxes in a crop."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lgcoamix.data.windows import fixed_windows
from lgcoamix.errors import RunError
from lgcoamix.evaluation.boxes import (
    LEVELS,
    boxes_in_view,
    contour_boxes,
    intersection_over_union,
    overlaps,
    score_map,
)
from lgcoamix.evaluation.localisation import IOUS, figures
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.settings.sections import DataSettings
from tests.oracles import slow_localisation as slow


def mask(*rows: str) -> np.ndarray:
    """A mask painted with # on dots."""
    return np.array([[pixel == "#" for pixel in row] for row in rows])


def traced(*rows: str) -> tuple[set[tuple[int, ...]], tuple[int, ...]]:
    """All boxes of a mask, and that of the largest contour."""
    boxes, largest = contour_boxes(mask(*rows))
    assert boxes.dtype == np.int64
    return set(map(tuple, boxes.tolist())), tuple(boxes[largest].tolist())


PAINTED = {
    "one blob; the far edges are one beyond its last pixels": (
        ("......", ".###..", ".###..", "......"),
        {(1, 1, 4, 3)},
        (1, 1, 4, 3),
    ),
    "two blobs, the larger one in the corner": (
        ("##....", "##....", "......", "....##", "...###"),
        {(0, 0, 2, 2), (3, 3, 5, 4)},
        (3, 3, 5, 4),
    ),
    "touching at a corner: one": (("#...", ".##.", ".##.", "...."), {(0, 0, 3, 3)}, (0, 0, 3, 3)),
    "a column apart: two": (("##.##", "##.##", ".....", "....."), {(0, 0, 2, 2), (3, 0, 4, 2)}, None),
    "all: edges stay inside": (("###", "###"), {(0, 0, 2, 1)}, (0, 0, 2, 1)),
    "at the right and lower border": (("....", "..##", "..##"), {(2, 1, 3, 2)}, (2, 1, 3, 2)),
    "nothing": (("...", "..."), {(0, 0, 0, 0)}, (0, 0, 0, 0)),
    "a hole has a box, of the pixels around it": (
        ("......", "#####.", "#####.", "##.##.", "#####.", "#####.", "......"),
        {(0, 1, 5, 6), (1, 2, 4, 5)},
        (0, 1, 5, 6),
    ),
    "area, not pixels or extent, makes the largest": (
        ("#######", ".......", "##.....", "##.....", "......."),
        {(0, 0, 6, 1), (0, 2, 2, 4)},
        (0, 2, 2, 4),
    ),
    "a ring encloses more than a disc of more pixels": (
        (".###...", "#...#..", "#...#..", "#...#..", ".###...", ".......", "..####.", "..####.", "..####.", "......."),
        {(0, 0, 5, 5), (2, 6, 6, 9)},
        (0, 0, 5, 5),
    ),
}


@pytest.mark.parametrize(("rows", "boxes", "largest"), PAINTED.values(), ids=PAINTED)
def test_boxes_of_painted_masks(rows, boxes, largest):
    found, main = traced(*rows)
    assert found == boxes
    assert largest is None or main == largest
    by_components = {box for box, _ in slow.contours_of(mask(*rows))}
    assert by_components == (boxes if mask(*rows).any() else set())


def test_both_ends_of_a_span_are_counted():
    boxes = np.array([[0, 0, 1, 1], [0, 0, 0, 0], [5, 5, 8, 6]])
    others = np.array([[1, 1, 2, 2], [0, 0, 1, 1], [5, 6, 8, 9]])
    expected = [[1 / 7, 1, 0], [0, 1 / 4, 0], [0, 0, 4 / 20]]
    assert intersection_over_union(boxes, others) == pytest.approx(np.array(expected))
    assert slow.iou((0, 0, 1, 1), (1, 1, 2, 2)) == 1 / 7


def test_a_map_of_two_blobs_at_every_level():
    scores = np.zeros((12, 12))
    scores[0:3, 0:3] = 0.6  # grey 153: box (0, 0, 3, 3)
    scores[5:7, 5:7] = 1.0  # (5, 5, 7, 7), 9 pixels with both ends
    main, best = overlaps(scores, np.array([[5, 5, 7, 7], [9, 9, 11, 11]]))
    assert main.tolist() == [0] * 153 + [1] * 102  # the larger blob is gone from level 153 on
    assert best.tolist() == [1] * 255
    main, best = overlaps(scores, np.array([[1, 1, 4, 4]]))  # 16 pixels, 9 of them among the 16 of the first box
    assert main == pytest.approx(best)
    assert main == pytest.approx(np.array([9 / 23] * 153 + [0] * 102))


def test_a_level_is_a_whole_number_and_must_be_exceeded():
    scores = np.array([[0, 0, 0, 0], [0, 100 / 255 + 1e-9, 101 / 255 - 1e-9, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    main, _ = overlaps(scores, np.array([[1, 1, 3, 3]]))
    assert main[99] == 1
    assert main[100] == 4 / 9  # (2, 2, 3, 3) alone


def test_an_empty_map_has_the_box_of_the_first_pixel():
    main, best = overlaps(np.zeros((4, 4)), np.array([[0, 0, 1, 1]]))
    assert main.tolist() == best.tolist() == [0.25] * LEVELS


def test_contours_are_components_and_holes():
    random = np.random.default_rng(0)
    for share in np.linspace(0.02, 0.9, 60):
        painted = random.random((9, 13)) < share
        found, (boxes, largest) = slow.contours_of(painted), contour_boxes(painted)
        assert sorted(map(tuple, boxes.tolist())) == sorted(box for box, _ in found)
        areas = [area for _, area in found]
        assert tuple(boxes[largest].tolist()) == found[areas.index(max(areas))][0]


def test_the_protocol_in_plain_loops():
    random = np.random.default_rng(0)
    activations = [random.normal(size=(side, side)) for side in (2, 3, 4, 5, 6, 8)]
    maps = [score_map(activation, 16) for activation in (*activations[:5], activations[5].round())]
    truths = [np.sort(random.integers(0, 16, (number % 3 + 1, 2, 2)), axis=1).reshape(-1, 4) for number in range(6)]
    for truth, scores in zip(truths[::2], maps[::2], strict=True):  # half of them can be found
        truth[0] = contour_boxes(scores > 0.6)[0][0]
    right = np.array([False, True, True, False, True, True])
    found = [overlaps(scores, truth) for scores, truth in zip(maps, truths, strict=True)]
    main = np.array([of_main >= 0.5 for of_main, _ in found])
    best = np.array([[of_best >= iou for iou in IOUS] for _, of_best in found])
    got = figures(main, best, right, seed=0)
    del got["interval"]
    expected = slow.accuracies(maps, [list(map(tuple, truth.tolist())) for truth in truths], right.tolist())
    assert 100 > expected["max_box_acc"] > expected["top1"] > 0
    by_iou = {f"at {row['iou']}": row["accuracy"] for row in got.pop("max_box_acc_v2_by_iou")}
    assert got | by_iou == pytest.approx(expected | {"gt_known": expected["max_box_acc"]})


def test_accuracies_by_hand():
    main = np.zeros((4, LEVELS), bool)
    main[0, :100] = main[1, 50:] = main[2, 50:60] = True  # three of four at levels 50 to 59
    best = np.zeros((4, 3, LEVELS), bool)
    best[:, 0] = True
    best[:3, 1, 7] = True
    best[3, 2, 254] = True
    found = figures(main, best, np.array([True, True, False, True]), seed=0)
    assert found["max_box_acc"] == found["gt_known"] == 75
    assert found["threshold"] == 0.197  # 255 · 0.197 = 50.2; 255 · 0.196 is below 50
    assert found["top1"] == 50
    assert found["max_box_acc_v2"] == pytest.approx((100 + 75 + 25) / 3)
    by_iou = [(row["iou"], row["accuracy"], row["threshold"]) for row in found["max_box_acc_v2_by_iou"]]
    # 255 · 0.028 = 7.1; 255 · 0.997 = 254.2
    assert by_iou == [(0.3, 100, 0), (0.5, 75, 0.028), (0.7, 25, 0.997)]


def test_intervals_resample_the_images_at_the_chosen_thresholds():
    random, n = np.random.default_rng(3), 40
    main, best = np.zeros((n, LEVELS), bool), np.zeros((n, 3, LEVELS), bool)
    hits, right, three = random.random(n) < 0.6, random.random(n) < 0.7, random.random((n, 3)) < (0.9, 0.6, 0.2)
    main[:, 100], best[:, :, 30] = hits, three
    found = figures(main, best, right, seed=5)
    draws = np.random.default_rng(derive_seed("bootstrap", 5)).integers(0, n, (2000, n))

    def middle(values: np.ndarray) -> list[float]:
        """Ends of the middle 95 % of the resampled means, in percent."""
        means = sorted(sum(values[row].tolist()) / n * 100 for row in draws)
        ends = []
        for place in (0.025 * 1999, 0.975 * 1999):
            low, share = int(place), place % 1
            ends.append(means[low] * (1 - share) + means[low + 1] * share)
        return ends

    assert found["interval"]["max_box_acc"] == pytest.approx(middle(hits))
    assert found["interval"]["gt_known"] == pytest.approx(middle(hits))
    assert found["interval"]["top1"] == pytest.approx(middle(hits & right))
    assert found["interval"]["max_box_acc_v2"] == pytest.approx(middle(three.mean(axis=1)))
    for number, row in enumerate(found["max_box_acc_v2_by_iou"]):
        assert row["interval"] == pytest.approx(middle(three[:, number]))


def test_a_score_map_runs_from_0_to_1_and_keeps_its_orientation():
    assert score_map(np.array([[1.0, 2.0], [3.0, 5.0]]), 2) == pytest.approx(np.array([[0, 0.25], [0.5, 1]]))
    activation = np.random.default_rng(0).normal(size=(3, 3)) * 50
    scores = score_map(activation.copy(), 20)
    bicubic = F.interpolate(torch.from_numpy(activation)[None, None], size=(20, 20), mode="bicubic")[0, 0].numpy()
    expected = (bicubic - bicubic.min()) / (bicubic.max() - bicubic.min())
    assert scores == pytest.approx(expected, abs=1e-6)
    assert (scores.min(), scores.max()) == (0, 1)


def test_a_constant_map_is_empty_and_an_infinite_one_refused():
    assert not score_map(np.full((7, 7), 0.3), 32).any()  # resizing alone would leave rounding errors
    with pytest.raises(RunError, match="not finite"):
        score_map(np.array([[0, np.nan]]), 4)


def in_view(boxes: list, size: tuple[int, int], **data: object) -> list[list[list[int]]]:
    sizes, settings = np.array([size] * len(boxes)), DataSettings(**data)
    found = boxes_in_view(np.array(boxes, np.float32), sizes, fixed_windows(settings, sizes), settings.image_size)
    return [own.tolist() for own in found]


NONE = [np.nan] * 4


def test_boxes_are_resized_with_their_image():
    boxes = [[[0.25, 0.5, 0.75, 1.0], NONE], [[0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]], [NONE, NONE]]
    found = in_view(boxes, (64, 128), image_size=32, test="resize")
    assert found == [[[8, 16, 24, 32]], [[0, 0, 32, 32], [3, 6, 9, 12]], []]


def test_whole_edges_stay_whole_in_float32():
    # Pixel edges of an image of 500 x 335, shown at 224: 385 · 224 / 500 = 172.48.
    assert in_view([[[60 / 500, 27 / 335, 385 / 500, 331 / 335]]], (224, 224), image_size=224, test="resize") == [
        [[26, 18, 172, 221]]
    ]
    for count in (10, 448, 1000):
        edges = np.arange(count + 1) / count
        boxes = [[[0, 0, edge, edge]] for edge in edges[1:]]
        found = in_view(boxes, (count, count), image_size=count, test="resize")
        assert [own[0][2] for own in found] == list(range(1, count + 1))


def test_a_crop_cuts_boxes_and_hides_some():
    def box(x0: int, y0: int, x1: int, y1: int) -> list[float]:
        return [x0 / 80, y0 / 40, x1 / 80, y1 / 40]  # of a stored image of 80 x 40 pixels

    boxes = [
        [box(30, 10, 50, 30), NONE],  # the crop shows columns 24 to 55 and rows 4 to 35
        [box(0, 0, 80, 40), box(0, 0, 25, 5)],
        [box(0, 0, 24, 40), box(56, 0, 80, 40)],  # beside it, edge to edge
        [box(40, 0, 50, 4), box(40, 36, 50, 40)],
        [box(10, 10, 30, 20), box(0, 0, 10, 10)],
    ]
    assert in_view(boxes, (40, 80), image_size=32, test="center") == [
        [[6, 6, 26, 26]],
        [[0, 0, 32, 32], [0, 0, 1, 1]],
        [],
        [],
        [[0, 6, 6, 16]],
    ]
