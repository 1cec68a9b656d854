"""Pasting superpixels: a painted 4x4 example by hand, and the distribution of the selection."""

import pytest
import torch

from lgcoamix.mixing import Batch, LGCOAMix, Mixed, SuperpixelGrid
from lgcoamix.mixing.superpixels import SuperpixelPlan
from lgcoamix.models import LocalGlobalNet, LocalOutput, Output
from tests.conftest import PROOF

S = 255  # no superpixel
MAP_0 = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, S], [2, 2, 2, S]]
MAP_1 = [[0, 1, 1, 1], [0, 1, 1, 1], [0, S, 2, 2], [0, S, 2, 2]]
COUNT = 3
# Image 0 receives superpixels 0 and 2 of image 1; image 1 receives superpixel 1 of image 0.
SELECTED = torch.tensor([[True, False, True], [False, True, False]])
PASTED_0 = [[1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]]
PASTED_1 = [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
# Ids of the pasted image are moved up by 3; a pixel of no superpixel is -1 unless something was pasted there.
REGIONS_0 = [[3, 0, 1, 1], [3, 0, 1, 1], [3, 2, 5, 5], [3, 2, 5, 5]]
REGIONS_1 = [[0, 1, 4, 4], [0, 1, 4, 4], [0, -1, 2, 2], [0, -1, 2, 2]]


def _batch() -> Batch:
    images = torch.stack((torch.full((3, 4, 4), 0.25), torch.full((3, 4, 4), 0.75)))
    images[:, 1] += torch.linspace(0, 0.1, 16).view(4, 4)  # no two pixels alike
    return Batch(images, torch.tensor([5, 8]), torch.tensor([MAP_0, MAP_1], dtype=torch.uint8), COUNT)


def _mixed() -> Mixed:
    return LGCOAMix().mix(_batch(), SuperpixelPlan(torch.tensor([1, 0]), SELECTED))


def test_only_selected_superpixels_are_pasted():
    batch = _batch()
    pasted = torch.tensor([PASTED_0, PASTED_1], dtype=torch.bool)[:, None]
    assert torch.equal(_mixed().images, torch.where(pasted, batch.images.flip(0), batch.images))


def test_both_maps_are_merged_with_the_pasted_ids_moved_up():
    assert _mixed().regions.tolist() == [REGIONS_0, REGIONS_1]
    assert _mixed().count == 2 * COUNT


def test_the_area_weight_counts_pixels_without_superpixel_for_the_receiving_image():
    # 8 and 4 of 16 pixels are pasted; the pixels of -1 stay in the denominator.
    assert _mixed().lam.tolist() == [8 / 16, 4 / 16]
    assert _mixed().labels_a.tolist() == [5, 8]
    assert _mixed().labels_b.tolist() == [8, 5]


def test_a_region_that_is_cut_into_pieces_stays_one_region():
    # Superpixel 1 crosses the middle row of superpixel 0 in two pieces.
    maps = torch.tensor([[[0, 0, 0]], [[1, 0, 1]]])
    batch = Batch(torch.rand(2, 3, 1, 3), torch.tensor([0, 1]), maps, 2)
    selected = torch.tensor([[True, False], [False, False]])
    mixed = LGCOAMix().mix(batch, SuperpixelPlan(torch.tensor([1, 0]), selected))
    assert mixed.regions.tolist() == [[[0, 2, 0]], [[1, 0, 1]]]


@pytest.mark.parametrize("lam", ["attention", "area", "mean"])
def test_the_label_weight_by_hand(lam):
    # Areas as in REGIONS_0 and REGIONS_1; all scores are 0 but that of id 3 in image 0: sigmoid(log 3) = 3/4.
    embeddings = torch.zeros(2, 6, 1)
    embeddings[0, 3] = torch.log(torch.tensor(3.0))
    areas = torch.tensor([[2, 4, 2, 4, 0, 4], [4, 2, 4, 0, 4, 0]])
    local = LocalOutput(embeddings, embeddings, torch.zeros(2, 6, 9), areas)
    mixed, mixer = _mixed(), LGCOAMix(lam=lam)
    attention = [(0.75 * 4 + 0.5 * 4) / (0.75 * 4 + 0.5 * 12), 4 / 14]
    area = [0.5, 0.25]
    mean = [(a + b) / 2 for a, b in zip(attention, area, strict=True)]
    wanted = {"attention": attention, "area": area, "mean": mean}[lam]
    assert mixer.pasted_weight(Output(torch.zeros(2, 9), local), mixed).tolist() == pytest.approx(wanted)


def test_an_unmixed_batch_is_plain_cross_entropy():
    batch = _batch()
    mixed = LGCOAMix(mix_prob=0.0)(batch.images, batch.labels, batch.maps, generator=torch.Generator(), count=COUNT)
    logits = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    terms = LGCOAMix().loss(Output(logits), mixed)
    assert terms.keys() == {"global"}
    torch.testing.assert_close(terms["global"], torch.nn.functional.cross_entropy(logits, batch.labels))


@pytest.mark.parametrize("chance", [0.0, 0.2, 1.0])
def test_superpixels_are_selected_independently_with_their_probability(chance):
    rounds = 500 if PROOF else 100
    batch, generator = Batch(torch.zeros(8, 3, 1, 1), torch.zeros(8).long(), None, 10), torch.Generator().manual_seed(2)
    mixer = LGCOAMix(mix_prob=1.0, select_prob=chance)
    chosen = torch.stack([mixer.plan(batch, generator).selected for _ in range(rounds)]).double()
    assert chosen.shape == (rounds, 8, 10)
    spread = (chance * (1 - chance)) ** 0.5
    assert abs(float(chosen.mean()) - chance) <= 4 * spread / (rounds * 80) ** 0.5
    # Independent: each place has the probability, and so have pairs of neighbours its square.
    assert (chosen.mean(dim=0) - chance).abs().max() <= 5 * spread / rounds**0.5
    pairs = (chosen[..., 1:] * chosen[..., :-1]).mean()
    assert abs(float(pairs) - chance**2) <= 4 * chance / (rounds * 72) ** 0.5


def test_superpixel_grid_mixes_as_lgcoamix_does_without_regions():
    batch, plan = _batch(), SuperpixelPlan(torch.tensor([1, 0]), SELECTED)
    expected, found = LGCOAMix().mix(batch, plan), SuperpixelGrid().mix(batch, plan)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.weight_b, expected.weight_b)
    assert (found.regions, found.count) == (None, 0)


