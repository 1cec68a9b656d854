"""OcCaMix: best cells, the superpixels that lie in them, and the whole against loops over pixels."""

import math

import pytest
import timm
import torch
from torch import Tensor

from lgcoamix.mixing import Batch, OcCaMix
from lgcoamix.mixing.occamix import best_cells, superpixels_of_cells
from lgcoamix.ops.class_activation import classifier_weight, last_map

#  4 cells of 2 x 2 pixels:        superpixel 3 lies in one cell alone, 0 in all four
MAP = torch.tensor([[
    [0, 0, 1, 1],
    [0, 2, 2, 1],
    [0, 2, 2, 1],
    [3, 3, 0, 0],
]])  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "chosen"),
    [
        # Cell 0 holds 3 of 6 pixels of superpixel 0, and 1 of 4 of superpixel 2.
        ([[0]], [0]),
        # Cell 1: 3 of 4 pixels of superpixel 1, 1 of 4 of superpixel 2.
        ([[1]], [1]),
        # Cell 2: 1 of 6 of superpixel 0, 1 of 4 of superpixel 2, all of superpixel 3.
        ([[2]], [3]),
        # Cell 3: 2 of 6 of superpixel 0, 1 of 4 of 1, 1 of 4 of 2.
        ([[3]], [0]),
        ([[3, 0]], [0]),
        ([[2, 1]], [1, 3]),
    ],
)
def test_the_superpixel_that_lies_in_a_cell_most_is_taken(cells, chosen):
    selected = superpixels_of_cells(MAP, 4, torch.tensor(cells), (2, 2))
    assert selected[0].nonzero().flatten().tolist() == chosen


def test_ties_go_to_the_lowest_id():
    ids = torch.tensor([[[2, 1], [2, 1]]])
    assert superpixels_of_cells(ids, 3, torch.tensor([[0]]), (1, 1))[0].tolist() == [False, True, False]


def test_pixels_beyond_the_last_cell_are_in_no_cell():
    """5 pixels in 2 cells of 2: superpixel 1 is all in the last column."""
    ids = torch.zeros(1, 5, 5, dtype=torch.long)
    ids[:, :, 4] = 1
    assert superpixels_of_cells(ids, 2, torch.tensor([[0, 1, 2, 3]]), (2, 2))[0].tolist() == [True, False]


def test_a_cell_without_superpixels_selects_none():
    ids = torch.full((1, 4, 4), 255)
    ids[:, 2:, 2:] = 1
    assert not superpixels_of_cells(ids, 2, torch.tensor([[0]]), (2, 2)).any()
    assert superpixels_of_cells(ids, 2, torch.tensor([[0, 3]]), (2, 2))[0].tolist() == [False, True]


def test_the_score_of_a_cell_is_its_most_active_class():
    #                         cell:   0    1    2    3
    features = torch.tensor([[[[1.0, 0.0], [2.0, -3.0]], [[0.0, 5.0], [1.0, -3.0]]]])
    weight = torch.tensor([[1.0, 0.0], [0.0, 0.5], [-1.0, 0.1]])
    # Class 0 sees 1, 0, 2, -3; class 1 sees 0, 2.5, 0.5, -1.5; class 2 -1, 0.5, -1.9, 2.7.
    assert best_cells(features, weight, 4).tolist() == [[3, 1, 2, 0]]
    assert best_cells(features, weight, 2).tolist() == [[3, 1]]
    assert best_cells(features, weight, 99).tolist() == [[3, 1, 2, 0]]


def test_cells_that_no_class_is_active_at_come_in_order():
    features, weight = -torch.ones(1, 1, 2, 2), torch.ones(1, 1)
    assert best_cells(features, weight, 3).tolist() == [[0, 1, 2]]


