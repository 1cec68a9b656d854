"""The mixing methods: ``MIXERS[name](**options)``. One method, one file; lgcoamix/README.md has their cards.

Needs torch alone.
"""

from lgcoamix.mixing.base import Batch, Mixed, Mixer, Plan, unmixed
from lgcoamix.mixing.cutmix import CutMix
from lgcoamix.mixing.lgcoamix import LGCOAMix
from lgcoamix.mixing.mixup import Mixup
from lgcoamix.mixing.plain import Plain

MIXERS: dict[str, type[Mixer]] = {"none": Plain, "mixup": Mixup, "cutmix": CutMix, "lgcoamix": LGCOAMix}

__all__ = ["MIXERS", "Batch", "CutMix", "LGCOAMix", "Mixed", "Mixer", "Mixup", "Plain", "Plan", "unmixed"]
