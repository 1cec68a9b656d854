"""One epoch of training steps, and its progress, whatever the method."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lgcoamix.data.loader import on_device
from lgcoamix.data.order import RunBatches, split_evenly
from lgcoamix.errors import RunError
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.device import seed_layers
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.ops.output import Output
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Waiting

_REMEDY = "try a smaller --set optim.lr=..., or --set optim.clip=5; with --amp fp16 try bf16"


@dataclass
class Progress:
    """Position in an epoch, and its totals so far.

    Parameters
    ----------
    epoch, number : the next step.
    means : of losses and monitors.
    lams : monitors of mixed steps that are not written yet: (step, {name: value of this rank's share}).
    waiting : time spent waiting for data.
    """

    epoch: int
    number: int
    means: Means
    waiting: Waiting
    lams: list[tuple[int, dict[str, Tensor]]] = field(default_factory=list)


def train_one_epoch(
    step: Step,
    loader: Iterable[Batch],
    batches: RunBatches,
    progress: Progress,
    after_step: Callable[[int], None],
    mixing: bool = True,
) -> dict[str, float]:
    """Train from ``progress`` to the end of its epoch.

    Parameters
    ----------
    step : network, mixer and optimiser; the learning rate is already set.
    loader : this rank's batches from ``progress.number`` on.
    batches : the order that the loader follows.
    progress : updated in place; between steps, it and ``step`` are a complete state.
    after_step : called after every step with the size of its batch over all ranks.
    mixing : False leaves every batch unmixed.

    Returns
    -------
    Mean of the loss, of every term over the batches that had it, of the method's monitors over the mixed batches, and
    the share of mixed batches.

    Raises
    ------
    RunError : a loss is not finite.
    """
    step.network.train()
    for batch in progress.waiting.around(on_device(loader, step.device)):
        epoch, number = progress.epoch, progress.number
        seed_layers(derive_seed("layers", step.seed, epoch, number, step.ranks.rank), step.device)  # dropout, drop path
        _run_step(step, batch, progress, batches.weight(number), mixing and step.gate(epoch, number))
        progress.number += 1
        after_step(batches.size(number))
    return read_finite(progress, step.ranks)


def _run_step(step: Step, batch: Batch, progress: Progress, weight: float, is_open: bool) -> None:
    shares = split_evenly(len(batch.labels), step.accumulate)
    step.ranks.follow_first(step.network)
    lams: dict[str, Tensor] = {}
    for place, (begin, end) in enumerate(shares):
        share = weight * (end - begin) / len(batch.labels)
        part = batch if len(shares) == 1 else batch.part(begin, end)
        part = step.normalise(part)
        mixed = step.mix(part, step.plan(part, progress.epoch, progress.number, is_open, place))
        with step.autocast():
            output: Output = step.model(mixed.images, mixed.regions, mixed.count)
            terms = step.loss(output, mixed)
            loss = torch.stack(list(terms.values())).sum()
        step.scaler.scale(loss * share).backward()  # summed over parts and ranks: the mean over the whole batch
        with torch.no_grad():
            progress.means.add({"loss": loss, **terms}, share)
            progress.means.add({"mixed": torch.tensor(float(is_open))}, share)
            if is_open:
                monitors = step.mixer.monitors(output, mixed)
                progress.means.add(monitors, share)
                lams = {name: lams.get(name, 0.0) + value.detach() * share for name, value in monitors.items()}
    step.ranks.add_gradients(step.network)
    if step.clip:
        step.scaler.unscale_(step.optimiser)
        nn.utils.clip_grad_norm_(step.network.parameters(), step.clip)
    step.scaler.step(step.optimiser)
    step.scaler.update()
    step.optimiser.zero_grad(set_to_none=True)
    if step.average is not None:
        step.average.update(step.network)
    if lams:
        progress.lams.append((progress.number, lams))


def read_finite(progress: Progress, ranks: Ranks) -> dict[str, float]:
    """The means of an epoch so far.

    Raises
    ------
    RunError : the loss is not finite.
    """
    means = progress.means.read(ranks)
    if not math.isfinite(means.get("loss", 0.0)):
        raise RunError(
            f"the loss is {means['loss']} by step {progress.number} of epoch {progress.epoch + 1}; {_REMEDY}"
        )
    return means


@torch.no_grad()
def refuse_infinite_weights(network: nn.Module) -> None:
    """Check the weights before they are saved.

    Raises
    ------
    RunError : a weight is not finite.
    """
    largest = torch.stack([values.abs().amax().float() for values in network.parameters() if values.numel()])
    if not bool(largest.isfinite().all()):
        raise RunError(f"a weight of the network is infinite or NaN; {_REMEDY}")
