"""The figures of an evaluation, from logits and labels alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_stat_scores,
)

from lgcoamix.errors import RunError

BINS = 15  # of the calibration error, as in Guo et al. 2017
_TOP = 5


@dataclass(frozen=True)
class Bin:
    """The samples whose confidence lies in [low, high); the last bin holds confidence 1 too.

    Parameters
    ----------
    low, high : edges, in [0, 1].
    count : number of samples.
    confidence : their mean confidence, in [0, 1]; None for an empty bin.
    accuracy : share of them that is right, in [0, 1]; None for an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, eq=False)
class Figures:
    """How well n samples of N classes are classified.

    Parameters
    ----------
    images : n.
    top1 : percent of samples whose highest logit is at their label.
    top5 : percent of samples whose label is among the 5 highest logits; None for N <= 5, where nothing could miss.
    loss : mean cross-entropy, in nats.
    calibration_error : expected calibration error of the top-1 confidence, in [0, 1]: the distance of confidence and
        accuracy in each of ``BINS`` bins, weighed by the bin's share of the samples.
    reliability : the bins, by rising confidence.
    per_class : N accuracies in percent, that is the recall of each class; None for a class without samples.
    counts : N numbers of samples.
    confusion : (N, N) int64 array; [i, j] samples of class i were taken for class j.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017, arXiv 1706.04599.
    """

    images: int
    top1: float
    top5: float | None
    loss: float
    calibration_error: float
    reliability: tuple[Bin, ...]
    per_class: tuple[float | None, ...]
    counts: tuple[int, ...]
    confusion: np.ndarray


def measure(logits: Tensor, labels: Tensor) -> Figures:
    """Compute all figures of a split.

    Parameters
    ----------
    logits : (n, N) float32 tensor on the CPU.
    labels : (n,) int64 tensor on the CPU, values in [0, N).

    Raises
    ------
    ValueError : shapes that do not fit, no samples, or labels outside [0, N).
    RunError : logits that are not finite.
    """
    _check(logits, labels)
    n, N = logits.shape
    # torchmetrics would take logits that all lie in [0, 1] for probabilities, and bins in float32.
    probabilities = logits.double().softmax(dim=1).float()
    confusion = multiclass_confusion_matrix(logits.argmax(dim=1), labels, num_classes=N)
    counts = confusion.sum(dim=1)
    recalls = 100 * confusion.diagonal().double() / counts.clamp(min=1)
    per_class = zip(recalls.tolist(), counts.tolist(), strict=True)
    return Figures(
        images=n,
        top1=_top(logits, labels, 1),
        top5=_top(logits, labels, _TOP) if N > _TOP else None,
        loss=float(F.cross_entropy(logits.double(), labels)),
        calibration_error=_calibration_error(probabilities, labels),
        reliability=_reliability(probabilities, labels),
        per_class=tuple(recall if count else None for recall, count in per_class),
        counts=tuple(counts.tolist()),
        confusion=confusion.numpy(),
    )


def confidences(logits: Tensor) -> Tensor:
    """The probability that the network gives its own prediction: (n, N) logits -> (n,) float64 tensor in (0, 1]."""
    # float64: in float32 all confidences above 1 - 6e-8 are 1, and could not be put in order.
    return logits.double().softmax(dim=1).amax(dim=1)


def mistakes(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """Places of the samples that are classified wrongly with the highest confidence.

    Parameters
    ----------
    logits : (n, N) float32 tensor.
    labels : (n,) int64 tensor.
    count : how many at most.

    Returns
    -------
    (k,) int64 tensor of places in [0, n), k <= count, by falling confidence; equals by rising place.
    """
    wrong = (logits.argmax(dim=1) != labels).nonzero().squeeze(1)
    order = confidences(logits[wrong]).sort(descending=True, stable=True).indices
    return wrong[order[:count]]


def to_plain(figures: Figures) -> dict[str, Any]:
    """Figures as plain data, for JSON."""
    plain = {name: value for name, value in vars(figures).items() if name not in ("reliability", "confusion")}
    plain["reliability"] = {
        name: [getattr(part, name) for part in figures.reliability]
        for name in ("low", "high", "count", "confidence", "accuracy")
    }
    plain["confusion"] = figures.confusion.tolist()
    return plain


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"expected (n, N) logits and (n,) labels of at least one sample, got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels must lie in [0, {logits.shape[1]}), the classes of the logits; "
            f"got {int(labels.min())} to {int(labels.max())}"
        )
    finite = logits.isfinite().all(dim=1)
    if not finite.all():
        raise RunError(
            f"the network gives numbers that are not finite for {int((~finite).sum())} of {len(labels)} images: its "
            "training diverged; take another checkpoint, or train with a smaller --set optim.lr=..."
        )


def _top(logits: Tensor, labels: Tensor, k: int) -> float:
    scores = multiclass_stat_scores(logits, labels, num_classes=logits.shape[1], average="micro", top_k=k)
    return 100 * int(scores[0]) / len(labels)  # the first score is the number of hits


def _calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    # torchmetrics would give probabilities of exactly 1 a bin of their own, a sixteenth; just below 1 they are in the
    # last bin.
    below = torch.nextafter(probabilities.new_tensor(1.0), probabilities.new_tensor(0.0))
    kept = probabilities.clamp(max=below)
    return float(multiclass_calibration_error(kept, labels, num_classes=kept.shape[1], n_bins=BINS, norm="l1"))


def _reliability(probabilities: Tensor, labels: Tensor) -> tuple[Bin, ...]:
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == labels).double()
    edges = torch.linspace(0, 1, BINS + 1)
    place = (torch.bucketize(confidence, edges, right=True) - 1).clamp(max=BINS - 1)
    counts = torch.bincount(place, minlength=BINS)
    filled = counts.clamp(min=1)
    confidence = torch.bincount(place, confidence.double(), minlength=BINS) / filled
    accuracy = torch.bincount(place, right, minlength=BINS) / filled
    rows = zip(counts.tolist(), confidence.tolist(), accuracy.tolist(), strict=True)
    return tuple(
        Bin(number / BINS, (number + 1) / BINS, count, sure if count else None, share if count else None)
        for number, (count, sure, share) in enumerate(rows)
    )
