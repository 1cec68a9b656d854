"""The offline stage: raw images in, multi-scale superpixel maps and images in HDF5 shards out.

The names below are the public face; each is imported when it is first used. Where they live may change. Nothing below
this package imports torch, timm or lgcoamix.
"""

from importlib import import_module

_HOMES = {
    "preprocess.build.python": ("build_store",),
    "preprocess.datasets": ("DATASETS",),
    "preprocess.store": ("Store",),
    "preprocess.superpixels": (
        *("ALGORITHMS", "Algorithm", "Scale", "adjusted_rand_index", "choose_scales", "felzenszwalb", "grid"),
        *("slic", "slic_multiscale", "slico", "watershed"),
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from preprocess.extras import required

    with required(f"{__name__}.{name}"):
        value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
