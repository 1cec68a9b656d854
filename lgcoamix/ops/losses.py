"""The loss terms, as functions of tensors, computed in float32 or float64 even under autocast."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lgcoamix.ops.inputs import describe


def full_precision(values: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; keep float32 and float64."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def mixed_cross_entropy(
    logits: Tensor, labels_a: Tensor, labels_b: Tensor, weight_a: Tensor, weight_b: Tensor
) -> Tensor:
    """Compute the cross-entropy against two labels with weights per sample.

    Parameters
    ----------
    logits : (B, N) floating tensor.
    labels_a, labels_b : (B,) int64 tensors: label of the receiving and of the pasted image; or soft labels, (B, N)
        floating.
    weight_a, weight_b : (B,) floating tensors.

    Returns
    -------
    Scalar: mean over i of weight_a·CE(logits, labels_a) + weight_b·CE(logits, labels_b). Of a soft label y, CE is
    -Σ_c y_c log p_c.

    Raises
    ------
    ValueError : logits or weights of another shape; soft labels of another shape than the logits; class numbers
        outside [0, N), which is checked on a CPU only.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import mixed_cross_entropy
    >>> labels_a, labels_b = torch.tensor([0, 1]), torch.tensor([1, 0])
    >>> weight_a, weight_b = torch.tensor([0.7, 0.7]), torch.tensor([0.3, 0.3])
    >>> mixed_cross_entropy(torch.zeros(2, 2), labels_a, labels_b, weight_a, weight_b)  # log 2
    tensor(0.6931)
    """
    B = len(labels_a)
    if logits.ndim != 2 or len(logits) != B:
        raise ValueError(f"logits must be ({B}, N), one row per image, got {describe(logits)}")
    for weight in (weight_a, weight_b):
        if weight.shape not in ((), (B,)):
            raise ValueError(f"weights of labels must be ({B},), one per image, got {describe(weight)}")
    for labels in (labels_a, labels_b):
        if not labels.is_floating_point():
            check_classes(labels, logits.shape[1])
    log_probs = full_precision(logits).log_softmax(dim=1)
    log_a, log_b = (_log_likelihood(log_probs, labels) for labels in (labels_a, labels_b))
    return -(weight_a.to(log_a) * log_a + weight_b.to(log_b) * log_b).mean()


def check_classes(labels: Tensor, num_classes: int) -> None:
    """Refuse labels of other classes; numbers are looked at on a CPU only: elsewhere the host would wait.

    Raises
    ------
    ValueError
    """
    if labels.is_floating_point():
        if labels.shape[1] != num_classes:
            raise ValueError(f"num_classes is {num_classes}, but the soft labels have {labels.shape[1]} classes")
    elif labels.device.type == "cpu" and not torch.compiler.is_compiling():
        outside = labels[(labels < 0) | (labels >= num_classes)]
        if len(outside):
            raise ValueError(f"labels must lie in [0, {num_classes}), the number of classes, got {int(outside[0])}")


def _log_likelihood(log_probs: Tensor, labels: Tensor) -> Tensor:
    """Return the (B,) log-probabilities of class numbers, or their expectation over soft labels."""
    if labels.ndim == 1:
        return log_probs.gather(1, labels[:, None])[:, 0]
    if labels.shape != log_probs.shape or not labels.is_floating_point():
        raise ValueError(
            f"soft labels must be floating and of the shape of the logits, {tuple(log_probs.shape)}, "
            f"got {tuple(labels.shape)} {str(labels.dtype).removeprefix('torch.')}"
        )
    return (labels.to(log_probs) * log_probs).sum(dim=1)


def local_cross_entropy(logits: Tensor, labels: Tensor, kept: Tensor) -> Tensor:
    """Compute the cross-entropy of the kept regions: summed over regions, averaged over images.

    Parameters
    ----------
    logits : (B, k, N) floating tensor.
    labels : (B, k) int64 tensor: the label of the image that each region comes from.
    kept : (B, k) bool tensor; other rows are ignored.

    Returns
    -------
    Scalar: (1/B) Σ_i Σ_{j kept} CE(logits_ij, labels_ij).

    References
    ----------
    LGCOAMix (Dornaika & Sun, IEEE TIP 2024), local classification.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import local_cross_entropy
    >>> kept = torch.tensor([[True, True, False]])
    >>> local_cross_entropy(torch.zeros(1, 3, 2), torch.tensor([[0, 1, 1]]), kept)  # 2 log 2
    tensor(1.3863)
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
    """Compute the supervised contrast between regions: similar for equal labels, dissimilar for others.

    Parameters
    ----------
    features : (M, D) floating tensor: one row per region, from all images of the batch; normalised by this function.
    labels : (M,) int64 tensor.
    kept : (M,) bool tensor; other rows are neither anchors nor partners. None keeps all.
    temperature, base_temperature : T and T_base.
    exclude_self : do not count i among its own positives; an anchor without positives is skipped.

    Returns
    -------
    Scalar: -(T/T_base) · mean over i of (1/|P(i)|) Σ_{k in P(i)} [l_ik - log(e^{l_ik} + Σ_{n in Neg(i)} e^{l_in})],
    with l_ik = u_i·u_k/T - max_k(u_i·u_k/T), u = features/|features|; 0 without anchors.

    Notes
    -----
    As in the released code, the denominator excludes other positives, and an anchor is among its own positives.
    Memory is quadratic in M: several (M, M) float32 matrices. 128 images with 63 rows each (45 superpixels per image,
    top_ratio 0.7) give M = 8064: 260 MB per matrix, and 2 GB on a CPU with the backward pass.

    References
    ----------
    LGCOAMix (Dornaika & Sun, IEEE TIP 2024), local contrast; the form is inferred: the released scripts import a file
    that is not in the repository.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import local_contrast
    >>> features = torch.eye(2).repeat_interleave(2, dim=0)  # two pairs of equal rows
    >>> good, bad = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    >>> bool(local_contrast(features, good) < local_contrast(features, bad))
    True
    """
    rows = full_precision(features)
    if kept is None:
        kept = torch.ones_like(labels, dtype=torch.bool)
    with torch.autocast(rows.device.type, enabled=False):  # half precision would lose the small terms
        units = F.normalize(rows, dim=1)
        similar = (units / temperature) @ units.T
    same = labels[:, None] == labels[None, :]
    positive = same & kept[:, None] & kept[None, :]
    if exclude_self:
        positive = positive & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    # A large negative number, not -inf: the gradient of an anchor without negatives must be 0, not NaN.
    negatives = similar.masked_fill(same | ~kept[None, :], -1e30).logsumexp(dim=1, keepdim=True)
    # l - log(e^l + e^negatives) in one pass; the maximum cancels, so it is not subtracted.
    terms = torch.where(positive, F.logsigmoid(similar - negatives), 0.0)
    partners = positive.sum(dim=1)
    anchors = (partners > 0).sum().clamp(min=1)
    return -(temperature / base_temperature) * (terms.sum(dim=1) / partners.clamp(min=1)).sum() / anchors
