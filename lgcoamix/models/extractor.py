"""A frozen network that finds the salient cells of an image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lgcoamix.models.backbone import create_net
from lgcoamix.models.hub import BackboneError, data_statistics
from lgcoamix.ops.class_activation import last_map

_REMEDY = "set mixer.extractor_weights to a checkpoint file"


class Extractor(nn.Module):
    """A frozen timm classifier without its head.

    Parameters
    ----------
    name : timm model name.
    weights : ``pretrained``, a tag of timm, or the path of a checkpoint file.
    size : side to which images are resized, in pixels.
    normalise : ``backbone`` normalises inputs as in the training of the timm model; ``none`` leaves them in [0, 1].
    least : minimum side of the last map, in cells.

    Raises
    ------
    BackboneError : also if the last map is smaller than ``least``.
    WeightsError
    """

    def __init__(self, name: str, weights: str, size: int, normalise: str, least: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # initial values are replaced; do not consume random numbers
            self.net = create_net(name, 0, weights, size, _REMEDY).eval().requires_grad_(False)
        self.size = size
        mean, std = data_statistics(name, weights) if normalise == "backbone" else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._check_map(name, least)

    @torch.no_grad()
    def heat(self, pictures: Tensor) -> Tensor:
        """Compute where the network is active.

        Parameters
        ----------
        pictures : (B, 3, H, W) floating tensor in [0, 1].

        Returns
        -------
        (B, h, w) float32 tensor: the mean over the channels of the last map.
        """
        pictures = pictures.float()
        if pictures.shape[-2:] != (self.size, self.size):
            pictures = F.interpolate(pictures, (self.size, self.size), mode="bilinear", antialias=True)
        with torch.autocast(pictures.device.type, enabled=False):
            return last_map(self.net, (pictures - self.mean) / self.std).mean(dim=1)

    def _check_map(self, name: str, least: int) -> None:
        try:
            found = tuple(self.heat(torch.zeros(1, 3, self.size, self.size)).shape[1:])
        except (RuntimeError, ValueError) as error:
            raise BackboneError(f"{name} cannot take inputs of {self.size}x{self.size}: {error}") from error
        if min(found) < least:
            raise BackboneError(
                f"the last map of {name} has {found[0]}x{found[1]} cells at {self.size} pixels, but needs "
                f"{least}x{least}; use a larger mixer.extractor_size"
            )
