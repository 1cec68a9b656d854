"""Classification metrics, computed from logits and labels. METRICS lists them all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lgcoamix.errors import RunError
from lgcoamix.evaluation.wilson import score_intervals

BINS = 15  # for the calibration error, as in Guo et al. 2017
MOST_CONFUSED = 3000  # classes of a confusion matrix: 27 MB of JSON, of 32 that are read (runs/documents.py)


@dataclass(frozen=True)
class Metric:
    """A metric of a split. Tables, JSON files, model cards and plots iterate over METRICS.

    Parameters
    ----------
    label : display name.
    compute : (n, N) logits and (n,) labels -> the value; None if undefined.
    form : format string of the value.
    is_accuracy : whether it is a percentage to plot against the strength of an attack.
    parts : (n, N) logits and (n,) labels -> (n, m) float64 tensor, one row per image: the absolute means of its columns
        add up to the value. It gives a bootstrap interval; None gives none.
    """

    label: str
    compute: Callable[[Tensor, Tensor], float | None]
    form: str
    is_accuracy: bool = False
    parts: Callable[[Tensor, Tensor], Tensor] | None = None

    def text(self, value: float | None) -> str:
        """Format the value for a table; None becomes an empty string."""
        return "" if value is None else self.form.format(value)


def top1(logits: Tensor, labels: Tensor) -> float:
    """Percentage of samples whose highest logit is the true class; ties go to the first class."""
    return 100 * int((logits.argmax(dim=1) == labels).sum()) / len(labels)


def top5(logits: Tensor, labels: Tensor) -> float | None:
    """Percentage of samples whose label is among the 5 highest logits; None for N <= 5, where it is always 100."""
    if logits.shape[1] <= 5:
        return None
    return 100 * int((logits.topk(5, dim=1).indices == labels[:, None]).sum()) / len(labels)


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy, in nats."""
    return float(F.cross_entropy(logits.double(), labels))


def calibration_error(logits: Tensor, labels: Tensor) -> float:
    """Expected calibration error of the top-1 confidence, in [0, 1].

    The mean gap between confidence and accuracy over ``BINS`` bins, weighted by sample count.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks. ICML 2017, arXiv 1706.04599.
    """
    filled = [part for part in reliability(logits, labels) if part.count]
    return sum(part.count * abs(part.confidence - part.accuracy) for part in filled) / len(labels)


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return 100 * (logits.argmax(dim=1) == labels).double()[:, None]


def _among_five(logits: Tensor, labels: Tensor) -> Tensor:
    return 100 * (logits.topk(5, dim=1).indices == labels[:, None]).any(dim=1).double()[:, None]


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits.double(), labels, reduction="none")[:, None]


def _gaps(logits: Tensor, labels: Tensor) -> Tensor:
    """Confidence minus correctness, in the column of the bin."""
    confidence, right, place = _binned(logits, labels)
    return F.one_hot(place, BINS) * (confidence.double() - right)[:, None]


METRICS = {
    "top1": Metric("top-1", top1, "{:.2f} %", is_accuracy=True, parts=_right),
    "top5": Metric("top-5", top5, "{:.2f} %", is_accuracy=True, parts=_among_five),
    "loss": Metric("loss", cross_entropy, "{:.4f}", parts=_losses),
    "calibration_error": Metric("calibration error", calibration_error, "{:.4f}", parts=_gaps),
}


