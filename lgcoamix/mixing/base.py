"""The protocol of all methods: plan (every random draw), mix (tensor operations only), loss (named terms).

In a training step::

    plan = mixer.plan(batch, generator, model)
    mixed = mixer.mix(batch, plan) if plan is not None else unmixed(batch)
    output = model(mixed.images, mixed.regions, mixed.count)
    terms = mixer.loss(output, mixed)          # the step sums and logs them
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from lgcoamix.ops.batch import Batch, check_generator, make_batch
from lgcoamix.ops.device import to_device
from lgcoamix.ops.inputs import describe, whole_number
from lgcoamix.ops.losses import check_classes, mixed_cross_entropy
from lgcoamix.ops.output import Output, as_output
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.settings.mixers import MixerOptions


@dataclass(frozen=True)
class Plan:
    """The random draws for one mixed batch; subclasses add those of their method.

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
    labels_a, labels_b : (B,) int64 tensors: labels of the receiving image a and of the pasted image b; or (B, N)
        floating tensors, if the batch has soft labels.
    weight_a, weight_b : (B,) float32 tensors (float64 for float64 images): weights of the labels, before any
        weighting by attention in the loss. They sum to 1, except for SnapMix.
    regions : (B, H, W) int64 tensor; ids outside [0, count) belong to no region; None without a local branch.
    count : 2·K_half; ids from K_half upwards come from b.
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
        """λ, the weight of the pasted label: (B,) tensor, ``weight_b``."""
        return self.weight_b

    def soft_targets(self, num_classes: int, smoothing: float = 0.0) -> Tensor:
        """Combine both labels into one distribution over classes.

        Returns
        -------
        (B, N) float32 tensor: weight_a on label a plus weight_b on label b; the share ``smoothing`` of both is spread
        evenly over all classes.

        Raises
        ------
        ValueError : class numbers outside [0, num_classes), which is checked on a CPU only; soft labels of another
            number of classes; ``num_classes`` or ``smoothing`` is no such number.
        """
        if not torch.compiler.is_compiling():
            _check_targets(num_classes, smoothing)
        one_a, one_b = (_distributions(labels, num_classes) for labels in (self.labels_a, self.labels_b))
        hard = self.weight_a.float()[:, None] * one_a + self.weight_b.float()[:, None] * one_b
        return hard * (1 - smoothing) + hard.sum(dim=1, keepdim=True) * smoothing / num_classes


def _check_targets(num_classes: object, smoothing: object) -> None:
    whole_number("num_classes", num_classes, 1)
    if not isinstance(smoothing, Real) or isinstance(smoothing, bool) or not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must lie in [0, 1], got {smoothing!r}")


def _distributions(labels: Tensor, num_classes: int) -> Tensor:
    check_classes(labels, num_classes)
    return labels.float() if labels.is_floating_point() else F.one_hot(labels, num_classes).float()


def unmixed(batch: Batch) -> Mixed:
    """Return the batch without mixing: every label has weight 1."""
    one = torch.ones(len(batch.labels), device=batch.labels.device, dtype=weight_dtype(batch.images))
    return Mixed(batch.images, batch.labels, batch.labels, one, torch.zeros_like(one))


