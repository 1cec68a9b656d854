"""What decides the content of a store: images, scales, columns of maps."""

from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np

from preprocess.errors import BuildError
from preprocess.superpixels import ALGORITHMS
from preprocess.superpixels.scales import Scale


@dataclass(frozen=True)
class MapColumn:
    """All that decides the maps of one column, besides the stored pixels.

    Parameters
    ----------
    algorithm : name in ``ALGORITHMS``.
    compactness : as for :func:`preprocess.superpixels.slic`; None for an algorithm that has none.
    segments : the count asked for.
    dtype : of the ids; its highest value is the sentinel and never an id.
    """

    algorithm: str
    compactness: float | None
    segments: int
    dtype: str

    @property
    def name(self) -> str:
        """For example ``slic-c10-36``."""
        return f"{superpixels_name(self.algorithm, self.compactness)}-{self.segments}"

    def recipe(self) -> dict:
        """What equal maps share; the library's version belongs to it, as it may change labels."""
        return {
            "algorithm": self.algorithm,
            "compactness": self.compactness,
            "segments": self.segments,
            "scikit-image": version("scikit-image"),
        }


@dataclass(frozen=True)
class BuildSettings:
    """What decides the content of a store, and how it is encoded.

    Parameters
    ----------
    dataset : name of the adapter.
    scales : segment counts and draw weights.
    size : side of the stored square, or the short side, in pixels; None where images keep their sizes.
    resize : how images come to that size: ``squash``, ``short`` or ``none`` (:func:`preprocess.images.fit`).
    algorithm, compactness : of the superpixels.
    codec : ``raw`` pixels, ``jpeg`` or ``png``; images of varied sizes cannot be raw.
    quality : JPEG quality, 1 to 100.
    banner : rows of pixels that are cut off at the bottom of every source image.
    shard_size : samples in a shard; None chooses for each split.
    asked : the counts in short, for the name of these superpixels; empty for the counts themselves.
    """

    dataset: str
    scales: tuple[Scale, ...]
    size: int | None = 256
    resize: str = "squash"
    algorithm: str = "slic"
    compactness: float | None = 10.0
    codec: str = "raw"
    quality: int = 95
    banner: int = 0
    shard_size: int | None = None
    asked: str = ""

    @property
    def uniform(self) -> bool:
        """Whether all images have one size."""
        return self.resize == "squash"

    @property
    def columns(self) -> tuple[MapColumn, ...]:
        """One column of maps for each scale."""
        return tuple(
            MapColumn(self.algorithm, self.compactness, scale.segments, self._dtype(scale)) for scale in self.scales
        )

    def _dtype(self, scale: Scale) -> str:
        """Dtype of all maps of one scale, known before the first of them."""
        if not self.uniform:
            return "uint16"
        bound = ALGORITHMS[self.algorithm].largest_id((self.size, self.size), scale.segments)
        if bound >= np.iinfo(np.uint16).max:
            raise BuildError(
                f"{scale.segments} segments may give ids up to {bound}, more than 16 bits hold; ask for fewer"
            )
        return "uint8" if bound < np.iinfo(np.uint8).max else "uint16"

    def image_recipe(self) -> dict:
        """All that decides the stored pixels, besides the source files."""
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
        """The scales that training draws from together, as the index lists them."""
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


def superpixels_name(algorithm: str, compactness: float | None) -> str:
    """For example ``slic-c10``."""
    if compactness is None:
        return algorithm
    return f"{algorithm}-c{int(compactness) if compactness == int(compactness) else compactness}"
