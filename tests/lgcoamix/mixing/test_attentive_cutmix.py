"""Attentive CutMix against heat maps made by hand, and its extractor against timm."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from lgcoamix.mixing import AttentiveCutMix, Batch
from lgcoamix.mixing.attentive_cutmix import CellPlan, attentive_cells, cells_to_pixels
from lgcoamix.models import BackboneError, WeightsError
from lgcoamix.models.extractor import Extractor

NAME = "resnet10t"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    net = timm.create_model(NAME, num_classes=4, zero_init_last=False)
    for name, values in net.named_buffers():  # statistics unlike the initial ones: in training mode it would differ
        if name.endswith("running_var"):
            values.copy_(torch.rand_like(values) + 0.5)
        elif name.endswith("running_mean"):
            values.copy_(0.1 * torch.randn_like(values))
    path = tmp_path_factory.mktemp("weights") / "net.pt"
    torch.save(net.state_dict(), path)
    return path


def _mixer(weights: Path, **options: object) -> AttentiveCutMix:
    return AttentiveCutMix(extractor=NAME, extractor_weights=str(weights), extractor_size=224, **options)


def _slow_cells(heat: Tensor, most: int) -> list[int]:
    """The warmest cells of one (7, 7) map, the first of equals."""
    values = heat.flatten().tolist()
    return sorted(range(49), key=lambda cell: (-values[cell], cell))[:most]


def test_the_warmest_cells_are_chosen_and_ties_go_to_the_first():
    heat = torch.zeros(2, 7, 7)
    heat[0, 2, 3], heat[0, 6, 6], heat[0, 0, 5] = 3.0, 2.0, 1.0
    heat[1] = -1.0  # all alike
    cells = attentive_cells(heat, 3)
    assert cells.nonzero().tolist() == [[0, 0, 5], [0, 2, 3], [0, 6, 6], [1, 0, 0], [1, 0, 1], [1, 0, 2]]


@pytest.mark.parametrize("most", [1, 6, 49])
def test_any_number_of_cells_agrees_with_a_slow_sort(most):
    heat = torch.randint(-3, 4, (5, 7, 7), generator=torch.Generator().manual_seed(0)).float()
    cells = attentive_cells(heat, most)
    for image, chosen in zip(heat, cells, strict=True):
        assert chosen.flatten().nonzero()[:, 0].tolist() == sorted(_slow_cells(image, most))


def test_a_finer_map_is_averaged_to_the_grid():
    heat = torch.zeros(1, 14, 14)
    heat[0, 4:6, 8:10] = 1.0  # the four pixels of cell (2, 4): mean 1
    heat[0, 0, 0] = 3.9  # mean 0.975 in cell (0, 0)
    assert attentive_cells(heat, 1).nonzero().tolist() == [[0, 2, 4]]


def test_six_cells_of_224_pixels_are_pasted_where_they_are():
    heat = torch.zeros(2, 7, 7)
    places = [(0, 0), (1, 3), (2, 6), (4, 4), (6, 0), (6, 6)]
    for row, column in places:
        heat[1, row, column] = 1.0
    heat[0, 3, :6] = 1.0
    batch = Batch(torch.stack([torch.zeros(3, 224, 224), torch.ones(3, 224, 224)]), torch.tensor([4, 7]))
    turn = torch.tensor([1, 0])
    mixed = AttentiveCutMix().mix(batch, CellPlan(turn, attentive_cells(heat, 6)[turn]))
    expected = np.zeros((224, 224), np.float32)
    for row, column in places:
        expected[32 * row : 32 * row + 32, 32 * column : 32 * column + 32] = 1.0
    assert np.array_equal(mixed.images[0, 1].numpy(), expected)
    other = np.ones((224, 224), np.float32)
    other[96:128, :192] = 0.0
    assert np.array_equal(mixed.images[1, 2].numpy(), other)
    assert mixed.weight_b.tolist() == pytest.approx([6 / 49, 6 / 49])
    assert mixed.weight_a.tolist() == pytest.approx([43 / 49, 43 / 49])
    assert mixed.labels_a.tolist() == [4, 7]
    assert mixed.labels_b.tolist() == [7, 4]


def test_the_weight_is_measured_where_cells_are_of_unequal_sizes():
    cells = torch.zeros(1, 7, 7, dtype=torch.bool)
    cells[0, 0, 0] = cells[0, 1, 1] = True
    pixels = cells_to_pixels(cells, (8, 10))
    # 8 rows in 7: two lie in the first. 10 columns: cell 0 has columns 0, 1, cell 1 has column 2 and no other.
    assert pixels[0].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 2]]
    batch = Batch(torch.rand(2, 3, 8, 10), torch.tensor([0, 1]))
    plan = CellPlan(torch.tensor([1, 0]), torch.cat([cells, ~cells]))
    mixed = AttentiveCutMix().mix(batch, plan)
    assert mixed.weight_b.tolist() == pytest.approx([5 / 80, 75 / 80])


def test_the_plan_pastes_what_timm_finds_warm(weights):
    draw = torch.Generator().manual_seed(1)
    pictures = torch.rand(3, 3, 224, 224, generator=draw)
    net = timm.create_model(NAME, num_classes=4, checkpoint_path=str(weights)).eval()
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        heat = net.forward_features((pictures - mean) / std).mean(dim=1)
    assert heat.shape == (3, 7, 7)
    assert all(len(image.flatten().unique()) == 49 for image in heat)
    plan = _mixer(weights).plan(Batch(pictures, torch.arange(3)), torch.Generator().manual_seed(0))
    for row, source in enumerate(plan.permutation.tolist()):
        assert plan.cells[row].flatten().nonzero()[:, 0].tolist() == sorted(_slow_cells(heat[source], 6))


@pytest.mark.parametrize("normalised", ["uint8", "imagenet"])
def test_the_extractor_sees_the_images_normalised_in_its_own_way(weights, normalised):
    whole = torch.randint(256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    statistics = (torch.tensor([0.2, 0.5, 0.7]).view(1, 3, 1, 1), torch.tensor([0.1, 2.0, 0.5]).view(1, 3, 1, 1))
    pictures, labels = whole.float() / 255, torch.tensor([0, 1])
    expected = _mixer(weights).plan(Batch(pictures, labels), torch.Generator().manual_seed(0))
    if normalised == "uint8":
        batch = Batch(whole, labels, statistics=statistics)
    else:
        batch = Batch((pictures - statistics[0]) / statistics[1], labels, statistics=statistics)
    plan = _mixer(weights).plan(batch, torch.Generator().manual_seed(0))
    assert torch.equal(plan.cells, expected.cells)
    forgotten = _mixer(weights).plan(Batch((pictures - 0.7) / 0.1, labels), torch.Generator().manual_seed(0))
    assert not torch.equal(forgotten.cells, expected.cells)


def test_an_extractor_of_a_run_takes_plain_inputs(weights):
    pictures = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(5))
    heat = Extractor(NAME, str(weights), 224, "none").heat(pictures)
    net = timm.create_model(NAME, num_classes=4, checkpoint_path=str(weights)).eval()
    with torch.no_grad():
        torch.testing.assert_close(heat, net.forward_features(pictures).mean(dim=1))


def test_smaller_images_are_resized_for_the_extractor(weights):
    small = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(6))
    large = nn.functional.interpolate(small, (224, 224), mode="bilinear", align_corners=False)
    extractor = Extractor(NAME, str(weights), 224, "backbone")
    assert extractor.heat(small).shape == (2, 7, 7)
    torch.testing.assert_close(extractor.heat(small), extractor.heat(large))


def test_a_transformer_extracts_too(tmp_path):
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=112, num_classes=3)
    torch.save(net.state_dict(), tmp_path / "vit.pt")
    extractor = Extractor("vit_tiny_patch16_224", str(tmp_path / "vit.pt"), 112, "none")
    pictures = torch.rand(2, 3, 112, 112)
    with torch.no_grad():
        tokens = net.eval().forward_features(pictures)[:, 1:]
    torch.testing.assert_close(extractor.heat(pictures), tokens.mean(dim=2).view(2, 7, 7))


def test_the_extractor_is_frozen_and_seen_from_outside_nothing_moves(weights):
    mixer = _mixer(weights)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    mixer.prepare()
    assert torch.equal(torch.random.get_rng_state(), state)
    before = {key: value.clone() for key, value in mixer.extractor_net.state_dict().items()}
    assert not any(values.requires_grad for values in mixer.extractor_net.parameters())
    mixer.plan(Batch(torch.rand(2, 3, 64, 64, generator=torch.Generator()), torch.arange(2)), torch.Generator())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in mixer.extractor_net.state_dict().items())


@pytest.fixture
def constant_heat(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extractor without a forward pass, for tests of the number of cells."""
    monkeypatch.setattr(Extractor, "heat", lambda _, pictures: torch.ones(len(pictures), 7, 7))


