"""LGCOAMix and the methods it is compared with: mixing, models, losses, and a trainer over the superpixel store.

The names below are the public face; each is imported when it is first used. Where they live may change.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "lgcoamix.data": (
        *("Augment", "EpochBatches", "LiveDataset", "ResidentDataset", "SuperpixelDataset", "View"),
        *("hold_out", "make_loader"),
    ),
    "lgcoamix.mixing": (
        *("MIXERS", "AttentiveCutMix", "Batch", "CutMix", "Cutout", "LGCOAMix", "Mixer", "Mixup", "OcCaMix"),
        *("SnapMix", "SuperpixelGrid", "make_mixer"),
    ),
    "lgcoamix.models": ("Decoder", "LocalGlobalNet"),
    "lgcoamix.ops.losses": ("local_contrast", "local_cross_entropy", "mixed_cross_entropy"),
    "lgcoamix.ops.pooling": ("pool_superpixels", "region_areas"),
    "lgcoamix.recipes": ("RECIPES",),
    "lgcoamix.settings.sections": ("DataSettings", "Settings"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError:
        import lgcoamix.beside.checked  # noqa: F401 - before preprocess
        from preprocess.extras import required

        with required(f"{__name__}.{name}"):
            raise
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