@pytest.mark.parametrize("chance", [0.0, 0.2, 1.0])
def test_superpixel_grid_selects_with_its_chance(chance):
    batch = Batch(torch.rand(50, 3, 4, 4), torch.arange(50), torch.zeros(50, 4, 4, dtype=torch.uint8), 100)
    plan = SuperpixelGrid(mix_prob=1.0, select_prob=chance).plan(batch, torch.Generator().manual_seed(0))
    assert abs(plan.selected.float().mean() - chance) <= 4 * (chance * (1 - chance) / 5000) ** 0.5


def test_a_network_that_was_not_given_all_regions_is_refused():
    mixer, images = LGCOAMix(mix_prob=1.0), torch.rand(2, 3, 16, 16)
    maps = (torch.arange(16) // 4).expand(2, 16, 16)
    mixed = mixer(images, torch.arange(2), maps, generator=torch.Generator().manual_seed(0))
    network = LocalGlobalNet("resnet10t", 2, width=4)
    with pytest.raises(ValueError, match="for 8 regions, got that for no regions; call model"):
        mixer.loss(network(mixed.images), mixed)
    with pytest.raises(ValueError, match="for 8 regions, got that for 4 regions; call model"):
        mixer.loss(network(mixed.images, mixed.regions, 4), mixed)
    with pytest.raises(ValueError, match="got regions and count=0"):
        network(mixed.images, mixed.regions)
    assert len(mixer.loss(network(mixed.images, mixed.regions, mixed.count), mixed)) == 3


def test_a_gate_that_is_drawn_elsewhere_decides():
    mixer, batch = LGCOAMix(mix_prob=0.5), _batch()
    for is_open in (False, True):
        for seed in range(4):
            draw = torch.Generator().manual_seed(seed)
            mixed = mixer(batch.images, batch.labels, batch.maps, generator=draw, is_open=is_open)
            assert (mixed.regions is not None) == is_open
