"""LGCOAMix (Dornaika & Sun, IEEE TIP 2024, arXiv 2512.00130): paste superpixels, weight labels by attention."""

from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from lgcoamix.mixing.base import Mixed
from lgcoamix.mixing.superpixels import SuperpixelMixer, SuperpixelPlan, paste_superpixels
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.losses import local_contrast, local_cross_entropy, mixed_cross_entropy
from lgcoamix.ops.output import LocalOutput, Output, as_output
from lgcoamix.settings.mixers import LGCOAMixOptions


@dataclass(frozen=True)
class LGCOAMix(LGCOAMixOptions, SuperpixelMixer):
    """Superpixel mixing with local classification, local contrast and attention-weighted labels.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import LGCOAMix, LocalGlobalNet
    >>> images, labels = torch.rand(4, 3, 32, 32), torch.arange(4)
    >>> maps = (torch.arange(32) // 8).expand(4, 32, 32)  # stripes instead of superpixels
    >>> mixer = LGCOAMix(mix_prob=1.0)
    >>> mixed = mixer(images, labels, maps, generator=torch.Generator().manual_seed(0))
    >>> output = LocalGlobalNet("resnet18_cifar", num_classes=4)(mixed.images, mixed.regions, mixed.count)
    >>> sorted(mixer.loss(output, mixed))
    ['contrast', 'global', 'local']
    """

    def mix(self, batch: Batch, plan: SuperpixelPlan) -> Mixed:
        """Paste the selected superpixels and merge both maps; K_half is added to the ids of b."""
        mixed, regions = paste_superpixels(batch, plan)
        return replace(mixed, regions=regions, count=2 * batch.count)

    def loss(self, output: Output | Tensor, mixed: Mixed) -> dict[str, Tensor]:
        """Compute the global cross-entropy with weight λ, and the local terms over the top regions.

        Raises
        ------
        ValueError : the images were mixed, and the network was not given their regions and count.
        """
        output = as_output(output)
        if mixed.regions is not None and (output.local is None or output.local.areas.shape[1] != mixed.count):
            found = "no regions" if output.local is None else f"{output.local.areas.shape[1]} regions"
            raise ValueError(
                f"LGCOAMix needs the network's output for {mixed.count} regions, got that for {found}; call "
                "model(mixed.images, mixed.regions, mixed.count) of a LocalGlobalNet"
            )
        lam = self.pasted_weight(output, mixed)
        classify = mixed_cross_entropy(output.logits, mixed.labels_a, mixed.labels_b, 1 - lam, lam)
        if output.local is None:
            return {"global": classify}
        self.require_class_numbers(mixed.labels_a)
        local = output.local
        index, kept = top_regions(self.scores(local), local.areas, self.top_ratio)
        logits = _rows(local.logits, index)
        contrasted = logits if self.contrast_on == "logits" else _rows(local.embeddings, index)
        labels = torch.where(index < mixed.count // 2, mixed.labels_a[:, None], mixed.labels_b[:, None])
        rows = (contrasted.flatten(0, 1), labels.flatten(), kept.flatten())
        contrast = local_contrast(*rows, self.temperature, self.base_temperature, self.exclude_self)
        return {
            "global": classify,
            "local": self.gamma_ce * local_cross_entropy(logits, labels, kept),
            "contrast": self.gamma_con * contrast,
        }

    def monitors(self, output: Output, mixed: Mixed) -> dict[str, Tensor]:
        """Compute λ by area and by attention, their mean absolute difference, and the spread of the scores s."""
        if output.local is None:
            return super().monitors(output, mixed)
        attention = self.attention(output.local, mixed)
        present = output.local.areas > 0
        weights = torch.sigmoid(self.scores(output.local).detach())
        mean = torch.where(present, weights, 0).sum() / present.sum().clamp(min=1)
        variance = torch.where(present, (weights - mean) ** 2, 0).sum() / present.sum().clamp(min=1)
        return {
            "lam_area": mixed.lam.mean(),
            "lam_attention": attention.mean(),
            "lam_difference": (attention - mixed.lam).abs().mean(),
            "score_std": variance.sqrt(),
        }

    def pasted_weight(self, output: Output, mixed: Mixed) -> Tensor:
        """Return λ, the weight of the pasted label: (B,) tensor without gradient."""
        if output.local is None or self.lam == "area":
            return mixed.lam
        attention = self.attention(output.local, mixed)
        return attention if self.lam == "attention" else (mixed.lam.to(attention) + attention) / 2

    def attention(self, local: LocalOutput, mixed: Mixed) -> Tensor:
        """Compute λ by attention: (B,) tensor without gradient."""
        return attention_weight(self.scores(local), local.areas, mixed.lam)

    def scores(self, local: LocalOutput) -> Tensor:
        """Compute the scores t of the regions, whose sigmoid is s: (B, K) tensor."""
        return (local.embeddings if self.score == "sum" else local.pre_norm).sum(dim=2)


def attention_weight(scores: Tensor, areas: Tensor, area_weight: Tensor) -> Tensor:
    """Compute λ by attention.

    Parameters
    ----------
    scores : (B, 2·K_half) floating tensor t; the second half of the columns belongs to b.
    areas : (B, 2·K_half) tensor of pixel counts, 0 where a region is absent.
    area_weight : (B,) tensor: λ by area, used if every sigmoid(t) is 0 or no region is present.

    Returns
    -------
    (B,) tensor without gradient: Σ_{j from b} s_j A_j / Σ_j s_j A_j with s = sigmoid(t).
    """
    mass = torch.sigmoid(scores.detach()) * areas
    total = mass.sum(dim=1)
    pasted = mass[:, mass.shape[1] // 2 :].sum(dim=1)
    return torch.where(total > 0, pasted / torch.where(total > 0, total, 1), area_weight.to(mass))


def top_regions(scores: Tensor, areas: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Choose the regions with the largest scores.

    Parameters
    ----------
    scores : (B, K) floating tensor.
    areas : (B, K) tensor of pixel counts, 0 where a region is absent.
    ratio : share of the present regions to keep.

    Returns
    -------
    index : (B, k) int64 tensor of region ids, by falling score, ties by rising id; k = max(1, floor(ratio·K)) static.
    kept : (B, k) bool tensor: image i keeps its first max(1, floor(ratio·n_i)) of n_i present regions, if any.
    """
    # Exact: in floating point 0.7·90 is 62.99... Bounded: the products must fit into int64.
    share = Fraction(str(ratio)).limit_denominator(10**9)
    present = areas > 0
    order = scores.detach().masked_fill(~present, -torch.inf).sort(dim=1, descending=True, stable=True).indices
    most = max(1, scores.shape[1] * share.numerator // share.denominator)
    index = order[:, :most]
    keep = (present.sum(dim=1) * share.numerator // share.denominator).clamp(min=1)
    kept = torch.arange(most, device=scores.device) < keep[:, None]
    return index, kept & present.gather(1, index)


def _rows(values: Tensor, index: Tensor) -> Tensor:
    """Gather rows: (B, K, D) by (B, k) -> (B, k, D)."""
    return values.gather(1, index[:, :, None].expand(-1, -1, values.shape[2]))
