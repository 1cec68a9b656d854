"""Attacks on linear models, whose gradients are known by hand, and dropped patches, counted pixel by pixel."""

import pytest
import torch
from torch import nn

from lgcoamix.evaluation.robustness import ascent, black, drop_patches, perturb
from lgcoamix.ops.normalise import make_statistics

PLAIN = make_statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
NORMAL = make_statistics((0.5, 0.4, 0.3), (0.25, 0.2, 0.1))
# Logits of two classes are (x·w, 0) for one pixel of three channels, so the loss of class 0 falls along w.
WEIGHTS = torch.tensor([2.0, -3.0, 0.0])


class Linear(nn.Module):
    """Two logits: w·x and 0."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.weights = nn.Parameter(scale * WEIGHTS)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = (images.flatten(1) * self.weights).sum(dim=1)
        return torch.stack([first, torch.zeros_like(first)], dim=1)


def pixel(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


def fgsm(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon: float, *norm: torch.Tensor):
    return perturb(images, ascent(model, images, labels), epsilon, *norm)


def test_every_value_moves_by_epsilon_against_the_true_class():
    images = torch.cat([pixel(0.5, 0.5, 0.5), pixel(0.5, 0.5, 0.5)])
    attacked = fgsm(Linear(), images, torch.tensor([0, 1]), 0.1, *PLAIN)
    torch.testing.assert_close(attacked[0], pixel(0.4, 0.6, 0.5)[0])  # the third channel has no weight
    torch.testing.assert_close(attacked[1], pixel(0.6, 0.4, 0.5)[0])


def test_epsilon_is_in_pixel_values_before_normalisation():
    mean, std = NORMAL
    pixels = pixel(0.5, 0.5, 0.5)
    attacked = fgsm(Linear(), (pixels - mean) / std, torch.tensor([0]), 8 / 255, mean, std)
    torch.testing.assert_close(attacked * std + mean, pixel(0.5 - 8 / 255, 0.5 + 8 / 255, 0.5))


def test_values_stay_within_0_and_1():
    attacked = fgsm(Linear(), pixel(0.05, 0.98, 1.0), torch.tensor([0]), 0.1, *PLAIN)
    torch.testing.assert_close(attacked, pixel(0.0, 1.0, 1.0))


def test_an_epsilon_of_0_changes_nothing():
    images = pixel(0.1, 0.7, 0.3)
    torch.testing.assert_close(fgsm(Linear(), images, torch.tensor([0]), 0.0, *PLAIN), images)


def test_a_network_that_is_sure_is_attacked_all_the_same():
    # w·x = 30: in float32 the probability of class 0 is 1 exactly, and the loss has no gradient at its logit.
    images = pixel(0.6, 0.3, 0.5)
    attacked = fgsm(Linear(scale=100.0), images, torch.tensor([0]), 0.1, *PLAIN)
    torch.testing.assert_close(attacked, pixel(0.5, 0.4, 0.5))


@pytest.mark.parametrize("training", [True, False])
def test_an_attack_leaves_images_gradients_and_mode_alone(training):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2)).train(training)
    before = {name: value.clone() for name, value in model.named_parameters()}
    images = torch.rand(4, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    copy = images.clone()
    with torch.no_grad():  # the caller's own setting does not matter
        attacked = fgsm(model, images, torch.tensor([0, 1, 0, 1]), 0.1, *PLAIN)
    assert torch.equal(images, copy)
    assert not images.requires_grad
    assert not attacked.requires_grad
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(module.training is training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_an_image_is_attacked_alike_in_any_batch():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0])
    together = fgsm(model, images, labels, 0.1, *PLAIN)
    alone = [fgsm(model, images[i : i + 1], labels[i : i + 1], 0.1, *PLAIN) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_a_negative_epsilon_is_refused():
    with pytest.raises(ValueError, match="epsilon must not be negative"):
        fgsm(Linear(), pixel(0.5, 0.5, 0.5), torch.tensor([0]), -0.1, *PLAIN)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 4), (0.3, 5), (0.5, 8), (0.7, 11), (1.0, 16)])
def test_so_many_patches_are_dropped_from_every_image(share, count):
    dropped = drop_patches(torch.ones(5, 3, 12, 12), share, 4, seeded()) == 0
    for image in dropped:
        whole = [bool(image[:, y : y + 3, x : x + 3].all()) for y in range(0, 12, 3) for x in range(0, 12, 3)]
        assert sum(whole) == count
        assert int(image.sum()) == count * 27  # nothing but whole patches


def test_images_lose_different_patches():
    dropped = drop_patches(torch.ones(6, 1, 8, 8), 0.5, 8, seeded())
    assert len({tuple(image.flatten().tolist()) for image in dropped}) == 6


@pytest.mark.parametrize(("side", "grid"), [(7, 3), (32, 7), (10, 4), (5, 5)])
def test_a_grid_that_does_not_divide_the_side_gives_patches_of_nearly_equal_sides(side, grid):
    # With one patch kept, its rows and columns can be seen.
    images = torch.ones(200, 1, side, side)
    kept = drop_patches(images, 1 - 1 / grid**2, grid, seeded()).bool()[:, 0]
    heights, widths = kept.any(dim=2).sum(dim=1), kept.any(dim=1).sum(dim=1)
    assert torch.equal(kept.sum(dim=(1, 2)), heights * widths)
    low, high = side // grid, -(-side // grid)
    assert set(heights.tolist()) | set(widths.tolist()) == {low, high}
    corners = {
        (int(rows.nonzero()[0]), int(columns.nonzero()[0]))
        for rows, columns in ((image.any(dim=1), image.any(dim=0)) for image in kept)
    }
    assert len({row for row, _ in corners}) == len({column for _, column in corners}) == grid


def test_black_is_pixel_0_before_normalisation():
    mean, std = NORMAL
    images = (torch.full((1, 3, 4, 4), 0.9) - mean) / std
    dropped = drop_patches(images, 0.5, 2, seeded(), black(mean, std)) * std + mean
    values = dropped.mul(1000).round().unique().tolist()
    assert values == [0.0, 900.0]
    assert torch.equal(dropped.abs() < 1e-6, (dropped.abs() < 1e-6)[:, :1].expand(1, 3, 4, 4))


def test_the_generator_alone_decides_and_batches_do_not_matter():
    images = torch.ones(6, 1, 12, 12)
    whole = drop_patches(images, 0.5, 6, seeded(3))
    assert torch.equal(whole, drop_patches(images, 0.5, 6, seeded(3)))
    assert not torch.equal(whole, drop_patches(images, 0.5, 6, seeded(4)))
    generator = seeded(3)
    parts = [drop_patches(part, 0.5, 6, generator) for part in images.split((1, 3, 2))]
    assert torch.equal(whole, torch.cat(parts))


def test_a_larger_share_drops_the_same_patches_and_more():
    images = torch.ones(3, 1, 14, 14)
    few, many = (drop_patches(images, share, 7, seeded()) == 0 for share in (0.25, 0.75))
    assert bool((many | ~few).all())


def test_images_stay_unchanged_when_patches_drop():
    images = torch.ones(2, 3, 8, 8)
    drop_patches(images, 0.5, 4, seeded())
    assert bool((images == 1).all())


@pytest.mark.parametrize(
    ("share", "grid", "message"),
    [(-0.1, 2, "share must lie"), (1.1, 2, "share must lie"), (0.5, 0, "grid must lie"), (0.5, 9, "grid must lie")],
)
def test_impossible_patches_are_refused(share, grid, message):
    with pytest.raises(ValueError, match=message):
        drop_patches(torch.ones(1, 3, 8, 8), share, grid, seeded())
