"""The decoder: from a pyramid of feature maps to the resolution of the input."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Decoder(nn.Module):
    """Upsample the deepest map step by step, joining the shallower maps.

    Parameters
    ----------
    channels, reductions : widths and strides of the maps, from shallow to deep.
    width : D, the width of the output.
    skip : ``concat`` (the Dogs and CIFAR networks of LGCOAMix, and the default) or ``add`` (CUB, ResNeXt).

    Notes
    -----
    Every step is a 3x3 transposed convolution of stride 2 (a 1x1 convolution if the size does not change), BatchNorm
    and ReLU; the last step has no ReLU. A step that joins a map of c channels has width c // 2 with ``concat`` (D at
    the shallowest map), or c with ``add``. After the last join, widths halve down to D. This reproduces the published
    tables: 512, 256, 128, 64, 64 for ResNet-50 and 256, 128, 64, 64 for DeiT-B. Sizes that do not double exactly are
    matched bilinearly.

    References
    ----------
    LGCOAMix (Dornaika & Sun, IEEE TIP 2024), released decoders.

    Examples
    --------
    >>> import torch
    >>> from lgcoamix import Decoder
    >>> decoder = Decoder(channels=[16, 32], reductions=[2, 4], width=8)
    >>> decoder([torch.rand(1, 16, 16, 16), torch.rand(1, 32, 8, 8)], size=(32, 32)).shape
    torch.Size([1, 8, 32, 32])
    """

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], width: int = 64, skip: str = "concat"):
        super().__init__()
        if skip not in ("concat", "add"):
            raise ValueError(f"skip must be 'concat' or 'add', got {skip!r}")
        self.skip = skip
        self.joins = nn.ModuleList()
        current = channels[-1]
        for level in range(len(channels) - 2, -1, -1):
            halvings = round(math.log2(reductions[level + 1] / reductions[level]))
            concat_width = channels[level] // 2 if level > 0 else width
            out = channels[level] if skip == "add" else concat_width
            self.joins.append(_step(current, out, halvings))
            current = out if skip == "add" else out + channels[level]
        halvings = math.ceil(math.log2(reductions[0]))
        tail: list[nn.Module] = []
        for left in range(halvings, 0, -1):
            out = width * 2 ** max(0, left - 2)
            tail += _step(current, out, 1)
            current = out
        tail += [] if halvings else _step(current, width, 0)
        self.tail = nn.Sequential(*tail[:-1])  # the last step has no ReLU
        self.apply(_initialise)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Decode.

        Parameters
        ----------
        maps : (B, C, h, w) tensors, from shallow to deep.
        size : (H, W) of the input images.

        Returns
        -------
        (B, D, H, W) tensor.
        """
        x = maps[-1]
        for join, skipped in zip(self.joins, reversed(maps[:-1]), strict=True):
            x = _match(join(x), skipped.shape[-2:])
            x = x + skipped if self.skip == "add" else torch.cat((x, skipped), dim=1)
        return _match(self.tail(x), size)


def _step(current: int, out: int, halvings: int) -> nn.Sequential:
    """Transposed convolution, BatchNorm and ReLU per doubling of the size; a 1x1 convolution for none."""
    layers: list[nn.Module] = []
    for _ in range(halvings):
        up = nn.ConvTranspose2d(current, out, 3, stride=2, padding=1, output_padding=1, bias=False)
        layers += [up, nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
        current = out
    if not halvings:
        layers += [nn.Conv2d(current, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _match(x: Tensor, size: Sequence[int]) -> Tensor:
    if x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def _initialise(module: nn.Module) -> None:
    # The released constant "bilinear" initialisation makes all output channels equal; see the method card.
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
