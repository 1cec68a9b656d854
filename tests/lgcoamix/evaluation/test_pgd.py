"""Projected gradient descent on linear models, whose worst case is known by hand."""

import pytest
import torch

from lgcoamix.evaluation.pgd import pgd
from tests.lgcoamix.evaluation.test_robustness import NORMAL, PLAIN, Linear, fgsm, pixel


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_worst_case_of_a_linear_model_is_a_corner():
    images = torch.cat([pixel(0.5, 0.5, 0.5), pixel(0.5, 0.5, 0.5)])
    attacked = pgd(Linear(), images, torch.tensor([0, 1]), 0.1, *PLAIN, draws())
    torch.testing.assert_close(attacked[:, :2], torch.tensor([[0.4, 0.6], [0.6, 0.4]]).view(2, 2, 1, 1))
    # Without weight, a pixel stays where it starts: within epsilon.
    assert ((attacked[:, 2] - 0.5).abs() <= 0.1).all()
    assert (attacked[:, 2] != 0.5).all()


def test_every_corner_is_reached_from_any_start():
    for seed in range(50):
        attacked = pgd(Linear(), pixel(0.5, 0.5, 0.5), torch.tensor([0]), 0.1, *PLAIN, draws(seed))
        torch.testing.assert_close(attacked[:, :2], torch.tensor([0.4, 0.6]).view(1, 2, 1, 1))


def test_epsilon_is_in_pixel_values_before_normalisation_and_values_stay_within_0_and_1():
    mean, std = NORMAL
    pixels = pixel(0.01, 0.98, 1.0)
    attacked = pgd(Linear(), (pixels - mean) / std, torch.tensor([0]), 8 / 255, mean, std, draws())
    found = attacked * std + mean
    torch.testing.assert_close(found[:, :2], pixel(0.0, 1.0, 1.0)[:, :2])
    assert 1 - 8 / 255 - 1e-6 <= found[0, 2] <= 1 + 1e-6


def test_no_value_leaves_the_box():
    images, labels = torch.rand(8, 3, 4, 4, generator=draws(1)), torch.zeros(8, dtype=torch.int64)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))
    attacked = pgd(network, images, labels, 0.03, *PLAIN, draws())
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    assert (attacked - images).abs().max() <= 0.03 + 1e-7
    assert all(parameter.grad is None for parameter in network.parameters())


def test_several_steps_stop_where_one_step_goes_too_far():
    def valley(images: torch.Tensor) -> torch.Tensor:
        """Logit (x - 0.5)² of class 0 for one channel x: lowest at 0.5."""
        first = (images[:, 0, 0, 0] - 0.5) ** 2
        return torch.stack([first, torch.zeros_like(first)], dim=1)

    images, labels = pixel(0.51, 0.0, 0.0), torch.tensor([0])
    assert fgsm(valley, images, labels, 0.1, *PLAIN)[0, 0].item() == pytest.approx(0.41)
    # A step is 0.1 / 8, so the last ones go back and forth within it.
    assert abs(pgd(valley, images, labels, 0.1, *PLAIN, draws())[0, 0].item() - 0.5) <= 0.1 / 8 + 1e-6


def test_the_size_of_batches_changes_nothing():
    images, labels = torch.rand(5, 3, 4, 4, generator=draws(2)), torch.zeros(5, dtype=torch.int64)

    def still(images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :2] * 0

    whole, generator = pgd(still, images, labels, 0.1, *PLAIN, draws()), draws()
    parts = [pgd(still, part, labels[: len(part)], 0.1, *PLAIN, generator) for part in images.split(2)]
    assert torch.equal(torch.cat(parts), whole)


def test_an_epsilon_of_0_changes_nothing_and_a_negative_one_is_refused():
    images = pixel(0.1, 0.7, 0.3)
    torch.testing.assert_close(pgd(Linear(), images, torch.tensor([0]), 0.0, *PLAIN, draws()), images)
    with pytest.raises(ValueError, match="epsilon must not be negative, got -1"):
        pgd(Linear(), images, torch.tensor([0]), -1.0, *PLAIN, draws())
