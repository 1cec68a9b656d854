"""Cutout on small painted arrays."""

import pytest
import torch

from lgcoamix.mixing import Batch, Cutout
from lgcoamix.mixing.cutout import CutoutPlan

OWN = torch.arange(2)


def cut(*boxes: list[int]) -> torch.Tensor:
    batch = Batch(torch.ones(len(boxes), 3, 4, 4), torch.arange(len(boxes)))
    return Cutout().mix(batch, CutoutPlan(torch.arange(len(boxes)), torch.tensor(boxes))).images


def test_a_box_is_blanked_in_its_own_image_and_what_sticks_out_is_lost():
    images = cut([1, 3, 0, 2], [-1, 1, 3, 5])
    assert images[0, 0].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    assert images[1, 2].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_the_labels_stay():
    batch = Batch(torch.rand(3, 3, 8, 8), torch.tensor([2, 0, 1]))
    mixed = Cutout()(batch.images, batch.labels, generator=torch.Generator().manual_seed(0))
    assert mixed.labels_a.tolist() == mixed.labels_b.tolist() == [2, 0, 1]
    assert mixed.weight_a.tolist() == [1, 1, 1]
    assert not torch.equal(mixed.images, batch.images)


@pytest.mark.parametrize(("area", "sides"), [(0.25, (4, 6)), (1.0, (8, 12)), (0.1, (2, 3)), (0.0, (0, 0))])
def test_the_box_has_the_share_of_each_side(area, sides):
    batch = Batch(torch.rand(50, 3, 8, 12), torch.arange(50))
    plan = Cutout(area=area).plan(batch, torch.Generator().manual_seed(0))
    top, bottom, left, right = plan.boxes.unbind(dim=1)
    assert set((bottom - top).tolist()) == {sides[0]}
    assert set((right - left).tolist()) == {sides[1]}


def test_the_centres_are_spread_over_all_pixels():
    batch = Batch(torch.rand(2000, 3, 4, 6), torch.arange(2000))
    plan = Cutout().plan(batch, torch.Generator().manual_seed(0))
    centres = {(int(top) + 1, int(left) + 1) for top, left in plan.boxes[:, [0, 2]]}
    assert centres == {(row, column) for row in range(4) for column in range(6)}


def test_bytes_are_blanked_with_the_mean_rounded_to_the_nearest():
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # 123.7, 116.3 and 103.5 of 255
    draw = torch.Generator().manual_seed(0)
    mixed = Cutout(area=1.0)(images, OWN, generator=draw, statistics=statistics)
    assert mixed.images.amax(dim=(0, 2, 3)).tolist() == [124, 116, 104]
