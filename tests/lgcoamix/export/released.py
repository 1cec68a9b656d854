"""Checkpoints in the layouts of released code, made by hand, and what their networks compute, in plain functions.

Nothing here uses the code under test: names and forward passes follow the released classes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
PLAIN = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")
SMALL = ("conv1_3k3", "bn1", "layer1_3k3", "layer2", "layer3", "layer4", "fc")
SNAPMIX = ("conv3.0", "conv3.1", "conv3.4", "conv3.5", "conv4", "conv5", "classifier")
OPENMIXUP = (*(f"backbone.{name}" for name in PLAIN[:-1]), "head.fc")


class Maker:
    """Random tensors by name."""

    def __init__(self, seed: int = 0) -> None:
        self.generator, self.state = torch.Generator().manual_seed(seed), {}

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def conv(self, name: str, out: int, given: int, side: int, bias: bool = False, transposed: bool = False) -> None:
        shape = (given, out, side, side) if transposed else (out, given, side, side)
        self.state[f"{name}.weight"] = self.draw(*shape) * math.sqrt(2 / (given * side * side))
        if bias:
            self.state[f"{name}.bias"] = self.draw(out)

    def norm(self, name: str, width: int) -> None:
        self.state |= {
            f"{name}.weight": 1 + 0.2 * self.draw(width),
            f"{name}.bias": 0.2 * self.draw(width),
            f"{name}.running_mean": 0.2 * self.draw(width),
            f"{name}.running_var": 1 + 0.1 * self.draw(width).abs(),
            f"{name}.num_batches_tracked": torch.tensor(7),
        }

    def layer_norm(self, name: str, width: int) -> None:
        self.state |= {f"{name}.weight": 1 + 0.2 * self.draw(width), f"{name}.bias": 0.2 * self.draw(width)}

    def linear(self, name: str, out: int, given: int) -> None:
        self.state |= {f"{name}.weight": self.draw(out, given) / math.sqrt(given), f"{name}.bias": self.draw(out)}


def resnet(
    maker: Maker,
    names: tuple[str, ...],
    layers: tuple[int, ...],
    widths: tuple[int, ...],
    expansion: int,
    count: int,
    side: int = 7,
) -> list[int]:
    """Fill in a ResNet; widths are those inside the blocks, side is that of its stem. Return the widths of the maps."""
    stem, norm, *stages, head = names
    maker.conv(stem, 64, 3, side)
    maker.norm(norm, 64)
    given, maps = 64, [64]
    for number, (stage, depth, width) in enumerate(zip(stages, layers, widths, strict=True)):
        for block in range(depth):
            place, out = f"{stage}.{block}", width * expansion
            sides = (1, 3, 1) if expansion == 4 else (3, 3)
            inner = given
            for step, side in enumerate(sides, 1):
                wide = out if step == len(sides) else width
                maker.conv(f"{place}.conv{step}", wide, inner, side)
                maker.norm(f"{place}.bn{step}", wide)
                inner = wide
            if block == 0 and (number > 0 or given != out):
                maker.conv(f"{place}.downsample.0", out, given, 1)
                maker.norm(f"{place}.downsample.1", out)
            given = out
        maps.append(given)
    maker.linear(head, count, given)
    return maps


def preact(maker: Maker, layers: tuple[int, ...], widths: tuple[int, ...], count: int) -> list[int]:
    """Fill in a pre-activation ResNet of basic blocks."""
    maker.conv("conv1", 64, 3, 3)
    given, maps = 64, [64]
    for number, (depth, width) in enumerate(zip(layers, widths, strict=True), 1):
        for block in range(depth):
            place = f"layer{number}.{block}"
            maker.norm(f"{place}.bn1", given)
            maker.conv(f"{place}.conv1", width, given, 3)
            maker.norm(f"{place}.bn2", width)
            maker.conv(f"{place}.conv2", width, width, 3)
            if block == 0 and (number > 1 or given != width):
                maker.conv(f"{place}.shortcut.0", width, given, 1)
            given = width
        maps.append(given)
    maker.linear("fc", count, given)
    return maps


def local(maker: Maker, steps: list[tuple[int, int, int]], count: int) -> None:
    """Fill in decoder, attention and local classifier; steps are (input width, output width, side)."""
    for number, (given, out, side) in enumerate(steps, 5):
        maker.conv(f"conv{number}", out, given, side, transposed=True)
        maker.norm(f"bn{number}", out)
    width = steps[-1][1]
    for name in ("query", "key", "value"):
        maker.linear(f"SA.{name}", width, width)
    maker.layer_norm("SA.LayerNorm", width)
    maker.linear("fc_local", count, width)


def _norm(state: State, name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias)


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _block(state: State, place: str, x: Tensor, stride: int) -> Tensor:
    weights = [state[f"{place}.conv{step}.weight"] for step in (1, 2, 3) if f"{place}.conv{step}.weight" in state]
    strided, y = len(weights) - 1, x  # the 3x3 convolution that may have the stride: the first, or the middle one
    for step, weight in enumerate(weights, 1):
        y = F.conv2d(y, weight, stride=stride if step == strided else 1, padding=weight.shape[-1] // 2)
        y = _norm(state, f"{place}.bn{step}", y)
        y = y.relu() if step < len(weights) else y
    if f"{place}.downsample.0.weight" in state:
        x = F.conv2d(x, state[f"{place}.downsample.0.weight"], stride=stride)
        x = _norm(state, f"{place}.downsample.1", x)
    return (x + y).relu()


def resnet_maps(
    state: State, names: tuple[str, ...], x: Tensor, last_stride: int = 2, pool_first: bool = False
) -> list[Tensor]:
    """The maps x0 to x4 of a ResNet; x0 is before the max-pool, or after it."""
    stem, norm, *stages, _ = names
    weight = state[f"{stem}.weight"]
    is_small = weight.shape[-1] == 3
    x = _norm(state, norm, F.conv2d(x, weight, stride=1 if is_small else 2, padding=weight.shape[-1] // 2)).relu()
    maps = [x]
    x = x if is_small else F.max_pool2d(x, 3, 2, 1)
    maps = [x] if pool_first else maps
    for stage, stride in zip(stages, (1, 2, 2, last_stride), strict=True):
        block = 0
        while f"{stage}.{block}.conv1.weight" in state:
            x = _block(state, f"{stage}.{block}", x, stride if block == 0 else 1)
            block += 1
        maps.append(x)
    return maps


def preact_maps(state: State, x: Tensor) -> list[Tensor]:
    """The maps of a pre-activation ResNet; no norm follows the last."""
    x = F.conv2d(x, state["conv1.weight"], padding=1)
    maps = [x]
    for number, first in enumerate((1, 2, 2, 2), 1):
        block = 0
        while (place := f"layer{number}.{block}") and f"{place}.conv1.weight" in state:
            stride = first if block == 0 else 1
            y = _norm(state, f"{place}.bn1", x).relu()
            shortcut = f"{place}.shortcut.0.weight"
            x = F.conv2d(y, state[shortcut], stride=stride) if shortcut in state else x
            y = F.conv2d(y, state[f"{place}.conv1.weight"], stride=stride, padding=1)
            y = F.conv2d(_norm(state, f"{place}.bn2", y).relu(), state[f"{place}.conv2.weight"], padding=1)
            x = x + y
            block += 1
        maps.append(x)
    return maps


def logits(state: State, head: str, last: Tensor) -> Tensor:
    return _linear(state, head, last.mean(dim=(2, 3)))


def mid_logits(state: State, before_last: Tensor) -> Tensor:
    """SnapMix's mid-level branch."""
    x = F.conv2d(before_last, state["conv4_1.0.weight"], state["conv4_1.0.bias"]).relu()
    return _linear(state, "mcls", x.amax(dim=(2, 3)))