class Mixer(MixerOptions, ABC):
    """A mixing method. Subclasses are frozen dataclasses: their fields are the options, see ``settings/mixers.py``.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import Mixer, make_mixer
    >>> isinstance(make_mixer("cutmix"), Mixer)
    True
    >>> mixup = make_mixer("cutmix").as_timm(num_classes=8, generator=torch.Generator().manual_seed(0))
    >>> images, targets = mixup(torch.rand(8, 3, 32, 32), torch.arange(8))
    >>> targets.shape
    torch.Size([8, 8])
    """

    mix_prob: float
    by_area = True  # λ is the share of the pasted pixels

    def gate(self, generator: torch.Generator) -> bool:
        """Draw whether a batch is mixed. Callers share the draw between all ranks and parts of a batch."""
        check_generator(generator)
        return float(torch.rand((), generator=generator)) < self.mix_prob

    @property
    def fetches(self) -> str | None:
        """Name of the timm model whose weights :meth:`prepare` loads from the hub, or None."""
        return None

    def prepare(self) -> None:
        """Load what the method needs besides batch and network. Without this call, the first draw loads it."""

    def plan(
        self, batch: Batch, generator: torch.Generator, model: nn.Module | None = None, is_open: bool | None = None
    ) -> Plan | None:
        """Make every random draw for one batch.

        Parameters
        ----------
        batch : the batch to mix; only its shapes matter, unless the method runs ``model`` on it.
        generator : a CPU generator, so that draws do not depend on the device.
        model : the network in training, for methods with an attention pass.
        is_open : the result of :meth:`gate`, if already drawn; None draws it here.

        Returns
        -------
        The plan, or None if the gate leaves the batch unmixed or the batch has a single image.
        """
        if self.needs_class_numbers:
            self.require_class_numbers(batch.labels)
        if not isinstance(is_open, bool | np.bool_ | Tensor | None):
            raise ValueError(f"is_open must be True or False, as mixer.gate(shared) returns, got {is_open!r}")
        is_open = self.gate(generator) if is_open is None else is_open
        if not is_open or len(batch.labels) < 2:
            return None
        self._check_model(model)
        permutation = to_device(torch.randperm(len(batch.labels), generator=generator), batch.labels.device)
        return self.draw(batch, permutation, generator, model)

    def _check_model(self, model: nn.Module | None) -> None:
        if model is None and self.needs_model:
            raise ValueError(f"{type(self).__name__} needs model=, the network in training, for its attention pass")

    def require_class_numbers(self, labels: Tensor) -> None:
        """Refuse soft labels.

        Raises
        ------
        ValueError : the labels are floating.
        """
        if labels.is_floating_point():
            raise ValueError(
                f"{type(self).__name__} needs class numbers, (B,) integers, got soft labels {describe(labels)}; "
                "pass labels.argmax(1)"
            )

    def _check_maps(self, maps: object, call: str) -> None:
        if maps is None and self.needs_maps:
            raise ValueError(f"{type(self).__name__} needs maps: (B, H, W) superpixel ids of the images; pass {call}")

    @abstractmethod
    def draw(self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None) -> Plan:
        """Make the method's random draws for a batch that is mixed."""

    @abstractmethod
    def mix(self, batch: Batch, plan: Plan) -> Mixed:
        """Mix the batch, without random draws, changes to the inputs or synchronisation with the host."""

    def loss(self, output: Output | Tensor, mixed: Mixed) -> dict[str, Tensor]:
        """Compute named loss terms, already weighted: their sum is the loss.

        Parameters
        ----------
        output : of a :class:`lgcoamix.LocalGlobalNet`; or (B, N) logits of any network.
        mixed : the batch that the network was given.
        """
        weights = (mixed.weight_a, mixed.weight_b)
        return {"global": mixed_cross_entropy(as_output(output).logits, mixed.labels_a, mixed.labels_b, *weights)}

    def monitors(self, output: Output, mixed: Mixed) -> dict[str, Tensor]:
        """Compute named scalars, which are averaged over the mixed batches of an epoch and logged."""
        return {"lam_area" if self.by_area else "lam": mixed.lam.mean()}

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
        is_open: bool | None = None,
    ) -> Mixed:
        """Plan and mix in one call, for your own training loop.

        Parameters
        ----------
        images : (B, 3, H, W) floating or uint8 tensor.
        labels : (B,) integer tensor; or soft labels, (B, N) floating, for all methods but SnapMix and LGCOAMix.
        maps : (B, H, W) integer tensor of superpixel ids, for methods that need it.
        generator : a CPU generator. In a DataLoader worker it is a copy, with the draws of all other copies.
        count : K_half; None uses the largest id in ``maps`` plus one, ignoring the highest value of an unsigned type.
        model : the network in training, for methods with an attention pass.
        statistics : mean and standard deviation per channel of the network's inputs. Bytes: an attention pass
            normalises with them, and Cutout's zero is the mean. Floating images: they are normalised so already, which
            the extractor of Attentive CutMix undoes. None: the network takes images in [0, 1].
        is_open : whether to mix; None draws it here. Several processes share one draw, as ``mixer.gate(shared)`` of
            a generator with the same seed in all of them.

        Raises
        ------
        ValueError : no tensors, shapes, dtypes or devices do not match, or the method needs an argument that is
            missing, or class numbers.
        """
        check_generator(generator)
        self._check_maps(maps, "mixer(images, labels, maps, generator=...)")
        batch = make_batch(images, labels, maps, count, statistics)
        if self.needs_local:
            self.require_class_numbers(batch.labels)
        plan = self.plan(batch, generator, model, is_open)
        return unmixed(batch) if plan is None else self.mix(batch, plan)

    def as_timm(
        self,
        num_classes: int,
        smoothing: float = 0.0,
        *,
        generator: torch.Generator | None = None,
        count: int | None = None,
        model: nn.Module | None = None,
        statistics: tuple | None = None,
    ) -> "TimmMixup":
        """Build a mixup function for the training loops of timm or Lightning.

        Parameters
        ----------
        num_classes, smoothing : see :meth:`Mixed.soft_targets`.
        generator : a CPU generator for the draws of every batch; None builds one from torch's seed. In a
            ``collate_fn`` every DataLoader worker goes on with draws of its own.
        count, model, statistics : see :meth:`__call__`.

        Returns
        -------
        A function of (images, labels) or ((images, maps), labels) that returns mixed images and (B, N) float32 targets.

        Raises
        ------
        ValueError : ``num_classes`` below 1, ``smoothing`` outside [0, 1], no generator on the CPU, or ``model`` is
            missing.

        Notes
        -----
        Such a loop has no place for regions, nor for a loss of the method. LGCOAMix therefore mixes images and weights
        their targets by area, without its local branch, local losses and weights by attention. SnapMix has no
        mid-level branch.
        """
        _check_targets(num_classes, smoothing)
        self._check_model(model)
        source = torch.Generator().manual_seed(torch.initial_seed()) if generator is None else generator
        check_generator(source)
        return TimmMixup(self, num_classes, smoothing, source, {"count": count, "statistics": statistics}, model)


