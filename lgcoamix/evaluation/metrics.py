"""The metrics of an evaluation, from logits and labels alone: METRICS is their one home."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lgcoamix.errors import RunError

BINS = 15  # of the calibration error, as in Guo et al. 2017


@dataclass(frozen=True)
class Metric:
    """One number about the classification of a split; tables, documents, model cards and plots iterate over METRICS.

    Parameters
    ----------
    label : name for people.
    compute : (n, N) logits and (n,) labels -> the number; None where it has no meaning.
    form : format of the number.
    is_accuracy : a percentage, drawn against the strength of an attack.
    """

    label: str
    compute: Callable[[Tensor, Tensor], float | None]
    form: str
    is_accuracy: bool = False

    def text(self, value: float | None) -> str:
        """The number for a table; empty for None."""
        return "" if value is None else self.form.format(value)


def top1(logits: Tensor, labels: Tensor) -> float:
    """Percent of samples whose highest logit is at their label; of equal logits the first counts."""
    return 100 * int((logits.argmax(dim=1) == labels).sum()) / len(labels)


def top5(logits: Tensor, labels: Tensor) -> float | None:
    """Percent of samples whose label is among the 5 highest logits; None for N <= 5, where nothing could miss."""
    if logits.shape[1] <= 5:
        return None
    return 100 * int((logits.topk(5, dim=1).indices == labels[:, None]).sum()) / len(labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy, in nats."""
    return float(F.cross_entropy(logits.double(), labels))


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error of the top-1 confidence, in [0, 1].

    The mean distance of confidence and accuracy over ``BINS`` bins, weighted by the samples in each.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017, arXiv 1706.04599.
    """
    filled = [part for part in reliability(logits, labels) if part.count]
    return sum(part.count * abs(part.confidence - part.accuracy) for part in filled) / len(labels)


METRICS = {
    "top1": Metric("top-1", top1, "{:.2f} %", is_accuracy=True),
    "top5": Metric("top-5", top5, "{:.2f} %", is_accuracy=True),
    "loss": Metric("loss", cross_entropy, "{:.4f}"),
    "calibration_error": Metric("calibration error", calibration_error, "{:.4f}"),
}


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
    values : by name in ``METRICS``; None where a metric has no meaning.
    reliability : the bins of the calibration error, by rising confidence.
    per_class : N accuracies in percent, the recall of each class; None for a class without samples.
    counts : N numbers of samples.
    confusion : (N, N) int64 array; [i, j] samples of class i were classified as class j.
    """

    images: int
    values: dict[str, float | None]
    reliability: tuple[Bin, ...]
    per_class: tuple[float | None, ...]
    counts: tuple[int, ...]
    confusion: np.ndarray

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]


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
    confusion = torch.bincount(labels * N + logits.argmax(dim=1), minlength=N * N).view(N, N)
    counts = confusion.sum(dim=1)
    recalls = 100 * confusion.diagonal().double() / counts.clamp(min=1)
    per_class = zip(recalls.tolist(), counts.tolist(), strict=True)
    return Figures(
        images=n,
        values={name: metric.compute(logits, labels) for name, metric in METRICS.items()},
        reliability=reliability(logits, labels),
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
    plain = {"images": figures.images, **figures.values}
    plain |= {"per_class": figures.per_class, "counts": figures.counts}
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


def reliability(logits: Tensor, labels: Tensor) -> tuple[Bin, ...]:
    """Confidence and accuracy of the samples in each of ``BINS`` bins of the top-1 confidence."""
    confidence, predicted = logits.double().softmax(dim=1).float().max(dim=1)
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