def decoded(state: State, maps: list[Tensor], adds: bool = False) -> Tensor:
    """The decoder at the resolution of the input, without a ReLU after its last step."""
    x, skips, number = maps[-1], list(reversed(maps[:-1])), 5
    while (weight := state.get(f"conv{number}.weight")) is not None:
        is_1x1 = weight.shape[-1] == 1
        x = F.conv_transpose2d(x, weight) if is_1x1 else F.conv_transpose2d(x, weight, None, 2, 1, 1)
        x = _norm(state, f"bn{number}", x)
        number += 1
        if f"conv{number}.weight" in state:
            x = x.relu()
            if skips:
                skip = skips.pop(0)
                x = x + skip if adds else torch.cat((x, skip), dim=1)
    return x


def local_logits(state: State, features: Tensor, regions: Tensor, count: int) -> Tensor:
    """(K, N) logits of the regions of one image: features (D, H, W), regions (H, W); every id occurs."""
    pooled = torch.stack([features[:, regions == number].mean(dim=1) for number in range(count)])
    query, key, value = (_linear(state, f"SA.{name}", pooled) for name in ("query", "key", "value"))
    mixed = (query @ key.T / math.sqrt(pooled.shape[1])).softmax(dim=1) @ value + pooled
    mean, var = mixed.mean(dim=1, keepdim=True), mixed.var(dim=1, correction=0, keepdim=True)
    z = state["SA.LayerNorm.weight"] * (mixed - mean) / (var + 1e-12).sqrt() + state["SA.LayerNorm.bias"]
    return _linear(state, "fc_local", z)


