"""Mixup and CutMix: painted examples by hand, and the distributions of their draws."""

import math

import pytest
import torch
from scipy import stats

from lgcoamix.mixing import Batch, CutMix, Mixup
from lgcoamix.mixing.cutmix import CutMixPlan
from lgcoamix.mixing.mixup import MixupPlan
from tests.conftest import PROOF

DRAWS = 4000 if PROOF else 800
SWAP = torch.tensor([1, 0])


def _two_images(height: int = 4, width: int = 4) -> Batch:
    """One image of ones and one of twos, labels 3 and 7."""
    images = torch.tensor([1.0, 2.0])[:, None, None, None].expand(2, 3, height, width)
    return Batch(images, torch.tensor([3, 7]))


def test_mixup_weighs_the_pasted_image_and_its_label_by_lam():
    mixed = Mixup().mix(_two_images(), MixupPlan(SWAP, torch.tensor(0.25, dtype=torch.float64)))
    torch.testing.assert_close(mixed.images[0], torch.full((3, 4, 4), 0.75 * 1 + 0.25 * 2))
    torch.testing.assert_close(mixed.images[1], torch.full((3, 4, 4), 0.75 * 2 + 0.25 * 1))
    assert mixed.labels_a.tolist() == [3, 7]
    assert mixed.labels_b.tolist() == [7, 3]
    assert mixed.weight_b.tolist() == [0.25, 0.25]


def test_cutmix_pastes_the_box_and_nothing_else():
    plan = CutMixPlan(SWAP, torch.tensor([1, 3, 0, 1]), torch.tensor(0.4, dtype=torch.float64))
    mixed = CutMix().mix(_two_images(), plan)
    first = torch.tensor([[1.0, 1, 1, 1], [2, 1, 1, 1], [2, 1, 1, 1], [1, 1, 1, 1]])
    assert torch.equal(mixed.images[0], first.expand(3, 4, 4))
    assert torch.equal(mixed.images[1], 3 - first.expand(3, 4, 4))
    assert mixed.labels_b.tolist() == [7, 3]


@pytest.mark.parametrize(("correct", "weight"), [(True, 2 / 16), (False, 0.4)])
def test_cutmix_weighs_by_the_pasted_area_or_as_drawn(correct, weight):
    plan = CutMixPlan(SWAP, torch.tensor([1, 3, 0, 1]), torch.tensor(0.4, dtype=torch.float64))
    mixed = CutMix(correct_lam=correct).mix(_two_images(), plan)
    assert mixed.weight_b.tolist() == pytest.approx([weight, weight])
    assert mixed.weight_a.tolist() == pytest.approx([1 - weight, 1 - weight])


@pytest.mark.parametrize("box", [[2, 2, 0, 4], [0, 4, 0, 4]], ids=["empty", "everything"])
def test_cutmix_with_an_empty_or_a_full_box(box):
    plan = CutMixPlan(SWAP, torch.tensor(box), torch.tensor(0.4, dtype=torch.float64))
    mixed = CutMix().mix(_two_images(), plan)
    share = 0.0 if box[0] == box[1] else 1.0
    assert torch.equal(mixed.images[0], torch.full((3, 4, 4), 1 + share))
    assert mixed.weight_b.tolist() == [share, share]


def test_cutmix_boxes_are_centred_in_the_image_and_clipped_at_its_border():
    # METHODS 6: sides floor(L·√(1-λ0)), edges centre ± side // 2, clipped; some integer centre must explain them.
    batch, generator = _two_images(9, 16), torch.Generator().manual_seed(0)
    cut_off = 0
    for _ in range(DRAWS // 10):
        plan = CutMix().plan(batch, generator)
        edges = plan.box.tolist()
        for length, low, high in ((9, *edges[:2]), (16, *edges[2:])):
            half = math.floor(length * math.sqrt(float(plan.drawn))) // 2
            boxes = [(max(0, centre - half), min(length, centre + half)) for centre in range(length)]
            assert (low, high) in boxes
            cut_off += high - low < 2 * half
        mixed = CutMix().mix(batch, CutMixPlan(SWAP, plan.box, plan.drawn))
        area = (edges[1] - edges[0]) * (edges[3] - edges[2])
        assert float(mixed.weight_b[0]) == pytest.approx(area / (9 * 16))
        assert int((mixed.images[0, 0] == 2).sum()) == area
    assert cut_off > DRAWS // 40  # clipping has been seen


def test_the_centre_of_a_cutmix_box_is_uniform_over_the_pixels():
    # alpha 1000 holds λ0 at a half: side floor(8·√0.5) = 5, half side 2, so that each of 8 centres has its own edges.
    mixer, generator = CutMix(alpha=1000.0), torch.Generator().manual_seed(0)
    boxes = [mixer.plan(_two_images(8, 8), generator).box.tolist() for _ in range(DRAWS)]
    centres = [(max(0, centre - 2), min(8, centre + 2)) for centre in range(8)]
    for low, high in ((0, 1), (2, 3)):
        seen = [centres.index((box[low], box[high])) for box in boxes]
        assert stats.chisquare([seen.count(centre) for centre in range(8)]).pvalue > 1e-3
    assert len({tuple(box) for box in boxes}) == 64  # rows and columns are drawn apart


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(alpha):
    generator = torch.Generator().manual_seed(1)
    blends = [float(Mixup(alpha=alpha).plan(_two_images(), generator).lam) for _ in range(DRAWS)]
    boxes = [float(CutMix(alpha=alpha).plan(_two_images(), generator).drawn) for _ in range(DRAWS)]
    for draws in (blends, boxes):
        assert stats.kstest(draws, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