@dataclass(frozen=True)
class Bin:
    """Samples with confidence in [low, high). The last bin includes 1.

    Parameters
    ----------
    low, high : edges, in [0, 1].
    count : number of samples.
    confidence : mean confidence, in [0, 1]; None for an empty bin.
    accuracy : fraction classified correctly, in [0, 1]; None for an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, eq=False)
class Figures:
    """Metrics of n samples of N classes.

    Parameters
    ----------
    images : n.
    values : values by name in ``METRICS``; None if undefined.
    reliability : bins of the calibration error, by increasing confidence.
    per_class : recall of each of the N classes, in percent; None for a class without samples.
    counts : number of samples of each class.
    confusion : (N, N) int64 array; [i, j] counts samples of class i classified as class j. None for more than
        ``MOST_CONFUSED`` classes.
    """

    images: int
    values: dict[str, float | None]
    reliability: tuple[Bin, ...]
    per_class: tuple[float | None, ...]
    counts: tuple[int, ...]
    confusion: np.ndarray | None

    def __getitem__(self, name: str) -> float | None:
        return self.values[name]

    @property
    def per_class_interval(self) -> tuple[tuple[float, float] | None, ...]:
        """Ends of the interval of each recall, in percent; None for a class without samples."""
        shares = np.array([0 if recall is None else recall / 100 for recall in self.per_class])
        counts = np.array(self.counts)
        ends = 100 * score_intervals(shares, counts.clip(min=1))
        return tuple((low, high) if count else None for (low, high), count in zip(ends.tolist(), counts, strict=True))


def measure(logits: Tensor, labels: Tensor) -> Figures:
    """Compute all metrics of a split.

    Parameters
    ----------
    logits : (n, N) float32 tensor on the CPU.
    labels : (n,) int64 tensor on the CPU, values in [0, N).

    Raises
    ------
    ValueError : mismatched shapes, no samples, or labels outside [0, N).
    RunError : non-finite logits.
    """
    _check(logits, labels)
    n, N = logits.shape
    predicted = logits.argmax(dim=1)
    counts = torch.bincount(labels, minlength=N)
    recalls = 100 * torch.bincount(labels[predicted == labels], minlength=N).double() / counts.clamp(min=1)
    per_class = zip(recalls.tolist(), counts.tolist(), strict=True)
    return Figures(
        images=n,
        values={name: metric.compute(logits, labels) for name, metric in METRICS.items()},
        reliability=reliability(logits, labels),
        per_class=tuple(recall if count else None for recall, count in per_class),
        counts=tuple(counts.tolist()),
        confusion=_confusion(labels, predicted, N) if N <= MOST_CONFUSED else None,
    )


def confidences(logits: Tensor) -> Tensor:
    """Probability of the predicted class: (n, N) logits -> (n,) float64 tensor in (0, 1]."""
    # float32 rounds every confidence above 1 - 6e-8 to 1, which would lose their order.
    return logits.double().softmax(dim=1).amax(dim=1)


def true_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """Probability of the true class: (n, N) logits, (n,) labels -> (n,) float64 tensor in [0, 1].

    Raises
    ------
    ValueError, RunError : as :func:`measure`.
    """
    _check(logits, labels)
    return logits.double().softmax(dim=1).gather(1, labels[:, None])[:, 0]


def mistakes(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """Find the most confident misclassified samples.

    Parameters
    ----------
    logits : (n, N) float32 tensor.
    labels : (n,) int64 tensor.
    count : maximum number of samples.

    Returns
    -------
    (k,) int64 tensor of indices in [0, n), k <= count, by decreasing confidence. Ties are in increasing order.
    """
    wrong = (logits.argmax(dim=1) != labels).nonzero().squeeze(1)
    order = confidences(logits[wrong]).sort(descending=True, stable=True).indices
    return wrong[order[:count]]


def parts_of(logits: Tensor, labels: Tensor, figures: Figures) -> dict[str, np.ndarray]:
    """Return what each metric of a split is made of, image by image: name -> (n, m) float64 array."""
    return {
        name: metric.parts(logits, labels).numpy()
        for name, metric in METRICS.items()
        if metric.parts is not None and figures[name] is not None
    }


def to_plain(figures: Figures) -> dict[str, Any]:
    """Convert metrics to plain data, for JSON."""
    plain = {"images": figures.images, **figures.values}
    plain |= {name: getattr(figures, name) for name in ("per_class", "per_class_interval", "counts")}
    plain["reliability"] = {
        name: [getattr(part, name) for part in figures.reliability]
        for name in ("low", "high", "count", "confidence", "accuracy")
    }
    plain["confusion"] = None if figures.confusion is None else figures.confusion.tolist()
    return plain


def _confusion(labels: Tensor, predicted: Tensor, N: int) -> np.ndarray:
    return torch.bincount(labels * N + predicted, minlength=N * N).view(N, N).numpy()


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"expected (n, N) logits and (n,) labels of at least one sample, got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise ValueError(
            f"labels must lie in [0, {logits.shape[1]}) to match the logits, got {int(labels.min())} to "
            f"{int(labels.max())}"
        )
    finite = logits.isfinite().all(dim=1)
    if not finite.all():
        raise RunError(
            f"the network's logits are not finite for {int((~finite).sum())} of {len(labels)} images: its training "
            "diverged; use another checkpoint, or train with a smaller --set optim.lr=..."
        )


def reliability(logits: Tensor, labels: Tensor) -> tuple[Bin, ...]:
    """Compute confidence and accuracy in each of ``BINS`` bins of the top-1 confidence."""
    confidence, right, place = _binned(logits, labels)
    counts = torch.bincount(place, minlength=BINS)
    filled = counts.clamp(min=1)
    confidence = torch.bincount(place, confidence.double(), minlength=BINS) / filled
    accuracy = torch.bincount(place, right, minlength=BINS) / filled
    rows = zip(counts.tolist(), confidence.tolist(), accuracy.tolist(), strict=True)
    return tuple(
        Bin(number / BINS, (number + 1) / BINS, count, sure if count else None, share if count else None)
        for number, (count, sure, share) in enumerate(rows)
    )


def _binned(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Confidence (float32), correctness (float64) and bin of each image."""
    confidence, predicted = logits.double().softmax(dim=1).float().max(dim=1)
    edges = torch.linspace(0, 1, BINS + 1)
    place = (torch.bucketize(confidence, edges, right=True) - 1).clamp(max=BINS - 1)
    return confidence, (predicted == labels).double(), place
