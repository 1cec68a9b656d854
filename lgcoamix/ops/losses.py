"""The loss terms, as functions of tensors. All are computed in float32 or better, also under autocast."""

import torch
import torch.nn.functional as F
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Raise float16 and bfloat16 to float32; leave float32 and float64 as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def mixed_cross_entropy(
    logits: Tensor, labels_a: Tensor, labels_b: Tensor, weight_a: Tensor, weight_b: Tensor
) -> Tensor:
    """Cross-entropy against two labels, weighted for each sample.

    Parameters
    ----------
    logits : (B, N) floating tensor.
    labels_a, labels_b : (B,) int64 tensors: label of the receiving and of the pasted image.
    weight_a, weight_b : (B,) floating tensors.

    Returns
    -------
    Scalar: mean over i of weight_a·CE(logits, labels_a) + weight_b·CE(logits, labels_b).
    """
    log_probs = full_precision(logits).log_softmax(dim=1)
    log_a = log_probs.gather(1, labels_a[:, None])[:, 0]
    log_b = log_probs.gather(1, labels_b[:, None])[:, 0]
    return -(weight_a.to(log_a) * log_a + weight_b.to(log_b) * log_b).mean()


def local_cross_entropy(logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """Cross-entropy of the kept regions: a sum over regions, a mean over images.

    Parameters
    ----------
    logits : (B, k, N) floating tensor.
    labels : (B, k) int64 tensor: the label of the image that each region comes from.
    kept : (B, k) bool tensor; other rows count for nothing.

    Returns
    -------
    Scalar: (1/B) Σ_i Σ_{j kept} CE(logits_ij, labels_ij).

    References
    ----------
    LGCOAMix (Dornaika & Sun, IEEE TIP 2024), local classification.
    """
    log_probs = full_precision(logits).log_softmax(dim=2).gather(2, labels[:, :, None])[:, :, 0]
    return -torch.where(kept, log_probs, 0.0).sum() / len(logits)


def local_contrast(
    features: Tensor,
    labels: Tensor,
    kept: Tensor | None = None,
    temperature: float = 0.7,
    base_temperature: float = 0.07,
    exclude_self: bool = False,
) -> Tensor:
    """Supervised contrast between regions: alike where the labels agree, apart where they differ.

    Parameters
    ----------
    features : (M, D) floating tensor: one row a region, from all images of the batch; normalised in here.
    labels : (M,) int64 tensor.
    kept : (M,) bool tensor; other rows count for nothing, neither as anchors nor as partners. None keeps all.
    temperature, base_temperature : T and T_base.
    exclude_self : leave i out of its own positives; an anchor without positives is skipped.

    Returns
    -------
    Scalar: -(T/T_base) · mean over i of (1/|P(i)|) Σ_{k in P(i)} [l_ik - log(e^{l_ik} + Σ_{n in Neg(i)} e^{l_in})],
    with l_ik = u_i·u_k/T - max_k(u_i·u_k/T), u = features/|features|; 0 where there is no anchor.

    Notes
    -----
    Other positives are not in the denominator, and the anchor is among its positives, as in the released code.
    Memory is quadratic in M: several (M, M) float32 matrices. 128 images of 63 rows (45 superpixels an image,
    top_ratio 0.7) make M = 8064: 260 MB each, on a CPU 2 GB with the backward pass.

    References
    ----------
    LGCOAMix (Dornaika & Sun, IEEE TIP 2024), local contrast; the form is inferred (the released scripts import a file
    that is not in the repository).
    """
    rows = full_precision(features)
    if kept is None:
        kept = torch.ones_like(labels, dtype=torch.bool)
    with torch.autocast(rows.device.type, enabled=False):  # a product in half precision would lose the small terms
        units = F.normalize(rows, dim=1)
        similar = (units / temperature) @ units.T
    same = labels[:, None] == labels[None, :]
    positive = same & kept[:, None] & kept[None, :]
    if exclude_self:
        positive = positive & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    # A large negative number, not -inf: an anchor without negatives must have a gradient of 0, not NaN.
    negatives = similar.masked_fill(same | ~kept[None, :], -1e30).logsumexp(dim=1, keepdim=True)
    # l - log(e^l + e^negatives) in one pass; the maximum cancels, and is not subtracted.
    terms = torch.where(positive, F.logsigmoid(similar - negatives), 0.0)
    partners = positive.sum(dim=1)
    anchors = (partners > 0).sum().clamp(min=1)
    return -(temperature / base_temperature) * (terms.sum(dim=1) / partners.clamp(min=1)).sum() / anchors
