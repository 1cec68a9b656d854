"""SnapMix (Huang et al., AAAI 2021, arXiv 2012.04846): paste a box, weigh the labels by what is seen."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcoamix.mixing.base import Mixed, Mixer, Plan, draw_beta, like, weight_dtype
from lgcoamix.mixing.boxes import draw_box, inside
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.class_activation import classifier_weight, last_map
from lgcoamix.ops.device import to_device
from lgcoamix.ops.losses import full_precision
from lgcoamix.ops.output import Output
from lgcoamix.settings.mixers import SnapMixOptions

_ROUNDING = 1e-5  # of the largest activation: less than that between the least and the most is no difference


@dataclass(frozen=True)
class SnapMixPlan(Plan):
    """Two boxes for the whole batch, and what the network sees where.

    Parameters
    ----------
    box_a, box_b : (4,) int64 tensors: top, bottom, left, right of what is covered in a, and of what is taken from b;
        the ends are exclusive, clipped to the image.
    percent : (B, H, W) tensor S: the share of an image's own class activation that lies in each pixel; NaN where there
        is none at all.
    """

    box_a: Tensor
    box_b: Tensor
    percent: Tensor


@dataclass(frozen=True)
class SnapMix(SnapMixOptions, Mixer):
    """Resize a box of b into a box of a; each label weighs what is left or shown of its image's activation."""

    def draw(
        self, batch: Batch, permutation: Tensor, generator: torch.Generator, model: nn.Module | None
    ) -> SnapMixPlan:
        """Draw two boxes of independent sizes, and look at every image with the network."""
        size, device = batch.images.shape[-2:], batch.labels.device
        shares = [1 - draw_beta(self.beta, generator) for _ in range(2)]
        boxes = [to_device(draw_box(size, share, generator), device) for share in shares]
        features = last_map(model, batch.inputs())
        weight = classifier_weight(model, features.shape[1])
        return SnapMixPlan(permutation, *boxes, semantic_percent(features, weight, batch.labels, size))

    def mix(self, batch: Batch, plan: SnapMixPlan) -> Mixed:
        """Paste; where one of the boxes is empty the batch stays as it is."""
        dtype = weight_dtype(batch.images)
        in_a, in_b = (inside(box, batch.images.shape[-2:]) for box in (plan.box_a, plan.box_b))
        both = in_a.any() & in_b.any()
        other = batch.images[plan.permutation]
        other = other if other.is_floating_point() else other.float()
        resized = resize_box(other, plan.box_b, plan.box_a)
        kept = ~(in_a & both)
        images = torch.where(kept, batch.images, like(resized, batch.images))  # the first one gives the memory order
        area = in_a.to(dtype).mean()
        left = (1 - (plan.percent.to(dtype) * in_a).sum(dim=(1, 2))).clamp(0, 1)  # rounding must not leave [0, 1]
        shown = (plan.percent.to(dtype) * in_b).sum(dim=(1, 2)).clamp(0, 1)[plan.permutation]
        weight_a = torch.where(both, torch.where(left.isnan(), 1 - area, left), 1)
        weight_b = torch.where(both, torch.where(shown.isnan(), area, shown), 0)
        return Mixed(images, batch.labels, batch.labels[plan.permutation], weight_a, weight_b)

    def loss(self, output: Output, mixed: Mixed) -> dict[str, Tensor]:
        """Cross-entropy against both labels, of the classifier and, where there is one, of the mid-level branch."""
        if self.mid and output.mid is None:
            raise ValueError("SnapMix(mid=True) needs a network with the branch: LocalGlobalNet(..., mid=True)")
        terms = super().loss(output, mixed)
        return terms if output.mid is None else terms | {"mid": super().loss(Output(output.mid), mixed)["global"]}


def semantic_percent(features: Tensor, weight: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Spread each image's activation of its own class over its pixels.

    Parameters
    ----------
    features : (B, C, h, w) tensor, the last map.
    weight : (N, C) tensor of the classifier.
    labels : (B,) int64 tensor.
    size : (H, W).

    Returns
    -------
    (B, H, W) tensor S that sums to 1 in each image: Σ_k W[y, k]·ReLU(F_k), bilinear to (H, W), minus its least, divided
    by its sum. NaN in an image whose activation is the same everywhere, but for rounding.
    """
    features = full_precision(features)  # half precision overflows in the sum over pixels
    own = torch.einsum("bc,bchw->bhw", weight.to(features)[labels], features.relu())
    own = F.interpolate(own[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    least, most = own.amin(dim=(1, 2), keepdim=True), own.amax(dim=(1, 2), keepdim=True)
    flat = most - least <= _ROUNDING * torch.maximum(most.abs(), least.abs())
    total = (own - least).sum(dim=(1, 2), keepdim=True)
    return torch.where(flat, torch.nan, (own - least) / torch.where(flat, 1, total))


def resize_box(images: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Resize a box of each image into another box, bilinear, corners on corners; no shape depends on the boxes.

    Parameters
    ----------
    images : (B, 3, H, W) floating tensor.
    source, target : (4,) int64 tensors: top, bottom, left, right; the ends are exclusive.

    Returns
    -------
    (B, 3, H, W) tensor; what lies outside of the target box means nothing.
    """
    for axis, (first, last) in ((2, (0, 1)), (3, (2, 3))):
        low, high, share = _places(images.shape[axis], source[first], source[last], target[first], target[last])
        share = share.to(images.dtype).view(-1, *([1] * (3 - axis)))
        images = torch.lerp(images.index_select(axis, low), images.index_select(axis, high), share.expand_as(images))
    return images


def _places(
    length: int, start: Tensor, end: Tensor, new_start: Tensor, new_end: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """For each place of the new span the two old places that it lies between, and how far it is from the first.

    In whole numbers: a place on a pixel is that pixel, and rounding never mixes a neighbour in.
    """
    steps = (new_end - new_start - 1).clamp(min=1)
    place = (torch.arange(length, device=start.device) - new_start).clamp(min=0).minimum(steps)
    way = place * (end - start - 1).clamp(min=0)
    last = (end - 1).clamp(min=0)
    low = (start + way // steps).clamp(max=length - 1)
    return low.minimum(last), (low + 1).minimum(last), (way % steps) / steps
