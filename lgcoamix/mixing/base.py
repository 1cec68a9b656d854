"""The protocol of all methods: plan (every random draw), mix (pure tensors), loss (named terms).

In the step::

    plan = mixer.plan(batch, generator, model)
    mixed = mixer.mix(batch, plan) if plan is not None else unmixed(batch)
    output = model(mixed.images, mixed.regions, mixed.count)
    terms = mixer.loss(output, mixed)          # the engine sums and logs them
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcoamix.ops.batch import Batch, check_generator, make_batch
from lgcoamix.ops.device import to_device
from lgcoamix.ops.losses import mixed_cross_entropy
from lgcoamix.ops.output import Output
from lgcoamix.settings.mixers import MixerOptions


@dataclass(frozen=True)
class Plan:
    """The random draws for one mixed batch; methods add their own.

    Parameters
    ----------
    permutation : (B,) int64 tensor: image i receives from image permutation[i].
    """

    permutation: Tensor


@dataclass(frozen=True)
class Mixed:
    """A batch after mixing.

    Parameters
    ----------
    images : (B, 3, H, W) floating tensor.
    labels_a, labels_b : (B,) int64 tensors: label of the receiving image a and of the pasted image b.
    weight_a, weight_b : (B,) float32 tensors (float64 beside float64 images): the labels' weights before any
        attention. They sum to 1, but for SnapMix.
    regions : (B, H, W) int64 tensor of ids in [0, count), others belong to no region; None without a local branch.
    count : 2·K_half: ids from K_half up come from b.
    """

    images: Tensor
    labels_a: Tensor
    labels_b: Tensor
    weight_a: Tensor
    weight_b: Tensor
    regions: Tensor | None = None
    count: int = 0

    @property
    def lam(self) -> Tensor:
        """λ, the weight of the pasted label: (B,) float32 tensor."""
        return self.weight_b

    def soft_targets(self, num_classes: int, smoothing: float = 0.0) -> Tensor:
        """Write both labels as one distribution over classes.

        Returns
        -------
        (B, N) float32 tensor: weight_a on label a plus weight_b on label b, of which the share ``smoothing`` is
        spread evenly over all classes.
        """
        one_a = F.one_hot(self.labels_a, num_classes).float()
        one_b = F.one_hot(self.labels_b, num_classes).float()
        hard = self.weight_a.float()[:, None] * one_a + self.weight_b.float()[:, None] * one_b
        return hard * (1 - smoothing) + hard.sum(dim=1, keepdim=True) * smoothing / num_classes


def unmixed(batch: Batch) -> Mixed:
    """The batch as it is: every label with weight 1."""
    one = torch.ones(len(batch.labels), device=batch.labels.device, dtype=weight_dtype(batch.images))
    return Mixed(batch.images, batch.labels, batch.labels, one, torch.zeros_like(one))


class Mixer(MixerOptions, ABC):
    """A mixing method. Subclasses are frozen dataclasses: their fields are the options, see ``settings/mixers.py``."""

    mix_prob: float

    def gate(self, generator: torch.Generator) -> bool:
        """Draw whether a batch is mixed; one draw serves all ranks and all parts of a batch."""
        return float(torch.rand((), generator=generator)) < self.mix_prob

    @property
    def fetches(self) -> str | None:
        """Name of the model whose weights :meth:`prepare` takes from the hub, if any."""
        return None

    def prepare(self) -> None:
        """Load what the method needs besides the batch and the network, or fail now; else the first draw does it."""

    def plan(
        self, batch: Batch, generator: torch.Generator, model: nn.Module | None = None, is_open: bool | None = None
    ) -> Plan | None:
        """Make every random draw for one batch.

        Parameters
        ----------
        batch : the batch to be mixed; only its shapes matter, unless the method looks at it with ``model``.
        generator : a CPU generator, so that CPU and GPU draw alike.
        model : the network in training, for methods that need a forward pass of their own.
        is_open : the gate, where it was drawn already; None draws it here.

        Returns
        -------
        The plan; None where the gate leaves the batch unmixed, and for a batch of one.
        """
        is_open = self.gate(generator) if is_open is None else is_open
        if not is_open or len(batch.labels) < 2:
            return None
        self._check_model(model)
        permutation = to_device(torch.randperm(len(batch.labels), generator=generator), batch.labels.device)
        return self.draw(batch, permutation, generator, model)

    def _check_model(self, model: nn.Module | None) -> None:
        if model is None and self.needs_model:
            raise ValueError(f"{type(self).__name__} needs model=, the network, with which it looks at the images")

    @abstractmethod
    def draw(self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None) -> Plan:
        """Make the method's own draws for a batch that is mixed."""

    @abstractmethod
    def mix(self, batch: Batch, plan: Plan) -> Mixed:
        """Mix; no draws, no change of the inputs, no synchronisation with the host."""

    def loss(self, output: Output, mixed: Mixed) -> dict[str, Tensor]:
        """Named loss terms, already weighted: their sum is the loss."""
        weights = (mixed.weight_a, mixed.weight_b)
        return {"global": mixed_cross_entropy(output.logits, mixed.labels_a, mixed.labels_b, *weights)}

    def monitors(self, output: Output, mixed: Mixed) -> dict[str, Tensor]:
        """Named scalars to be averaged over the mixed batches of an epoch and logged."""
        return {"lam_area": mixed.lam.mean()}

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        maps: Tensor | None = None,
        *,
        generator: torch.Generator,
        count: int | None = None,
        model: nn.Module | None = None,
        statistics: tuple | None = None,
    ) -> Mixed:
        """Plan and mix in one call, for training loops of your own.

        Parameters
        ----------
        images : (B, 3, H, W) floating or uint8 tensor.
        labels : (B,) integer tensor.
        maps : (B, H, W) integer tensor, for methods that need it.
        generator : a CPU generator.
        count : K_half; if not given, the largest id in ``maps`` plus one, the highest value of an unsigned type apart.
        model : for methods that look at the images with the network in training.
        statistics : mean and standard deviation, for each channel, of that network's inputs: floating images were
            normalised with them. None: it takes images in [0, 1].

        Raises
        ------
        ValueError : shapes or types that do not fit, or something that the method needs is missing.
        """
        check_generator(generator)
        if maps is None and self.needs_maps:
            raise ValueError(f"{type(self).__name__} needs maps: (B, H, W) superpixel ids of the images")
        batch = make_batch(images, labels, maps, count, statistics)
        plan = self.plan(batch, generator, model)
        return unmixed(batch) if plan is None else self.mix(batch, plan)

    def as_timm(
        self,
        num_classes: int,
        smoothing: float = 0.0,
        *,
        generator: torch.Generator | None = None,
        model: nn.Module | None = None,
        statistics: tuple | None = None,
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Give what timm's and Lightning's loops call a mixup function.

        Parameters
        ----------
        num_classes, smoothing : as for :meth:`Mixed.soft_targets`.
        generator : a CPU generator, from which every batch draws; None makes one from torch's seed.
        model, statistics : as for calling the mixer.

        Returns
        -------
        (images, labels) -> (mixed images, (B, N) float32 targets).

        Raises
        ------
        ValueError : the method needs superpixel maps, which such loops do not pass on; ``model`` is missing.
        """
        if not 0 <= smoothing <= 1:
            raise ValueError(f"smoothing must lie in [0, 1], got {smoothing}")
        if self.needs_maps:
            raise ValueError(
                f"{type(self).__name__} needs maps, which a function of images and labels cannot have; "
                "call the mixer itself: mixer(images, labels, maps, generator=...)"
            )

        self._check_model(model)
        source = torch.Generator().manual_seed(torch.initial_seed()) if generator is None else generator
        check_generator(source)

        def mixup(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            mixed = self(images, labels, generator=source, model=model, statistics=statistics)
            return mixed.images, mixed.soft_targets(num_classes, smoothing)

        return mixup


def paste(batch: Batch, permutation: Tensor, pasted: Tensor) -> Mixed:
    """Take pixels of b where a mask says so, at the same place; λ is their share, sample by sample.

    Parameters
    ----------
    pasted : (B, H, W) bool tensor: row i is about what image i receives.
    """
    images = torch.where(pasted[:, None], batch.images[permutation], batch.images)
    weight_b = pasted.to(weight_dtype(batch.images)).mean(dim=(1, 2))
    return Mixed(images, batch.labels, batch.labels[permutation], 1 - weight_b, weight_b)


def like(values: Tensor, images: Tensor) -> Tensor:
    """Bring computed pixels to the dtype of the images; whole numbers are rounded."""
    return values.to(images.dtype) if images.dtype.is_floating_point else values.round().to(images.dtype)


def weight_dtype(images: Tensor) -> torch.dtype:
    """Dtype of label weights: float32, or float64 beside float64 images."""
    return torch.promote_types(images.dtype, torch.float32)


def draw_beta(alpha: float, generator: torch.Generator) -> float:
    """Draw from Beta(alpha, alpha); torch's own sampler takes no generator."""
    seed = int(torch.randint(0, 2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
