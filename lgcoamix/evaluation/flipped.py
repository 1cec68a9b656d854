"""Test-time augmentation: the prediction for an image and for its mirror image together."""

import math

import torch
from torch import Tensor, nn


def classify(model: nn.Module, images: Tensor, flip: bool = False) -> tuple[Tensor, Tensor | None]:
    """Classify a batch.

    Parameters
    ----------
    model : network that returns an ``Output``.
    images : (B, 3, H, W) tensor, normalised.
    flip : average the probabilities over each image and its mirror image.

    Returns
    -------
    (B, N) logits, and those without the mid-level branch, or None if the network has none. With ``flip`` they are
    logarithms of probabilities.
    """
    outputs = [model(images), model(images.flip(3))] if flip else [model(images)]
    whole = _mean([output.prediction for output in outputs])
    return whole, None if outputs[0].mid is None else _mean([output.logits for output in outputs])


def mean_probabilities(logits: list[Tensor]) -> Tensor:
    """Average probabilities: (B, N) logits -> logarithms of the means of their softmax, in float64 but on MPS."""
    # In float32 a confident network has probability 1, and no gradient for an attack.
    logits = [each.float() if each.device.type == "mps" else each.double() for each in logits]
    stacked = torch.stack([each.log_softmax(dim=1) for each in logits])
    return stacked.logsumexp(dim=0) - math.log(len(logits))


def _mean(logits: list[Tensor]) -> Tensor:
    return logits[0].float() if len(logits) == 1 else mean_probabilities(logits)