def slow_selection(ids: Tensor, count: int, features: Tensor, weight: Tensor, most: int) -> set[int]:
    """One image: the definition, pixel by pixel."""
    _, h, w = features.shape
    scores = {}
    for row in range(h):
        for column in range(w):
            active = [float(weight[n] @ features[:, row, column]) for n in range(len(weight))]
            scores[row, column] = max(max(active), 0.0)
    cells = sorted(scores, key=lambda cell: (-scores[cell], cell))[:most]
    side = len(ids) // h
    size = {k: int((ids == k).sum()) for k in range(count)}
    chosen = set()
    for row, column in cells:
        square = ids[row * side : (row + 1) * side, column * side : (column + 1) * side]
        touching = [k for k in range(count) if (square == k).any()]
        if touching:
            chosen.add(max(touching, key=lambda k: (int((square == k).sum()) / size[k], -k)))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_the_whole_equals_loops_over_pixels(seed):
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = timm.create_model("resnet10t", num_classes=7, output_stride=8)
    coarse = torch.randint(9, (4, 8, 8), generator=draw)
    maps = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2).to(torch.uint8)
    maps[1, :, :5] = 255
    batch = Batch(torch.rand(4, 3, 32, 32, generator=draw), torch.arange(4), maps, 9)
    mixer = OcCaMix(mix_prob=1.0, top_cells=3)
    plan = mixer.plan(batch, draw, model)
    mixed = mixer.mix(batch, plan)
    features = last_map(model, batch.images)
    weight = classifier_weight(model, features.shape[1])
    for image, other in enumerate(plan.permutation.tolist()):
        ids = maps[other].long()
        chosen = slow_selection(ids, 9, features[other], weight, 3)
        pasted = torch.tensor([[int(k) in chosen for k in row] for row in ids.tolist()])
        assert pasted.any()
        expected = torch.where(pasted, batch.images[other], batch.images[image])
        assert torch.equal(mixed.images[image], expected)
        assert float(mixed.weight_b[image]) == pytest.approx(int(pasted.sum()) / 32**2)
    assert mixed.regions is None


def test_the_plan_depends_on_the_draws_only_by_the_permutation():
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=3, output_stride=8)
    batch = Batch(torch.rand(3, 3, 32, 32), torch.arange(3), torch.randint(4, (3, 32, 32)), 4)
    selected = []
    for seed in range(4):
        plan = OcCaMix(mix_prob=1.0).plan(batch, torch.Generator().manual_seed(seed), model)
        selected.append({int(image): row.tolist() for image, row in zip(plan.permutation, plan.selected, strict=True)})
    assert all(each == selected[0] for each in selected)
    assert math.prod(len(each) for each in selected) == 3**4


def test_cells_below_zero_are_alike_and_ties_stay_in_order_on_a_large_map():
    features = -torch.rand(1, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    assert best_cells(features, torch.ones(1, 1), 6).tolist() == [[0, 1, 2, 3, 4, 5]]
    features[0, 0, 6, 6] = 1.0
    assert best_cells(features, torch.ones(1, 1), 40).tolist() == [[48, *range(39)]]


def test_a_cell_is_as_high_as_the_height_divides_rounded_down():
    ids = torch.zeros(1, 5, 4, dtype=torch.long)  # two cells of 2 rows; the last row is in none
    ids[0, 2] = 1
    ids[0, 4] = 2
    assert superpixels_of_cells(ids, 3, torch.tensor([[1]]), (2, 1))[0].tolist() == [False, True, False]
    ids[0, 2:4] = 0
    assert superpixels_of_cells(ids, 3, torch.tensor([[1]]), (2, 1))[0].tolist() == [True, False, False]


def test_cells_are_as_wide_as_the_width_divides_where_it_is_not_the_height():
    ids = torch.zeros(1, 4, 8, dtype=torch.long)  # 2 x 2 cells of 2 rows and 4 columns
    ids[0, :2, 2:4] = 1  # all in cell 0
    ids[0, :2, 6:] = 2  # all in cell 1
    chosen = [superpixels_of_cells(ids, 3, torch.tensor([[cell]]), (2, 2))[0].tolist() for cell in range(4)]
    # Cells 2 and 3 hold 8 of the 24 pixels of superpixel 0, and nothing else.
    assert chosen == [[False, True, False], [False, False, True], [True, False, False], [True, False, False]]
