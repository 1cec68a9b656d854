"""Flip test-time augmentation: mean probabilities, by hand."""

import math

import torch
from torch import nn

from lgcoamix.evaluation.flipped import classify, mean_probabilities
from lgcoamix.ops.output import Output


class LeftPixel(nn.Module):
    """Logits (left pixel, 0), and the same twice for the mid-level branch."""

    def __init__(self, mid: bool) -> None:
        super().__init__()
        self.with_mid = mid

    def forward(self, images: torch.Tensor) -> Output:
        first = images[:, 0, 0, 0]
        logits = torch.stack([first, torch.zeros_like(first)], dim=1)
        return Output(logits, mid=logits if self.with_mid else None)


def two_columns(left: float, right: float) -> torch.Tensor:
    return torch.tensor([left, right]).expand(1, 3, 2, 2)


def test_probabilities_are_averaged_and_not_logits():
    images = two_columns(math.log(3), -math.log(9))  # probabilities of class 0: 3/4, mirrored 1/10
    whole, backbone = classify(LeftPixel(mid=False), images, flip=True)
    torch.testing.assert_close(whole.softmax(dim=1).float(), torch.tensor([[0.425, 0.575]]))
    assert backbone is None
    assert whole.argmax() == 1


def test_without_a_flip_the_logits_are_those_of_the_network():
    whole, _ = classify(LeftPixel(mid=False), two_columns(1.25, -1.0))
    assert torch.equal(whole, torch.tensor([[1.25, 0.0]]))


def test_the_mid_level_branch_is_averaged_with_the_rest():
    images = two_columns(math.log(3), -math.log(9))
    whole, backbone = classify(LeftPixel(mid=True), images, flip=True)
    # Both logits are summed: odds 9 and 1/81.
    torch.testing.assert_close(whole.softmax(dim=1)[0, 0].float(), torch.tensor((9 / 10 + 1 / 82) / 2))
    torch.testing.assert_close(backbone.softmax(dim=1)[0, 0].float(), torch.tensor(0.425))


def test_a_network_that_is_sure_keeps_a_gradient():
    logits = torch.tensor([[40.0, 0.0]], requires_grad=True)
    mean_probabilities([logits, logits])[0, 0].backward()
    assert logits.grad[0, 1] < 0
