"""SnapMix (Huang et al., AAAI 2021, arXiv 2012.04846): paste a box, weight the labels by class activation."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, draw_beta, like, weight_dtype
from lgcoamix.mixing.boxes import draw_box, inside
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.class_activation import classifier_weight, is_flat, last_map
from lgcoamix.ops.device import to_device
from lgcoamix.ops.losses import check_classes, full_precision
from lgcoamix.ops.output import Output, as_output
from lgcoamix.settings.mixers import SnapMixOptions


@dataclass(frozen=True)
class SnapMixPlan(Plan):
    """Two boxes for the batch, and the class activation of every image.

    A box is a (4,) int64 tensor: top, bottom, left, right; the ends are exclusive, clipped to the image.
    """

    box_a: Tensor  # covered in a
    box_b: Tensor  # copied from b
    percent: Tensor  # (B, H, W) S: each pixel's share of the activation of the image's own class; NaN if there is none


@dataclass(frozen=True)
class SnapMix(SnapMixOptions, Mixer):
    """Resize a box of b into a box of a; labels are weighted by the class activation that remains of each image.

    Notes
    -----
    ``cam="train"`` (the default, as released) leaves every module in its mode, so that a BatchNorm that you have frozen
    stays frozen. SyncBatchNorm then synchronises in the pass of :meth:`draw`: all processes must mix the same steps, as
    the training of this project does.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import LocalGlobalNet, SnapMix
    >>> images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
    >>> model = LocalGlobalNet("resnet18_cifar", num_classes=4, local=False)
    >>> mixed = SnapMix(beta=1.0)(images, labels, generator=torch.Generator().manual_seed(0), model=model)
    >>> mixed.images.shape, mixed.weight_b.shape
    (torch.Size([4, 3, 32, 32]), torch.Size([4]))
    """

    by_area = False

    def draw(
        self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None
    ) -> SnapMixPlan:
        """Draw two boxes of independent sizes, and compute class activations with an attention pass."""
        size, device = batch.images.shape[-2:], batch.labels.device
        shares = [1 - draw_beta(self.beta, generator) for _ in range(2)]
        box_a, box_b = (to_device(draw_box(size, share, generator), device) for share in shares)
        features = last_map(model, batch.inputs(), in_eval=self.cam == "eval")
        weight = classifier_weight(model, features.shape[1])
        check_classes(batch.labels, len(weight))
        return SnapMixPlan(permutation, box_a, box_b, semantic_percent(features, weight, batch.labels, size))

    def mix(self, batch: Batch, plan: SnapMixPlan) -> Mixed:
        """Paste the resized boxes; if either box is empty, the batch does not change."""
        dtype = weight_dtype(batch.images)
        in_a, in_b = (inside(box, batch.images.shape[-2:]) for box in (plan.box_a, plan.box_b))
        both = in_a.any() & in_b.any()
        other = batch.images[plan.permutation]
        other = other if other.is_floating_point() else other.float()
        resized = resize_box(other, plan.box_b, plan.box_a)
        kept = ~(in_a & both)
        images = torch.where(kept, batch.images, like(resized, batch.images))  # memory format of the first
        area = in_a.to(dtype).mean()
        left = (1 - (plan.percent.to(dtype) * in_a).sum(dim=(1, 2))).clamp(0, 1)  # against rounding errors
        shown = (plan.percent.to(dtype) * in_b).sum(dim=(1, 2)).clamp(0, 1)[plan.permutation]
        weight_a = torch.where(both, torch.where(left.isnan(), 1 - area, left), 1)
        weight_b = torch.where(both, torch.where(shown.isnan(), area, shown), 0)
        return Mixed(images, batch.labels, batch.labels[plan.permutation], weight_a, weight_b)

    def loss(self, output: Output | Tensor, mixed: Mixed) -> dict[str, Tensor]:
        """Compute the cross-entropy against both labels, for the classifier and the mid-level branch, if any."""
        output = as_output(output)
        if self.mid and output.mid is None:
            raise ValueError("SnapMix(mid=True) needs the mid-level branch: LocalGlobalNet(..., mid=True)")
        terms = super().loss(output, mixed)
        return terms if output.mid is None else terms | {"mid": super().loss(Output(output.mid), mixed)["global"]}


def semantic_percent(features: Tensor, weight: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute each pixel's share of the activation of its image's class.

    Parameters
    ----------
    features : (B, C, h, w) tensor, the last feature map.
    weight : (N, C) tensor of the classifier.
    labels : (B,) int64 tensor.
    size : (H, W).

    Returns
    -------
    (B, H, W) tensor S that sums to 1 in each image: Σ_k W[y, k]·ReLU(F_k), resized bilinearly to (H, W), minus its
    minimum, divided by its sum. NaN in an image whose activation is constant up to rounding.
    """
    features = full_precision(features)  # half precision overflows in the sum over pixels
    with torch.autocast(features.device.type, enabled=False):
        own = torch.einsum("bc,bchw->bhw", weight.to(features)[labels], features.relu())
    own = F.interpolate(own[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    least, most = own.amin(dim=(1, 2), keepdim=True), own.amax(dim=(1, 2), keepdim=True)
    flat = is_flat(least, most)
    total = (own - least).sum(dim=(1, 2), keepdim=True)
    return torch.where(flat, torch.nan, (own - least) / torch.where(flat, 1, total))


def resize_box(images: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Resize a box of each image into another box, bilinearly with aligned corners.

    Parameters
    ----------
    images : (B, 3, H, W) floating tensor.
    source, target : (4,) int64 tensors: top, bottom, left, right; the ends are exclusive.

    Returns
    -------
    (B, 3, H, W) tensor; pixels outside the target box are undefined. Its shape does not depend on the boxes.
    """
    for axis, (first, last) in ((2, (0, 1)), (3, (2, 3))):
        low, high, part, parts = _neighbours(
            images.shape[axis], source[first], source[last], target[first], target[last]
        )
        share = (part.to(images.dtype) / parts).view(-1, *([1] * (3 - axis)))
        images = torch.lerp(images.index_select(axis, low), images.index_select(axis, high), share.expand_as(images))
    return images


def _neighbours(
    length: int, start: Tensor, end: Tensor, new_start: Tensor, new_end: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each position in the new span: the two old ones around it, and its distance from the first as part / parts.

    Integer arithmetic: a position on a pixel is exactly that pixel, so rounding never blends in a neighbour.
    """
    steps = (new_end - new_start - 1).clamp(min=1)
    position = (torch.arange(length, device=start.device) - new_start).clamp(min=0).minimum(steps)
    travelled = position * (end - start - 1).clamp(min=0)
    last = (end - 1).clamp(min=0)
    low = (start + travelled // steps).clamp(max=length - 1)
    return low.minimum(last), (low + 1).minimum(last), travelled % steps, steps
