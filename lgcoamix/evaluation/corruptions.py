"""Common corruptions at five severities, after Hendrycks & Dietterich, through albumentations.

References
----------
Hendrycks, Dietterich: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations. ICLR 2019,
arXiv 1903.12261.

Notes
-----
Values are those of ImageNet-C where albumentations has the same operation. What differs:

- ``shot_noise`` is drawn in linear light, ``impulse_noise`` for all channels of a pixel at once.
- ``motion_blur`` is a line in any direction. Its lengths have the standard deviation of the published kernels.
- ``contrast`` keeps the mean grey, there the mean of each channel.
- ``glass_blur`` swaps pixels all at once, there one by one.
- ``elastic_transform`` has no affine part; the displacements of severities 1 and 2 are ours.
- ``fog`` lightens and flattens by a plasma fractal as there, with our strengths: it is no sum that is scaled back.
- Left out: ``frost``, which needs photographs of frost, and ``snow``, which albumentations 2.0.8 adds to hue and
  saturation as well, so that colours turn.

Published figures on ImageNet-C are therefore not comparable; two networks that are measured here are. Lengths in
pixels hold for inputs of 224 and grow with the input; at small inputs, severities that reach albumentations' least
length coincide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from lgcoamix.data.dataset import SuperpixelDataset
from lgcoamix.data.pipelines import load_library, seed_pipeline
from lgcoamix.errors import RunError
from lgcoamix.evaluation.subject import Subject
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.settings.report import Start

if TYPE_CHECKING:
    from albumentations import Compose

SEVERITIES = (1, 2, 3, 4, 5)
SIDE = 224  # of the inputs for which lengths are given


@dataclass(frozen=True)
class Corruption:
    """A transform of albumentations with its parameters.

    Parameters
    ----------
    transform : name in albumentations.
    ranges : parameter -> value at each severity; albumentations draws between two, which are equal here.
    values : parameter -> value at each severity.
    fixed : parameters that are the same at all severities.
    """

    transform: str
    ranges: Mapping[str, Sequence[float]]
    values: Mapping[str, Sequence[float]]
    fixed: Mapping[str, Any]

    def at(self, severity: int, side: int) -> dict[str, Any]:
        """Return the parameters for inputs of a side; lengths in pixels grow with it."""
        place = severity - 1
        ranges = {name: _scaled(name, values[place], side) for name, values in self.ranges.items()}
        values = {name: _scaled(name, values[place], side) for name, values in self.values.items()}
        if self.transform == "ElasticTransform":  # displacements go with alpha / sigma
            values["sigma"] = max(1.0, values["sigma"])
            values["alpha"] *= values["sigma"] / self.values["sigma"][place]
        return {name: (value, value) for name, value in ranges.items()} | values | dict(self.fixed)


def _corruption(
    transform: str, ranges: dict[str, Sequence[float]], values: dict[str, Sequence[float]] | None = None, **fixed: Any
) -> Corruption:
    return Corruption(transform, ranges, values or {}, fixed)


CORRUPTIONS = {
    "gaussian_noise": _corruption("GaussNoise", {"std_range": (0.08, 0.12, 0.18, 0.26, 0.38)}),
    "shot_noise": _corruption("ShotNoise", {"scale_range": (1 / 60, 1 / 25, 1 / 12, 1 / 5, 1 / 3)}),
    "impulse_noise": _corruption(
        "SaltAndPepper", {"amount": (0.03, 0.06, 0.09, 0.17, 0.27), "salt_vs_pepper": (0.5,) * 5}
    ),
    "defocus_blur": _corruption("Defocus", {"radius": (3, 4, 6, 8, 10), "alias_blur": (0.1, 0.5, 0.5, 0.5, 0.5)}),
    "glass_blur": _corruption(
        "GlassBlur",
        {},
        {"sigma": (0.7, 0.9, 1.0, 1.1, 1.5), "max_delta": (1, 2, 2, 3, 4), "iterations": (2, 1, 3, 2, 2)},
        mode="fast",
    ),
    "motion_blur": _corruption(
        "MotionBlur",
        {"blur_limit": (7, 11, 17, 25, 31)},
        allow_shifted=False,
        angle_range=(0.0, 180.0),
        direction_range=(0.0, 0.0),
    ),
    "zoom_blur": _corruption(
        "ZoomBlur", {"max_factor": (1.11, 1.16, 1.21, 1.26, 1.33), "step_factor": (0.01, 0.01, 0.02, 0.02, 0.03)}
    ),
    "fog": _corruption(
        "PlasmaBrightnessContrast",
        {"brightness_range": (0.3, 0.35, 0.4, 0.45, 0.5), "contrast_range": (-0.6, -0.667, -0.714, -0.75, -0.8)},
        {"roughness": (1 / 2, 1 / 2, 1 / 1.7, 1 / 1.5, 1 / 1.4)},
    ),
    "brightness": _corruption(  # of the value in HSV
        "HueSaturationValue",
        {"val_shift_limit": (25.5, 51, 76.5, 102, 127.5)},
        hue_shift_limit=(0, 0),
        sat_shift_limit=(0, 0),
    ),
    "contrast": _corruption(
        "ColorJitter", {"contrast": (0.4, 0.3, 0.2, 0.1, 0.05)}, brightness=(1, 1), saturation=(1, 1), hue=(0, 0)
    ),
    "elastic_transform": _corruption(
        "ElasticTransform",
        {},
        {"alpha": (4.9, 8.5, 12.2, 17.1, 29.3), "sigma": (2.44,) * 5},
        noise_distribution="uniform",
        border_mode=4,  # reflected, without the border pixel twice
    ),
    "pixelate": _corruption(  # averaged, then enlarged to squares
        "Downscale", {"scale_range": (0.6, 0.5, 0.4, 0.3, 0.25)}, interpolation_pair={"downscale": 3, "upscale": 0}
    ),
    "jpeg_compression": _corruption(
        "ImageCompression", {"quality_range": (25, 18, 15, 10, 7)}, compression_type="jpeg"
    ),
}
# Lengths in pixels -> the least value that albumentations takes.
_LENGTHS = {"radius": 1, "blur_limit": 3, "max_delta": 1, "sigma": 0.1, "alpha": 0.0}


def _scaled(name: str, value: float, side: int) -> float:
    """A length grows with the input; one that is whole stays so, and a kernel odd."""
    if name not in _LENGTHS:
        return value
    length = value * side / SIDE
    if name == "blur_limit":
        return max(3, 2 * round((length - 1) / 2) + 1)
    return max(_LENGTHS[name], round(length) if isinstance(value, int) else length)


class Corrupted(Dataset[tuple[Any, ...]]):
    """All images of a data set under every corruption at every severity, one condition after the other.

    Parameters
    ----------
    dataset : n images of one size, without maps.
    side : their size.
    seed : what is random is a function of (seed, corruption, severity, sample).
    """

    def __init__(self, dataset: SuperpixelDataset, side: int, seed: int) -> None:
        load_library()  # before workers start
        self.dataset, self.side, self.seed = dataset, side, seed
        self.conditions = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
        self._built: dict[tuple[str, int], Compose] = {}

    def __len__(self) -> int:
        return len(self.conditions) * len(self.dataset)

    def __getitems__(self, indices: Sequence[tuple[int, int]]) -> Batch:
        """Read a batch of (epoch, position) pairs; position c · n + i is image i under condition c."""
        places = [divmod(position, len(self.dataset)) for _, position in indices]
        batch = self.dataset.__getitems__([(0, place) for _, place in places])
        images = batch.images.permute(0, 2, 3, 1).numpy()  # in the memory of the batch
        for (condition, sample), image in zip(places, images, strict=True):
            image[:] = self.corrupt(image, *self.conditions[condition], sample)
        return batch

    def corrupt(self, image: np.ndarray, name: str, severity: int, sample: int) -> np.ndarray:
        """Corrupt an image: (H, W, 3) uint8 array -> another."""
        pipeline = self._built.get((name, severity))
        if pipeline is None:
            pipeline = self._built[name, severity] = build(name, severity, self.side)
        seed_pipeline(pipeline, derive_seed("corruption", self.seed, name, severity, sample))
        try:
            if name == "jpeg_compression":  # albumentations encodes red as blue
                return pipeline(image=np.ascontiguousarray(image[..., ::-1]))["image"][..., ::-1]
            return pipeline(image=image)["image"]
        except Exception as error:  # the library raises whatever its parts do
            raise RunError(f"{name} at severity {severity} fails on an image of {image.shape}: {error}") from error

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_built": {}}


def build(name: str, severity: int, side: int) -> "Compose":
    """Build a corruption for images of a side."""
    library, corruption = load_library(), CORRUPTIONS[name]
    return library.Compose([getattr(library, corruption.transform)(**corruption.at(severity, side), p=1.0)])


@torch.no_grad()
def right_under_each(subject: Subject, start: Start) -> np.ndarray:
    """Whether each image is classified correctly under each condition: (n, conditions) bool array."""
    clean, right = subject.dataset(), []
    dataset = Corrupted(clean, clean.view.size, subject.options.seed)
    clean.prepare()  # no file may be open when workers start
    what = f"{len(dataset.conditions)} corruptions of {subject.options.split}"
    for images, labels in subject.batches(dataset, what, start):
        right.append((subject.classify(images)[0].argmax(dim=1) == labels).cpu())
    return torch.cat(right).numpy().reshape(len(dataset.conditions), len(clean)).T
