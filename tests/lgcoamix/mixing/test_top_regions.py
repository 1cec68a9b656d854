"""Which regions are kept: an exact share of those that are present, ties by the lowest id."""

import pytest
import torch

from lgcoamix.mixing.lgcoamix import attention_weight, top_regions


def _kept(scores: list[float], areas: list[int], ratio: float) -> list[int]:
    index, kept = top_regions(torch.tensor([scores]), torch.tensor([areas]), ratio)
    return index[0][kept[0]].tolist()


@pytest.mark.parametrize(
    ("ratio", "present", "expected"),
    [
        (0.7, 90, 63),
        (0.7, 10, 7),
        (0.1, 30, 3),
        (0.29, 100, 29),
        (0.7, 1, 1),
        (0.1, 9, 1),
        (1.0, 13, 13),
        (0.0, 5, 1),
        (1e-320, 5, 1),
        (0.1234567890123456, 90, 11),
    ],
)
def test_the_share_is_exact_and_at_least_one(ratio, present, expected):
    # In floating point 0.7·90 is 62.99... and 0.29·100 is 28.99...
    areas = [1] * present + [0] * 17
    assert len(_kept([0.5] * (present + 17), areas, ratio)) == expected


def test_the_largest_scores_are_kept_in_falling_order():
    assert _kept([0.1, 5.0, -2.0, 3.0, 4.0], [1, 1, 1, 1, 1], 0.6) == [1, 4, 3]


def test_ties_go_to_the_lowest_id():
    assert _kept([0.0] * 6, [1] * 6, 0.5) == [0, 1, 2]
    assert _kept([1.0, 2.0, 1.0, 2.0, 1.0], [1] * 5, 0.6) == [1, 3, 0]


def test_absent_regions_are_never_kept_and_do_not_count():
    # Three of six are present: floor(0.7·3) = 2, although the absent ones score higher.
    assert _kept([9.0, 1.0, 9.0, 3.0, 2.0, 9.0], [0, 4, 0, 4, 4, 0], 0.7) == [3, 4]


def test_an_image_without_regions_keeps_none():
    assert _kept([1.0, 2.0], [0, 0], 1.0) == []


def test_images_of_a_batch_keep_their_own_numbers():
    scores = torch.tensor([[1.0, 2, 3, 4], [4.0, 3, 2, 1]])
    index, kept = top_regions(scores, torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]), 0.5)
    assert index.tolist() == [[3, 2], [0, 1]]
    assert kept.tolist() == [[True, True], [True, False]]


def test_attention_weight_by_hand():
    # sigmoid(0) = 1/2, sigmoid(log 3) = 3/4: b has 3/4·4 = 3 of 3 + 1/2·2 = 4.
    scores, areas = torch.tensor([[0.0, 5.0, 5.0, float(torch.log(torch.tensor(3.0)))]]), torch.tensor([[2, 0, 0, 4]])
    assert float(attention_weight(scores, areas, torch.tensor([0.9]))) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("scores", "areas", "expected"),
    [
        pytest.param([1.0, 2.0, 3.0, 4.0], [5, 5, 0, 0], 0.0, id="nothing pasted"),
        pytest.param([1.0, 2.0, 3.0, 4.0], [0, 0, 5, 5], 1.0, id="everything pasted"),
        pytest.param([1.0, 2.0, 3.0, 4.0], [0, 0, 0, 0], 0.3, id="no region: the area"),
        pytest.param([-1e4, -1e4, -1e4, -1e4], [1, 1, 1, 1], 0.3, id="all scores vanish: the area"),
    ],
)
def test_attention_weight_at_the_edges(scores, areas, expected):
    weight = attention_weight(torch.tensor([scores]), torch.tensor([areas]), torch.tensor([0.3]))
    assert float(weight) == pytest.approx(expected)


def test_attention_weight_has_no_gradient():
    scores = torch.zeros(1, 4, requires_grad=True)
    assert not attention_weight(scores, torch.ones(1, 4), torch.tensor([0.5])).requires_grad
