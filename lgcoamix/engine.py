"""Training and evaluation. Knows no method by name."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcoamix.errors import RunError
from lgcoamix.inputs import to_inputs
from lgcoamix.mixing import Batch, Mixed, Mixer, unmixed
from lgcoamix.output import Output
from lgcoamix.seeding import derive_seed

Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class Step:
    """What one training step needs besides the batch.

    Parameters
    ----------
    model, mixer, optimiser : the parts.
    statistics : mean and standard deviation of the inputs.
    device : where the step runs.
    seed : of the run.
    """

    model: nn.Module
    mixer: Mixer
    optimiser: torch.optim.Optimizer
    statistics: Statistics
    device: torch.device
    seed: int


class Means:
    """Running means of named scalars, kept on the device: reading them is the only synchronisation."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def add(self, values: dict[str, Tensor], weight: float = 1.0) -> None:
        """Add one observation of every value."""
        for name, value in values.items():
            term = value.detach().double() * weight if value.device.type != "mps" else value.detach() * weight
            self._sums[name] = self._sums[name] + term if name in self._sums else term
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def read(self) -> dict[str, float]:
        """Return the means so far."""
        return {name: float(total) / self._weights[name] for name, total in self._sums.items()}


def mix_batch(step: Step, batch: Batch, epoch: int, number: int) -> tuple[Mixed, bool]:
    """Normalise and mix one batch as step ``number`` of ``epoch`` does.

    Returns
    -------
    The mixed batch, and whether the gate was open.
    """
    batch = batch.to(step.device, non_blocking=True)
    batch = replace(batch, images=to_inputs(batch.images, *step.statistics))
    generator = torch.Generator().manual_seed(derive_seed("mix", step.seed, epoch, number))
    plan = step.mixer.plan(batch, generator, step.model)
    return (unmixed(batch), False) if plan is None else (step.mixer.mix(batch, plan), True)


def train_one_epoch(
    step: Step, batches: Iterable[Batch], epoch: int, rate: float, advance: Callable[[int], None]
) -> dict[str, float]:
    """Train for one epoch.

    Parameters
    ----------
    step : model, mixer, optimiser and the rest.
    batches : the epoch's batches in order.
    epoch : 0-based.
    rate : learning rate.
    advance : is called with the size of each finished batch.

    Returns
    -------
    Mean of the loss, of every term over the batches that had it, of the method's monitors over the mixed batches, and
    the share of mixed batches.

    Raises
    ------
    RunError : the loss of the epoch is not finite.
    """
    for group in step.optimiser.param_groups:
        group["lr"] = rate
    step.model.train()
    means = Means()
    for number, batch in enumerate(batches):
        torch.manual_seed(derive_seed("layers", step.seed, epoch, number))  # for dropout and drop path
        mixed, was_mixed = mix_batch(step, batch, epoch, number)
        output: Output = step.model(mixed.images, mixed.regions, mixed.count)
        terms = step.mixer.loss(output, mixed)
        loss = torch.stack(list(terms.values())).sum()
        step.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        step.optimiser.step()
        with torch.no_grad():
            means.add({"loss": loss, **terms})
            means.add({"mixed": torch.tensor(float(was_mixed))})
            if was_mixed:
                means.add(step.mixer.monitors(output, mixed))
        advance(len(batch.labels))
    result = means.read()
    if not torch.isfinite(torch.tensor(result["loss"])):
        raise RunError(f"the loss of epoch {epoch} is {result['loss']}; try a smaller --set optim.lr=...")
    return result


@torch.no_grad()
def evaluate(
    model: nn.Module, batches: Iterable[Batch], statistics: Statistics, device: torch.device
) -> dict[str, float]:
    """Classify unmixed images.

    Returns
    -------
    ``top1``, in percent, and ``loss``, the mean cross-entropy; each sample counts once.
    """
    means = Means()
    for logits, labels in predictions(model, batches, statistics, device):
        right = (logits.argmax(dim=1) == labels).float().mean() * 100
        means.add({"top1": right, "loss": F.cross_entropy(logits, labels)}, weight=len(labels))
    return means.read()


@torch.no_grad()
def predictions(
    model: nn.Module, batches: Iterable[Batch], statistics: Statistics, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (B, N) float32 logits and (B,) labels, batch by batch."""
    model.eval()
    for batch in batches:
        batch = batch.to(device, non_blocking=True)
        yield model(to_inputs(batch.images, *statistics)).logits.float(), batch.labels
