"""The options of every mixing method, without torch: the command line checks them before it imports torch.

Each method in ``lgcoamix/mixing/`` inherits its options from here, so ``CutMix(alpha=0.5)`` is a mixer.
"""

from dataclasses import dataclass
from typing import ClassVar

from lgcoamix.settings.checks import LARGEST_SIDE, Checked, number, timm_name, word


class MixerOptions(Checked):
    """Base of all options: what a method needs besides images and labels.

    Attributes
    ----------
    needs_maps : superpixel maps.
    needs_model : a forward pass of the network in training, to choose what is mixed.
    needs_local, needs_mid : the network's local branch, or its mid-level branch. The losses of the former need class
        numbers.
    needs_class_numbers : one class per image, to choose or weight what is mixed; soft labels will not do.
    """

    needs_maps: ClassVar[bool] = False
    needs_model: ClassVar[bool] = False
    needs_local: ClassVar[bool] = False
    needs_mid: ClassVar[bool] = False
    needs_class_numbers: ClassVar[bool] = False


@dataclass(frozen=True)
class PlainOptions(MixerOptions):
    """No mixing, and no options."""


@dataclass(frozen=True)
class CutoutOptions(MixerOptions):
    """Options of Cutout.

    Parameters
    ----------
    area : share of the image that the box covers before clipping at the border; larger: more is blanked.
    mix_prob : share of batches in which boxes are blanked.
    """

    area: float = number(0.25, 0, 1)
    mix_prob: float = number(1.0, 0, 1)


@dataclass(frozen=True)
class MixupOptions(MixerOptions):
    """Options of Mixup.

    Parameters
    ----------
    alpha : of Beta(alpha, alpha); larger: more even blends.
    mix_prob : share of batches that are mixed.
    """

    alpha: float = number(1.0, 1e-3, 1e3)
    mix_prob: float = number(1.0, 0, 1)


@dataclass(frozen=True)
class CutMixOptions(MixerOptions):
    """Options of CutMix.

    Parameters
    ----------
    alpha : of Beta(alpha, alpha), from which the kept share is drawn; larger: more boxes of half the area.
    mix_prob : share of batches that are mixed.
    correct_lam : weight labels by the area of the clipped box; False: by the drawn share.
    """

    alpha: float = number(1.0, 1e-3, 1e3)
    mix_prob: float = number(1.0, 0, 1)
    correct_lam: bool = True


@dataclass(frozen=True)
class AttentiveCutMixOptions(MixerOptions):
    """Options of Attentive CutMix.

    Parameters
    ----------
    mix_prob : share of batches that are mixed.
    top_cells : N, number of cells of the 7x7 grid that are pasted; larger: more of the pasted image.
    draw_cells : 0 pastes ``top_cells`` cells. Above 0, each batch draws N = 49·Beta(draw_cells, draw_cells), rounded
        down but at least 1 (OpenMixup's AttentiveMix+ uses 8); larger: closer to half of the image.
    extractor : timm model that scores the cells; it is not trained.
    extractor_weights : ``pretrained`` (timm's default, from the hub), the tag of others there, or a checkpoint file.
    extractor_size : side to which images are resized for the extractor, in pixels.
    extractor_normalise : ``backbone`` normalises its inputs as in its training; ``none`` leaves them in [0, 1].
    """

    mix_prob: float = number(1.0, 0, 1)
    top_cells: int = number(6, 1, 49)
    draw_cells: float = number(0.0, 0, 1e3)
    extractor: str = timm_name("resnet50")
    extractor_weights: str = "pretrained"
    extractor_size: int = number(224, 1, LARGEST_SIDE)
    extractor_normalise: str = word("backbone", "backbone", "none")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extractor_weights == "none":
            raise ValueError(
                "extractor_weights must be pretrained, a tag of timm or a checkpoint file: an untrained extractor "
                "gives no useful attention"
            )