@pytest.mark.usefixtures("constant_heat")
def test_a_drawn_number_of_cells_follows_its_beta(weights):
    mixer = _mixer(weights, draw_cells=8.0)
    generator, batch = torch.Generator().manual_seed(0), Batch(torch.rand(2, 3, 32, 32), torch.arange(2))
    counts = []
    for _ in range(400):
        plan = mixer.plan(batch, generator)
        both = plan.cells.sum(dim=(1, 2)).tolist()
        assert both[0] == both[1]  # one number for a batch
        counts.append(both[0])
    # 49·Beta(8, 8) has mean 24.5 and deviation 49·sqrt(1/(4·17)) = 5.94; rounding down takes half a cell.
    assert np.mean(counts) == pytest.approx(24.0, abs=4 * 5.94 / 400**0.5)
    assert np.std(counts) == pytest.approx(5.94, rel=0.18)


@pytest.mark.usefixtures("constant_heat")
def test_the_drawn_share_of_the_cells_is_rounded_down(weights, monkeypatch):
    batch = Batch(torch.rand(2, 3, 32, 32), torch.arange(2))
    for share, count in ((0.5, 24), (0.999, 48), (0.01, 1), (1.0, 49)):
        monkeypatch.setattr("lgcoamix.mixing.attentive_cutmix.draw_beta", lambda *_, share=share: share)
        plan = _mixer(weights, draw_cells=8.0).plan(batch, torch.Generator().manual_seed(0))
        assert plan.cells.sum(dim=(1, 2)).tolist() == [count, count]


