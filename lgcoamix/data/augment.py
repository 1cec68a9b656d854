"""Augmentation with albumentations, after the crop: an image and its superpixel map pass through one pipeline."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lgcoamix.data.pipelines import build, canonical, read_pipeline, seed_pipeline
from lgcoamix.errors import RunError, SettingsError

if TYPE_CHECKING:
    from albumentations import Compose

_SIZE = 224  # side of the pictures that a pipeline is tried on, unless another is known


class Augment:
    """A pipeline of albumentations for crops and their superpixel maps.

    Parameters
    ----------
    pipeline : an ``albumentations.Compose``, or what ``albumentations.to_dict`` makes of it.
    size : side of the crops, in pixels; the pipeline is tried on one.

    Attributes
    ----------
    pipeline : the same as plain data, every parameter named: it is recorded, and can be built from again.

    Raises
    ------
    SettingsError : it cannot be used: an unknown transform, a wrong parameter, another size or type of the image.

    Notes
    -----
    What it does to a crop is a function of the seed alone. No global random state of Python, NumPy or torch is read or
    changed. It may be pickled and forked. One process must not call it from two threads at a time.

    Examples
    --------
    >>> import numpy as np
    >>> from lgcoamix import Augment
    >>> augment = Augment.named("strong")
    >>> image, ids = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    >>> image, ids = augment(image, ids, sentinel=255, seed=0)
    >>> image.shape, ids.dtype
    ((64, 64, 3), dtype('uint8'))
    """

    def __init__(self, pipeline: "Compose | Mapping[str, Any]", size: int = _SIZE) -> None:
        self.pipeline = canonical(pipeline, size)
        self._built: dict[int, Compose] = {}

    @classmethod
    def named(cls, name: str | Path, size: int = _SIZE) -> "Augment":
        """Read ``light``, ``strong``, or a YAML file that ``albumentations.save`` wrote.

        Raises
        ------
        SettingsError : no such file, or it cannot be used.
        """
        document = read_pipeline(name)
        try:
            return cls(document, size)
        except SettingsError as error:
            raise SettingsError(f"--augment {name}: {error}") from None

    def __call__(
        self, image: np.ndarray, ids: np.ndarray | None, sentinel: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Augment one crop.

        Parameters
        ----------
        image : (H, W, 3) uint8 array.
        ids : (H, W) uint8 or uint16 array, or None.
        sentinel : id of pixels that come from outside the crop.
        seed : in [0, 2**63).

        Returns
        -------
        Image and ids of the same shapes and types. Ids move with their pixels, to the nearest one, and never blend;
        what is drawn over the image (erased, rain) keeps them.

        Raises
        ------
        RunError : the pipeline fails on this image.
        """
        if sentinel not in self._built:
            self._built[sentinel] = build(self.pipeline, sentinel)
        pipeline = self._built[sentinel]
        seed_pipeline(pipeline, seed)
        try:
            shown = pipeline(image=image, **({} if ids is None else {"mask": ids}))
        except Exception as error:  # the library raises whatever its parts do
            H, W = image.shape[:2]
            raise RunError(f"the pipeline of --augment fails on a {W}x{H} image: {error}") from error
        return np.ascontiguousarray(shown["image"]), None if ids is None else np.ascontiguousarray(shown["mask"])

    def batch(
        self, images: Sequence[np.ndarray], ids: Sequence[np.ndarray] | None, sentinel: int, seeds: Sequence[int]
    ) -> tuple[np.ndarray, list[np.ndarray] | None]:
        """Augment B crops of one size: (B, H, W, 3) uint8 array, and (H, W) ids or None."""
        maps = [None] * len(images) if ids is None else ids
        shown = [self(image, own, sentinel, int(seed)) for image, own, seed in zip(images, maps, seeds, strict=True)]
        return np.stack([image for image, _ in shown]), None if ids is None else [own for _, own in shown]

    def __getstate__(self) -> dict[str, Any]:
        return {"pipeline": self.pipeline, "_built": {}}


def as_augment(value: "Augment | Compose | Mapping[str, Any] | str | Path | None", size: int = _SIZE) -> Augment | None:
    """Build what an option names: a pipeline, its document, a name or a file; None stays None."""
    if value is None or isinstance(value, Augment):
        return value
    return Augment.named(value, size) if isinstance(value, str | Path) else Augment(value, size)