@dataclass(frozen=True)
class SnapMixOptions(MixerOptions):
    """Options of SnapMix.

    Parameters
    ----------
    beta : of Beta(beta, beta), from which the kept share of each box is drawn; larger: more boxes of half the area.
    mix_prob : share of batches that are mixed.
    mid : train a second classifier on the feature map before the last stage, and add its logits at test time.
    cam : how the network computes class activations: ``train``, in the mode in which it is trained, as the released
        code, on which the published figures rest: BatchNorm uses the statistics of the unmixed batch, and its running
        statistics take part of them. ``eval``: on the running statistics, which stay as they are.
    """

    needs_model: ClassVar[bool] = True
    needs_class_numbers: ClassVar[bool] = True

    beta: float = number(5.0, 1e-3, 1e3)
    mix_prob: float = number(1.0, 0, 1)
    mid: bool = False
    cam: str = word("train", "train", "eval")

    @property
    def needs_mid(self) -> bool:  # type: ignore[override]
        """Whether the network has the mid-level branch."""
        return self.mid


@dataclass(frozen=True)
class SuperpixelGridOptions(MixerOptions):
    """Options of SuperpixelGridMix.

    Parameters
    ----------
    mix_prob : share of batches that are mixed.
    select_prob : probability that each superpixel of the other image is pasted; larger: more of that image.
    """

    needs_maps: ClassVar[bool] = True

    mix_prob: float = number(0.5, 0, 1)
    select_prob: float = number(0.5, 0, 1)


@dataclass(frozen=True)
class OcCaMixOptions(MixerOptions):
    """Options of OcCaMix.

    Parameters
    ----------
    mix_prob : share of batches that are mixed.
    top_cells : number of attentive cells whose superpixels are pasted, at most all; larger: more of the other image.
    """

    needs_maps: ClassVar[bool] = True
    needs_model: ClassVar[bool] = True

    mix_prob: float = number(0.5, 0, 1)
    top_cells: int = number(6, 1, 10_000)


@dataclass(frozen=True)
class LGCOAMixOptions(MixerOptions):
    """Options of LGCOAMix.

    Parameters
    ----------
    mix_prob : share of batches that are mixed; an unmixed batch uses plain cross-entropy.
    select_prob : probability that each superpixel of the other image is pasted; larger: more of that image.
    top_ratio : share of the present regions, by score, that enter the local losses.
    lam : weight of the pasted label: ``attention``, ``area``, or ``mean`` of both.
    score : ``sum`` over channels after LayerNorm (released code), or ``pre_norm``, before it.
    gamma_ce, gamma_con : weights of the local classification and local contrast terms.
    temperature, base_temperature : of the contrast term.
    contrast_on : contrast the local ``logits`` (released code), or the ``embedding`` before them.
    exclude_self : do not count an anchor among its own positives.
    """

    needs_maps: ClassVar[bool] = True
    needs_local: ClassVar[bool] = True

    mix_prob: float = number(0.5, 0, 1)
    select_prob: float = number(0.5, 0, 1)
    top_ratio: float = number(0.7, 0, 1)
    lam: str = word("attention", "attention", "area", "mean")
    score: str = word("sum", "sum", "pre_norm")
    gamma_ce: float = number(0.05, 0, 1e3)
    gamma_con: float = number(0.05, 0, 1e3)
    temperature: float = number(0.7, 1e-2, 1e3)
    base_temperature: float = number(0.07, 1e-2, 1e3)
    contrast_on: str = word("logits", "logits", "embedding")
    exclude_self: bool = False


METHOD_OPTIONS = {
    "none": PlainOptions,
    "cutout": CutoutOptions,
    "mixup": MixupOptions,
    "cutmix": CutMixOptions,
    "attentive_cutmix": AttentiveCutMixOptions,
    "snapmix": SnapMixOptions,
    "superpixel_grid": SuperpixelGridOptions,
    "occamix": OcCaMixOptions,
    "lgcoamix": LGCOAMixOptions,
}