@pytest.mark.usefixtures("constant_heat")
def test_at_least_one_cell_is_drawn(weights):
    mixer = _mixer(weights, draw_cells=0.05)
    generator, batch = torch.Generator().manual_seed(0), Batch(torch.rand(2, 3, 32, 32), torch.arange(2))
    counts = {int(mixer.plan(batch, generator).cells[0].sum()) for _ in range(40)}
    assert min(counts) == 1


def test_without_weights_the_error_says_what_to_give(tmp_path, monkeypatch):
    missing = AttentiveCutMix(extractor=NAME, extractor_weights=str(tmp_path / "none.pt"))
    with pytest.raises(WeightsError, match=r"no file .*none\.pt.*mixer\.extractor_weights to a checkpoint file"):
        missing.prepare()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"weights for resnet10t from the hub .*mixer\.extractor_weights"):
        AttentiveCutMix(extractor=NAME).prepare()
    with pytest.raises(BackboneError, match="did you mean resnet"):
        AttentiveCutMix(extractor="resnet180", extractor_weights=str(tmp_path)).prepare()


def test_larger_images_are_resized_as_pillow_resizes_them(weights):
    large = torch.rand(1, 3, 288, 288, generator=torch.Generator().manual_seed(9))
    bands = [Image.fromarray(band.numpy()).resize((96, 96), Image.Resampling.BILINEAR) for band in large[0]]
    small = torch.from_numpy(np.stack([np.asarray(band) for band in bands]))[None]
    extractor = Extractor(NAME, str(weights), 96, "backbone")
    torch.testing.assert_close(extractor.heat(large), extractor.heat(small), rtol=1e-4, atol=1e-5)


def test_half_precision_around_it_does_not_reach_the_extractor(weights):
    pictures = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(7))
    extractor = Extractor(NAME, str(weights), 224, "backbone")
    expected = extractor.heat(pictures)
    with torch.autocast("cpu", torch.bfloat16):
        heat = extractor.heat(pictures)
    assert heat.dtype == torch.float32
    assert torch.equal(heat, expected)


def test_a_map_that_is_coarser_than_the_grid_is_refused(weights):
    coarse = AttentiveCutMix(extractor=NAME, extractor_weights=str(weights), extractor_size=64)
    with pytest.raises(
        BackboneError, match=r"resnet10t has 2x2 cells at 64 pixels, but needs 7x7; use a larger mixer.extractor_size"
    ):
        coarse.prepare()


def test_an_averaged_checkpoint_gives_the_average(tmp_path, weights):
    plain = torch.load(weights)
    average = {key: value * 0.5 if value.is_floating_point() else value for key, value in plain.items()}
    torch.save({"model": plain, "model_ema": average}, tmp_path / "both.pt")
    net = Extractor(NAME, str(tmp_path / "both.pt"), 224, "none").net
    assert torch.equal(net.conv1[0].weight, average["conv1.0.weight"])