@dataclass(eq=False, repr=False)
class TimmMixup:
    """A mixup function for the training loops of timm or Lightning, built by :meth:`Mixer.as_timm`.

    Attributes
    ----------
    mixup_enabled : False leaves batches unmixed, without draws; targets stay smoothed. timm's script sets it at
        ``--mixup-off-epoch``.
    """

    mixer: Mixer
    num_classes: int
    smoothing: float
    generator: torch.Generator
    options: dict[str, Any]
    model: nn.Module | None = None
    mixup_enabled: bool = True
    _worker: int | None = None  # the seed of the DataLoader worker that this copy is in

    def __call__(self, images: Tensor | tuple[Tensor, Tensor | None], labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Parameters
        ----------
        images : as in :meth:`Mixer.__call__`, or a pair (images, maps). A method without maps ignores them.
        labels : as in :meth:`Mixer.__call__`; LGCOAMix takes soft labels here.

        Returns
        -------
        images : mixed, of the dtype that came in.
        targets : (B, N) float32 tensor.

        Raises
        ------
        ValueError : as :meth:`Mixer.__call__` and :meth:`Mixed.soft_targets`.
        """
        maps = None
        if isinstance(images, tuple | list):
            if len(images) != 2:
                found = f"{type(images).__name__} of {len(images)}"
                raise ValueError(f"expected images, or a pair as mixup((images, maps), labels), got a {found}")
            images, maps = images
        if not self.mixer.needs_maps:
            maps = None
        self.mixer._check_maps(maps, "mixup((images, maps), labels)")
        batch = make_batch(images, labels, maps, **self.options)
        check_classes(batch.labels, self.num_classes)
        self._leave_other_workers()
        plan = self.mixer.plan(batch, self.generator, self.model) if self.mixup_enabled else None
        mixed = unmixed(batch) if plan is None else self.mixer.mix(batch, plan)
        return mixed.images, mixed.soft_targets(self.num_classes, self.smoothing)

    def _leave_other_workers(self) -> None:
        """Draw other numbers than the copies in other DataLoader workers, and than those of the epochs before."""
        worker = get_worker_info()
        if worker is not None and worker.seed != self._worker:
            self.generator.manual_seed(derive_seed("mixup", self.generator.initial_seed(), worker.seed))
            self._worker = worker.seed


def paste(batch: Batch, permutation: Tensor, pasted: Tensor) -> Mixed:
    """Copy the masked pixels of b to the same position in a; λ is their share, per sample.

    Parameters
    ----------
    pasted : (B, H, W) bool tensor; row i masks the pixels that image i receives.
    """
    images = torch.where(pasted[:, None], batch.images[permutation], batch.images)
    weight_b = pasted.to(weight_dtype(batch.images)).mean(dim=(1, 2))
    return Mixed(images, batch.labels, batch.labels[permutation], 1 - weight_b, weight_b)


def like(values: Tensor, images: Tensor) -> Tensor:
    """Convert computed pixels to the dtype of the images; round for integer dtypes."""
    return values.to(images.dtype) if images.dtype.is_floating_point else values.round().to(images.dtype)


def weight_dtype(images: Tensor) -> torch.dtype:
    """Return the dtype of label weights: float32, or float64 for float64 images."""
    return torch.promote_types(images.dtype, torch.float32)


def draw_beta(alpha: float, generator: torch.Generator) -> float:
    """Draw from Beta(alpha, alpha); torch's sampler accepts no generator."""
    seed = int(torch.randint(0, 2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))
