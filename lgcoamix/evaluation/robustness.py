"""What is done to inputs to try a network: one gradient step against it, and patches that are missing."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Classifier = Callable[[Tensor], Tensor]


def fgsm(model: Classifier, images: Tensor, labels: Tensor, epsilon: float, mean: Tensor, std: Tensor) -> Tensor:
    """Attack images with the fast gradient sign method: x' = clamp(x + epsilon * sign(dL/dx), 0, 1).

    Parameters
    ----------
    model : images -> (B, N) logits, in evaluation mode.
    images : (B, 3, H, W) floating tensor, normalised.
    labels : (B,) int64 tensor of true classes.
    epsilon : largest change of a value, where pixels x are in [0, 1] before normalisation.
    mean, std : (1, 3, 1, 1) tensors of the normalisation.

    Returns
    -------
    (B, 3, H, W) tensor, normalised like ``images``, which stay unchanged. No parameter of the model gets a gradient.

    References
    ----------
    Goodfellow, Shlens, Szegedy: Explaining and Harnessing Adversarial Examples. ICLR 2015, arXiv 1412.6572.
    """
    return perturb(images, ascent(model, images, labels), epsilon, mean, std)


def ascent(model: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """The direction in which the cross-entropy of each image rises: sign(dL/dx), the same for every epsilon.

    Parameters
    ----------
    model, images, labels : as for :func:`fgsm`.

    Returns
    -------
    (B, 3, H, W) tensor of -1, 0 and 1. As standard deviations are positive, it is also the direction in pixel values.
    """
    with torch.enable_grad():
        probe = images.detach().clone().requires_grad_()
        logits = model(probe)
        # In float32 a network that is sure has the probability 1 exactly and no gradient at the true class: the
        # attack would fail for want of digits. Apple's devices have no float64.
        logits = logits.float() if logits.device.type == "mps" else logits.double()
        # The sum, so that an image's direction does not depend on its batch.
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), probe)
    return gradient.sign()


def perturb(images: Tensor, direction: Tensor, epsilon: float, mean: Tensor, std: Tensor) -> Tensor:
    """Move pixel values by ``epsilon`` along ``direction``, within [0, 1].

    Parameters
    ----------
    images : (B, 3, H, W) floating tensor, normalised.
    direction : (B, 3, H, W) tensor of -1, 0 and 1.
    epsilon, mean, std : as for :func:`fgsm`.
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon must not be negative, got {epsilon}; it is in units of pixel values in [0, 1]")
    pixels = images * std + mean
    return ((pixels + epsilon * direction).clamp(0, 1) - mean) / std


def drop_patches(
    images: Tensor, share: float, grid: int, generator: torch.Generator, fill: float | Tensor = 0.0
) -> Tensor:
    """Cut images into grid x grid patches and fill some of them.

    Parameters
    ----------
    images : (B, 3, H, W) tensor.
    share : of the patches that are filled, in [0, 1]; the number is ``round(share * grid * grid)``.
    grid : patches a side; their sides differ by one pixel at most.
    generator : on the CPU; chooses the patches of each image, without replacement. The same state and another share
        give the same patches, more or fewer of them; images draw in order, so batch sizes do not matter.
    fill : number or (1, 3, 1, 1) tensor, in the units of ``images``; :func:`black` for normalised images.

    Returns
    -------
    (B, 3, H, W) tensor; ``images`` stay unchanged.

    References
    ----------
    Naseer et al.: Intriguing Properties of Vision Transformers. NeurIPS 2021, arXiv 2105.10497 (random PatchDrop).
    """
    B, _, H, W = images.shape
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    if not 1 <= grid <= min(H, W):
        raise ValueError(f"grid must lie between 1 and the side of the images, {min(H, W)}, got {grid}")
    order = torch.rand(B, grid * grid, generator=generator).argsort(dim=1, stable=True)
    chosen = torch.zeros(B, grid * grid, dtype=torch.bool)
    chosen.scatter_(1, order[:, : round(share * grid * grid)], True)
    rows, columns = torch.arange(H) * grid // H, torch.arange(W) * grid // W
    dropped = chosen.view(B, grid, grid)[:, rows][:, :, columns].to(images.device)
    return torch.where(dropped[:, None], torch.as_tensor(fill, dtype=images.dtype, device=images.device), images)


def black(mean: Tensor, std: Tensor) -> Tensor:
    """The normalised value of pixel 0: (1, 3, 1, 1) tensor."""
    return -mean / std
