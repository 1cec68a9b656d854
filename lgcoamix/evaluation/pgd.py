"""Projected gradient descent, an attack in several steps beside FGSM."""

import torch
from torch import Tensor

from lgcoamix.evaluation.robustness import Classifier, ascent

STEPS = 20
STRIDE = 2.5  # the steps together go so many times epsilon, so that an image can reach any corner of its box


def pgd(
    model: Classifier,
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    mean: Tensor,
    std: Tensor,
    generator: torch.Generator,
    steps: int = STEPS,
) -> Tensor:
    """Attack images with projected gradient descent in L∞: x' = clip(x' + α · sign(dL/dx')), from a random start.

    Parameters
    ----------
    model, images, labels : as for :func:`lgcoamix.evaluation.robustness.ascent`.
    epsilon, mean, std : as for :func:`lgcoamix.evaluation.robustness.perturb`.
    generator : CPU generator that draws the start of each image uniformly within epsilon. Images draw in order, so the
        batch size does not matter.
    steps : number of steps; each moves a pixel by α = 2.5 · epsilon / steps.

    Returns
    -------
    (B, 3, H, W) tensor, normalised like ``images``, which are unchanged: the last step, whether or not it fools the
    model. Pixel values lie within epsilon of those of the image, and in [0, 1].

    References
    ----------
    Madry, Makelov, Schmidt, Tsipras, Vladu: Towards Deep Learning Models Resistant to Adversarial Attacks. ICLR 2018,
    arXiv 1706.06083.
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon must not be negative, got {epsilon}; pixel values lie in [0, 1]")
    pixels = (images * std + mean).clamp(0, 1)
    low, high = (pixels - epsilon).clamp(min=0), (pixels + epsilon).clamp(max=1)
    noise = torch.rand(images.shape, generator=generator).to(images)
    found = (pixels + epsilon * (2 * noise - 1)).clamp(low, high)
    for _ in range(steps):
        direction = ascent(model, (found - mean) / std, labels)
        found = (found + STRIDE * epsilon / steps * direction).clamp(low, high)
    return (found - mean) / std
