"""The mixing methods: ``MIXERS[name](**options)``. One method, one file; lgcoamix/README.md has their cards.

Needs torch alone.
"""

from lgcoamix.mixing.attentive_cutmix import AttentiveCutMix
from lgcoamix.mixing.base import Batch, Mixed, Mixer, Plan, unmixed
from lgcoamix.mixing.cutmix import CutMix
from lgcoamix.mixing.cutout import Cutout
from lgcoamix.mixing.lgcoamix import LGCOAMix
from lgcoamix.mixing.mixup import Mixup
from lgcoamix.mixing.occamix import OcCaMix
from lgcoamix.mixing.plain import Plain
from lgcoamix.mixing.snapmix import SnapMix
from lgcoamix.mixing.superpixel_grid import SuperpixelGrid

MIXERS: dict[str, type[Mixer]] = {
    "none": Plain,
    "cutout": Cutout,
    "mixup": Mixup,
    "cutmix": CutMix,
    "attentive_cutmix": AttentiveCutMix,
    "snapmix": SnapMix,
    "superpixel_grid": SuperpixelGrid,
    "occamix": OcCaMix,
    "lgcoamix": LGCOAMix,
}

__all__ = [
    "MIXERS", "AttentiveCutMix", "Batch", "CutMix", "Cutout", "LGCOAMix", "Mixed", "Mixer", "Mixup", "OcCaMix", "Plain",
    "Plan", "SnapMix", "SuperpixelGrid", "unmixed",
]  # fmt: skip
