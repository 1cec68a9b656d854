"""Image and superpixel map through the same window: albumentations, wrapped thinly."""

import os
import random

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version

import albumentations as A
import cv2
import numpy as np

from lgcoamix.config import DataSettings

# Images: bilinear, but averaged where they shrink, as cv2's bilinear would alias.
# Maps: nearest, never bilinear: between ids 3 and 9 lies an unrelated superpixel 6. The exact variant takes the same
# pixel centres as the image does.
_RESAMPLING = {
    "interpolation": cv2.INTER_LINEAR,
    "mask_interpolation": cv2.INTER_NEAREST_EXACT,
    "area_for_downscale": "image",
}


class JointTransform:
    """A pipeline whose draws are a function of a seed, not of any global or worker state.

    Parameters
    ----------
    steps : albumentations transforms.
    """

    def __init__(self, steps: list[A.BasicTransform]) -> None:
        self.pipeline = A.Compose(steps)

    def __call__(self, image: np.ndarray, ids: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Transform one sample.

        Parameters
        ----------
        image : (H, W, 3) uint8 array.
        ids : (H, W) uint8 or uint16 array, or None.
        seed : decides every draw.

        Returns
        -------
        (h, w, 3) uint8 array and (h, w) array of the dtype of ``ids``.
        """
        # Albumentations ignores global seeds and gives every transform the seed of the pipeline; with generators that
        # are shared instead, the draws of the transforms are independent.
        self.pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        if ids is None:
            return self.pipeline(image=image)["image"], None
        done = self.pipeline(image=image, mask=ids)
        return done["image"], done["mask"]


def make_transform(settings: DataSettings, train: bool, sentinel: int) -> JointTransform:
    """Build the pipeline of a recipe.

    Parameters
    ----------
    settings : which windows, which sizes.
    train : random windows and flips; otherwise the test protocol.
    sentinel : id for pixels outside the image ("no superpixel").
    """
    cv2.setNumThreads(0)  # the loader's processes are the parallel part
    size = settings.image_size
    if not train:
        step = A.Resize(size, size, **_RESAMPLING) if settings.test == "resize" else A.CenterCrop(size, size)
        return JointTransform([step])
    if settings.crop == "resized":
        window = A.RandomResizedCrop((size, size), scale=settings.scale, ratio=settings.ratio, **_RESAMPLING)
        return JointTransform([window, A.HorizontalFlip(p=settings.flip)])
    border = [A.Pad(settings.padding, fill=0, fill_mask=sentinel)] if settings.crop == "pad" else []
    return JointTransform([*border, A.RandomCrop(size, size), A.HorizontalFlip(p=settings.flip)])
