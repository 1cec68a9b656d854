"""Input perturbations that test robustness: FGSM and dropped patches."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Classifier = Callable[[Tensor], Tensor]


def ascent(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Compute the direction of the fast gradient sign method for any epsilon: sign(dL/dx) of the cross-entropy L.

    Parameters
    ----------
    model : images -> (B, N) logits, in evaluation mode.
    images : (B, 3, H, W) floating tensor, normalised.
    labels : (B,) int64 tensor of true classes.

    Returns
    -------
    (B, 3, H, W) tensor of -1, 0 and 1. It also holds for pixel values, since standard deviations are positive. Model
    parameters receive no gradients.

    References
    ----------
    Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples. ICLR 2015, arXiv 1412.6572.
    """
    with torch.enable_grad():
        probe = images.detach().clone().requires_grad_()
        logits = model(probe)
        # A confident network reaches probability 1 in float32, so the gradient vanishes and the attack would fail.
        # MPS has no float64.
        logits = logits.float() if logits.device.type == "mps" else logits.double()
        # Sum, so that the direction for an image does not depend on its batch.
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), probe)
    return gradient.sign()


def perturb(images: Tensor, direction: Tensor, epsilon: float, mean: Tensor, std: Tensor) -> Tensor:
    """Move pixel values x along a direction: clamp(x + epsilon * direction, 0, 1).

    Parameters
    ----------
    images : (B, 3, H, W) floating tensor, normalised.
    direction : (B, 3, H, W) tensor of -1, 0 and 1.
    epsilon : largest change of a pixel value, in [0, 1] before normalisation.
    mean, std : (1, 3, 1, 1) tensors of the normalisation.

    Returns
    -------
    (B, 3, H, W) tensor, normalised like ``images``, which are unchanged.
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon must not be negative, got {epsilon}; pixel values lie in [0, 1]")
    pixels = images * std + mean
    return ((pixels + epsilon * direction).clamp(0, 1) - mean) / std


def drop_patches(
    images: Tensor, share: float, grid: int, generator: torch.Generator, fill: float | Tensor = 0.0
) -> Tensor:
    """Divide images into grid x grid patches and fill some of them.

    Parameters
    ----------
    images : (B, 3, H, W) tensor.
    share : fraction of patches to fill, in [0, 1]; rounded to ``round(share * grid * grid)`` patches.
    grid : patches per side; patch sides differ by at most one pixel.
    generator : CPU generator that draws the patches of each image, without replacement. With the same state, a larger
        share fills a superset. Images draw in order, so the batch size does not matter.
    fill : number or (1, 3, 1, 1) tensor, in the units of ``images``; :func:`black` for normalised images.

    Returns
    -------
    (B, 3, H, W) tensor; ``images`` are unchanged.

    References
    ----------
    Naseer et al.: Intriguing Properties of Vision Transformers. NeurIPS 2021, arXiv 2105.10497 (random PatchDrop).
    """
    B, _, H, W = images.shape
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    if not 1 <= grid <= min(H, W):
        raise ValueError(f"grid must lie between 1 and the image size, {min(H, W)}, got {grid}")
    order = torch.rand(B, grid * grid, generator=generator).argsort(dim=1, stable=True)
    chosen = torch.zeros(B, grid * grid, dtype=torch.bool)
    chosen.scatter_(1, order[:, : round(share * grid * grid)], True)
    rows, columns = torch.arange(H) * grid // H, torch.arange(W) * grid // W
    dropped = chosen.view(B, grid, grid)[:, rows][:, :, columns].to(images.device)
    return torch.where(dropped[:, None], torch.as_tensor(fill, dtype=images.dtype, device=images.device), images)


def black(mean: Tensor, std: Tensor) -> Tensor:
    """Return the normalised value of a black pixel: (1, 3, 1, 1) tensor."""
    return -mean / std