def vit(maker: Maker, width: int, depth: int, patch: int, tokens: int, ratio: int, rows: int, prefix: str) -> None:
    """Fill in a vision transformer with a class token."""
    maker.state[f"{prefix}cls_token"] = 0.2 * maker.draw(1, 1, width)
    maker.state[f"{prefix}pos_embed"] = 0.2 * maker.draw(1, tokens + 1, width)
    maker.conv(f"{prefix}patch_embed.proj", width, 3, patch, bias=True)
    for block in range(depth):
        place = f"{prefix}blocks.{block}"
        maker.layer_norm(f"{place}.norm1", width)
        maker.linear(f"{place}.attn.qkv", 3 * width, width)
        maker.linear(f"{place}.attn.proj", width, width)
        maker.layer_norm(f"{place}.norm2", width)
        maker.linear(f"{place}.mlp.fc1", ratio * width, width)
        maker.linear(f"{place}.mlp.fc2", width, ratio * width)
    maker.layer_norm(f"{prefix}norm", width)
    maker.linear(f"{prefix}head", rows, width)


def vit_tokens(state: State, prefix: str, x: Tensor, heads: int) -> Tensor:
    """(B, 1 + n, D) tokens after the last norm, class token first."""

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{prefix}{name}.weight"], state[f"{prefix}{name}.bias"], 1e-6)

    weight, bias = (state[f"{prefix}patch_embed.proj.{part}"] for part in ("weight", "bias"))
    x = F.conv2d(x, weight, bias, stride=weight.shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat((state[f"{prefix}cls_token"].expand(len(x), -1, -1), x), dim=1) + state[f"{prefix}pos_embed"]
    block = 0
    while (place := f"blocks.{block}") and f"{prefix}{place}.norm1.weight" in state:
        B, n, D = x.shape
        qkv = _linear(state, f"{prefix}{place}.attn.qkv", norm(f"{place}.norm1", x))
        query, key, value = qkv.view(B, n, 3, heads, D // heads).permute(2, 0, 3, 1, 4)
        attended = (query @ key.transpose(2, 3) / math.sqrt(D // heads)).softmax(dim=-1) @ value
        x = x + _linear(state, f"{prefix}{place}.attn.proj", attended.transpose(1, 2).reshape(B, n, D))
        hidden = F.gelu(_linear(state, f"{prefix}{place}.mlp.fc1", norm(f"{place}.norm2", x)))
        x = x + _linear(state, f"{prefix}{place}.mlp.fc2", hidden)
        block += 1
    return norm("norm", x)
