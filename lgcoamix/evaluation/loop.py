"""Forward passes over a split, without gradients."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcoamix.data.loader import on_device
from lgcoamix.ops.batch import Batch, Statistics
from lgcoamix.ops.device import precise
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.ops.normalise import to_inputs
from lgcoamix.ops.output import Output


@torch.no_grad()
def evaluate(
    model: nn.Module,
    loader: Iterable[Batch],
    statistics: Statistics,
    ranks: Ranks,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> dict[str, float]:
    """Classify unmixed images.

    Returns
    -------
    ``top1`` in percent and ``loss``, the mean cross-entropy, over all samples of all ranks. A network with a mid-level
    branch adds ``backbone_top1`` and ``backbone_loss``, measured without the branch.
    """
    parts = ("", "backbone_") if getattr(model, "mid_branch", None) is not None else ("",)
    nothing = {f"{part}{name}": 0.0 for part in parts for name in ("top1", "loss")}
    means = Means(nothing, nothing)  # a rank may have no samples
    for output, labels in _outputs(model, loader, statistics, ranks.device, autocast):
        for part, logits in zip(parts, (output.prediction.float(), output.logits.float()), strict=False):
            right = precise(logits.argmax(dim=1) == labels).mean() * 100
            terms = {f"{part}top1": right, f"{part}loss": F.cross_entropy(logits, labels)}
            means.add(terms, weight=len(labels))
    return means.read(ranks)


@torch.no_grad()
def predictions(
    model: nn.Module,
    loader: Iterable[Batch],
    statistics: Statistics,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (B, N) float32 logits and (B,) labels, batch by batch."""
    for output, labels in _outputs(model, loader, statistics, device, autocast):
        yield output.prediction.float(), labels


@torch.no_grad()
def _outputs(
    model: nn.Module,
    loader: Iterable[Batch],
    statistics: Statistics,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager],
) -> Iterator[tuple[Output, Tensor]]:
    model.eval()
    for batch in on_device(loader, device):
        with autocast():
            output = model(to_inputs(batch.images, *statistics))
        yield output, batch.labels
