"""The mixing methods: ``make_mixer(name, **options)``. One method, one file; lgcoamix/README.md describes each.

Needs only torch and numpy.
"""

from dataclasses import fields

from lgcoamix.mixing.attentive_cutmix import AttentiveCutMix
from lgcoamix.mixing.base import Mixed, Mixer, Plan, unmixed
from lgcoamix.mixing.cutmix import CutMix
from lgcoamix.mixing.cutout import Cutout
from lgcoamix.mixing.lgcoamix import LGCOAMix
from lgcoamix.mixing.mixup import Mixup
from lgcoamix.mixing.occamix import OcCaMix
from lgcoamix.mixing.plain import Plain
from lgcoamix.mixing.snapmix import SnapMix
from lgcoamix.mixing.superpixel_grid import SuperpixelGrid
from lgcoamix.ops.batch import Batch
from lgcoamix.settings.text import suggest

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


def make_mixer(name: str, **options: object) -> Mixer:
    """Build a mixer by the name of its method.

    Parameters
    ----------
    name : in ``MIXERS``.
    options : fields of the method's options, see ``lgcoamix/settings/mixers.py``; others keep their defaults.

    Raises
    ------
    ValueError : unknown method or option, or an invalid value.

    Examples
    --------
    >>> from lgcoamix import make_mixer
    >>> make_mixer("cutmix", alpha=0.5)
    CutMix(alpha=0.5, mix_prob=1.0, correct_lam=True)
    >>> make_mixer("cutmix", alhpa=0.5)
    Traceback (most recent call last):
    ValueError: cutmix has no option 'alhpa'; did you mean alpha?
    """
    if name not in MIXERS:
        raise ValueError(f"no mixer {name!r}; {suggest(name, MIXERS)}")
    known = [field.name for field in fields(MIXERS[name])]
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; {suggest(option, known)}")
    return MIXERS[name](**options)


__all__ = [
    "MIXERS", "AttentiveCutMix", "Batch", "CutMix", "Cutout", "LGCOAMix", "Mixed", "Mixer", "Mixup", "OcCaMix", "Plain",
    "Plan", "SnapMix", "SuperpixelGrid", "make_mixer", "unmixed",
]  # fmt: skip
