"""The settings that decide the content of a store: images, scales, map columns."""

from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np

from preprocess.errors import BuildError
from preprocess.store.shard import Form
from preprocess.superpixels import ALGORITHMS
from preprocess.superpixels.scales import Scale, column_name, superpixels_name


@dataclass(frozen=True)
class MapColumn:
    """Everything that decides the maps of one column, apart from the stored pixels."""

    algorithm: str  # name in ``ALGORITHMS``
    compactness: float | None  # as for :func:`preprocess.superpixels.slic`; None for an algorithm without one
    segments: int  # requested segment count
    dtype: str  # dtype of the ids; its highest value is the sentinel and never an id

    @property
    def name(self) -> str:
        """For example ``slic-c10-36``."""
        return column_name(self.algorithm, self.compactness, self.segments)

    def recipe(self) -> dict:
        """Return what identical maps share, including the scikit-image version, which may change labels."""
        return {
            "algorithm": self.algorithm,
            "compactness": self.compactness,
            "segments": self.segments,
            "scikit-image": version("scikit-image"),
        }


@dataclass(frozen=True)
class BuildSettings:
    """Content and encoding of a store."""

    dataset: str  # name of the adapter
    scales: tuple[Scale, ...]  # segment counts and draw weights
    size: int | None = 256  # side of the stored square, or its short side, in pixels; None if images keep their sizes
    resize: str = "squash"  # ``squash``, ``short`` or ``none`` (:func:`preprocess.images.fit`)
    algorithm: str = "slic"  # name in ``ALGORITHMS``
    compactness: float | None = 10.0
    codec: str = "raw"  # ``raw`` pixels, ``jpeg`` or ``png``; images of varied sizes cannot be raw
    quality: int = 95  # JPEG quality, 1 to 100
    banner: int = 0  # number of pixel rows cropped from the bottom of every source image
    shard_size: int | None = None  # samples in a shard; None chooses one for each split
    asked: str = ""  # short form of the counts, for the name of these superpixels; empty to list them

    @property
    def uniform(self) -> bool:
        """Whether all images have the same size."""
        return self.resize == "squash"

    @property
    def columns(self) -> tuple[MapColumn, ...]:
        """One map column for each scale."""
        return tuple(
            MapColumn(self.algorithm, self.compactness, scale.segments, self._dtype(scale)) for scale in self.scales
        )

    def _dtype(self, scale: Scale) -> str:
        """Return the dtype of all maps of one scale, before any is computed."""
        if not self.uniform:
            return "uint16"
        bound = ALGORITHMS[self.algorithm].largest_id((self.size, self.size), scale.segments)
        if bound >= np.iinfo(np.uint16).max:
            raise BuildError(
                f"{scale.segments} segments may have ids up to {bound}, more than 16 bits hold; request fewer"
            )
        return "uint8" if bound < np.iinfo(np.uint8).max else "uint16"

    def form(self, column: MapColumn | None = None) -> Form:
        """Return the form of a shard of images, or of the maps of a column."""
        size = self.size if self.uniform else None
        return Form(self.codec, size) if column is None else Form(None, size, column.dtype)

    def image_recipe(self) -> dict:
        """Return everything that decides the stored pixels, apart from the source files."""
        jpeg = {"quality": self.quality} if self.codec == "jpeg" else {}
        banner = {"banner": self.banner} if self.banner else {}
        return {
            "size": self.size,
            "resize": self.resize,
            "codec": self.codec,
            **jpeg,
            **banner,
            "pillow": version("pillow"),
        }

    def superpixel_set(self) -> dict:
        """Return one set of scales for training to draw from, as the index lists it."""
        name = superpixels_name(self.algorithm, self.compactness)
        return {
            "name": f"{name}-{self.asked or ','.join(str(scale.segments) for scale in self.scales)}",
            "algorithm": self.algorithm,
            "compactness": self.compactness,
            "scales": [
                {**asdict(scale), "column": column.name}
                for scale, column in zip(self.scales, self.columns, strict=True)
            ],
        }
