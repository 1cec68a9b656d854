"""Crop and resize batches on a device, bit for bit as OpenCV does one sample at a time.

NumPy computes small tables: which pixels each output pixel reads, and with which weights. The device only gathers,
multiplies and adds, in OpenCV's order and precision, so that rounding is the same.

There are three kinds of image windows:

* copied: as large as the output; no arithmetic;
* blended: ``INTER_LINEAR``, and ``INTER_AREA`` if one axis grows; two taps per axis, 11-bit integers;
* averaged: ``INTER_AREA`` if no axis grows; as many taps as the window needs, float32.

Maps always read one pixel, as ``INTER_NEAREST_EXACT``.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lgcoamix.data.windows import Windows
from lgcoamix.ops.device import to_device

ONE = 2048  # the integer that means weight 1 in blended windows


@dataclass(frozen=True)
class Taps:
    """Which pixels one axis of the output reads, and with which weights: two (B, size, taps) arrays."""

    index: np.ndarray  # int64: source pixels
    weight: np.ndarray  # int32 (``ONE`` means 1) for blended windows, float32 for averaged ones


def resample_images(images: Tensor, windows: Windows, size: int) -> Tensor:
    """Crop every image to its window, resize it, and mirror it if asked.

    Parameters
    ----------
    images : (B, 3, H, W) uint8 tensor on any device; channels-last memory saves a copy.
    windows : B windows. Those of exactly ``size`` x ``size`` may extend beyond the image, where pixels are 0.
    size : height and width of the result.

    Returns
    -------
    (B, 3, size, size) uint8 tensor on the same device, in channels-last memory.

    Raises
    ------
    ValueError
        Wrong shape or dtype, or a window that is resized and extends beyond the image.

    Notes
    -----
    Equal to ``cv2.resize`` bit for bit: ``INTER_AREA`` if the window is taller or wider than the output, else
    ``INTER_LINEAR``. Do not compile this function: fused multiply-adds round differently.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W) uint8, got {tuple(images.shape)} {images.dtype}")
    B, _, H, W = images.shape
    _check(windows, (B, H, W), size)
    pixels = images.permute(0, 2, 3, 1).reshape(B * H * W, 3)
    copied = (windows.height == size) & (windows.width == size)
    averaged = (windows.height >= size) & (windows.width >= size) & ~copied
    out = torch.empty((B, size, size, 3), dtype=torch.uint8, device=images.device)
    for chosen, make in ((copied, _copied), (~copied & ~averaged, _blended), (averaged, _averaged)):
        members = np.flatnonzero(chosen)
        if len(members):
            own = Windows(**{name: part[members] for name, part in vars(windows).items()})
            done = make(pixels, members, own, (H, W), size)
            out = done if len(members) == B else out.index_copy_(0, _send(members, images.device), done)
    return out.permute(0, 3, 1, 2)


def resample_maps(maps: Tensor, windows: Windows, size: int, sentinel: int) -> Tensor:
    """Crop superpixel maps to the same windows, with nearest sampling: no new ids appear.

    Parameters
    ----------
    maps : (B, H, W) uint8 or uint16 tensor on any device.
    windows : B windows. Those of exactly ``size`` x ``size`` may extend beyond the map.
    size : height and width of the result.
    sentinel : id of the pixels beyond the map; must fit in the dtype.

    Returns
    -------
    (B, size, size) tensor of the dtype and on the device of ``maps``.

    Raises
    ------
    ValueError
        Wrong shape or dtype, a sentinel that does not fit, or a window that is resized and extends beyond the map.
    """
    if maps.dtype not in (torch.uint8, torch.uint16) or maps.ndim != 3:
        raise ValueError(f"maps must be (B, H, W) uint8 or uint16, got {tuple(maps.shape)} {maps.dtype}")
    if not 0 <= sentinel <= torch.iinfo(maps.dtype).max:
        raise ValueError(f"sentinel must fit in {maps.dtype}, got {sentinel}")
    _check(windows, tuple(maps.shape), size)
    B, H, W = maps.shape
    if maps.dtype == torch.uint16:  # few CUDA operations support uint16
        fill = sentinel - 2**16 if sentinel >= 2**15 else sentinel
        ids = maps.view(torch.int16).reshape(B * H * W)
    else:
        fill, ids = sentinel, maps.reshape(B * H * W)
    rows = _nearest(windows.height, size) + windows.top[:, None]
    cols = _mirror(_nearest(windows.width, size), windows.flip) + windows.left[:, None]
    return _pick(ids, np.arange(B), rows, cols, (H, W), fill).view(maps.dtype)


def _check(windows: Windows, shape: tuple[int, ...], size: int) -> None:
    B, H, W = shape
    if any(part.shape != (B,) for part in vars(windows).values()):
        raise ValueError(f"windows must hold ({B},) arrays, one value per sample; got top {windows.top.shape}")
    if size < 1 or (windows.height < 1).any() or (windows.width < 1).any():
        raise ValueError(f"size and the heights and widths of all windows must be at least 1; got size {size}")
    inside = (windows.top >= 0) & (windows.left >= 0)
    inside &= (windows.top + windows.height <= H) & (windows.left + windows.width <= W)
    bad = np.flatnonzero(~inside & ((windows.height != size) | (windows.width != size)))
    if len(bad):
        top, left, height, width = (getattr(windows, name)[bad[0]] for name in ("top", "left", "height", "width"))
        raise ValueError(
            f"window {bad[0]} (top {top}, left {left}, height {height}, width {width}) extends beyond its {H}x{W} "
            f"image; only windows of {size}x{size}, which are not resized, may do so"
        )


def _send(table: np.ndarray, device: torch.device) -> Tensor:
    return to_device(torch.from_numpy(np.ascontiguousarray(table)), device)


# Computing the output: tables of rows and columns become one index into all pixels of the batch, (B * H * W, ...).


def _gather(pixels: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Gather pixels at (n, h) starts of rows and (n, w) columns: (n, h, w, ...)."""
    index = rows[:, :, None] + cols[:, None, :]
    return pixels.index_select(0, index.reshape(-1)).reshape(*index.shape, *pixels.shape[1:])


def _starts(members: np.ndarray, rows: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return (members[:, None] * shape[0] + rows) * shape[1]


def _pick(
    pixels: Tensor, members: np.ndarray, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int], fill: int
) -> Tensor:
    H, W = shape
    row_in, col_in = (rows >= 0) & (rows < H), (cols >= 0) & (cols < W)
    starts = _starts(members, rows.clip(0, H - 1), shape)
    device = pixels.device
    out = _gather(pixels, _send(starts, device), _send(cols.clip(0, W - 1), device))
    if row_in.all() and col_in.all():
        return out
    inside = _send(row_in, device)[:, :, None] & _send(col_in, device)[:, None, :]
    return out.masked_fill_(~inside.reshape(*inside.shape, *[1] * (out.ndim - 3)), fill)


def _copied(pixels: Tensor, members: np.ndarray, windows: Windows, shape: tuple[int, int], size: int) -> Tensor:
    steps = np.broadcast_to(np.arange(size), (len(members), size))
    cols = _mirror(steps, windows.flip) + windows.left[:, None]
    return _pick(pixels, members, steps + windows.top[:, None], cols, shape, 0)


def _blended(pixels: Tensor, members: np.ndarray, windows: Windows, shape: tuple[int, int], size: int) -> Tensor:
    area = (windows.height > size) | (windows.width > size)
    y, x = _linear_taps(windows.height, size, area), _linear_taps(windows.width, size, area)
    rows = _sum(_column_taps(pixels, members, windows, shape, x, torch.int32))
    rows = rows.bitwise_right_shift_(4).to(torch.int16)  # 255 * 2048 / 16 fits, and less memory is moved
    total = _sum(part.bitwise_right_shift_(16) for part in _row_taps(rows, y, torch.int32))
    return total.add_(2).bitwise_right_shift_(2).to(torch.uint8)


def _averaged(pixels: Tensor, members: np.ndarray, windows: Windows, shape: tuple[int, int], size: int) -> Tensor:
    y, x, scale, offset = _area_taps(windows, size)
    rows = _sum(_column_taps(pixels, members, windows, shape, x, torch.float32))
    total = _sum(_row_taps(rows, y, torch.float32))
    scale, offset = (_send(factor, pixels.device)[:, None, None, None] for factor in (scale, offset))
    return total.mul_(scale).add_(offset).round_().to(torch.uint8)


def _sum(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total.add_(part)
    return total


def _column_taps(
    pixels: Tensor, members: np.ndarray, windows: Windows, shape: tuple[int, int], taps: Taps, dtype: torch.dtype
) -> Iterator[Tensor]:
    """Yield the weighted taps of the horizontal pass, for every row of the windows: (n, tallest window, size, 3)."""
    device = pixels.device
    steps = np.minimum(np.arange(windows.height.max()), windows.height[:, None] - 1)
    starts = _send(_starts(members, steps + windows.top[:, None], shape), device)
    index = _send(_mirror(taps.index, windows.flip) + windows.left[:, None, None], device)
    weight = _send(_mirror(taps.weight, windows.flip), device)
    for k in range(taps.index.shape[2]):
        yield _gather(pixels, starts, index[..., k]).to(dtype).mul_(weight[:, None, :, None, k])


def _row_taps(rows: Tensor, taps: Taps, dtype: torch.dtype) -> Iterator[Tensor]:
    """Yield the weighted taps of the vertical pass: (n, size, size, 3)."""
    n, tallest, size = rows.shape[:3]
    flat = rows.reshape(n * tallest, size * 3)
    index = _send(taps.index + np.arange(n)[:, None, None] * tallest, rows.device)
    weight = _send(taps.weight, rows.device)
    for k in range(taps.index.shape[2]):
        tap = flat.index_select(0, index[..., k].reshape(-1)).reshape(n, size, size, 3)
        yield tap.to(dtype).mul_(weight[:, :, None, None, k])


# Tables, computed as in OpenCV (modules/imgproc/src/resize.cpp): in float64, then float32.


def _mirror(table: np.ndarray, flip: np.ndarray) -> np.ndarray:
    return np.where(flip.reshape(-1, *[1] * (table.ndim - 1)), table[:, ::-1], table)


def _scales(lengths: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Output pixels per source pixel, and the inverse; (B, 1). Not lengths / size, which rounds differently."""
    growth = size / lengths.astype(np.float64)[:, None]
    return growth, 1.0 / growth


def _nearest(lengths: np.ndarray, size: int) -> np.ndarray:
    """Source pixels of ``INTER_NEAREST_EXACT``, (B, size) int64; if length equals size, every pixel once.

    Steps are summed, not multiplied, as in OpenCV 5 and Pillow: the sum of rounded steps decides ties, such as a centre
    between two pixels. OpenCV 4 breaks such ties differently.
    """
    step = lengths.astype(np.float64)[:, None] / size
    sums = np.add.accumulate(np.concatenate([step * 0.5, np.repeat(step, size - 1, axis=1)], axis=1), axis=1)
    return np.minimum(np.floor(sums).astype(np.int64), lengths[:, None] - 1)


def _linear_taps(lengths: np.ndarray, size: int, area: np.ndarray) -> Taps:
    """Two taps per output pixel; ``area``: which samples use the weights of ``INTER_AREA`` for an axis that grows.

    At the border both taps read the same pixel. A single tap of weight 1 would differ in the vertical pass, which
    truncates each product. OpenCV uses a single tap in the horizontal pass, where the result is the same.
    """
    growth, scale = _scales(lengths, size)
    steps = np.arange(size)
    centre = ((steps + 0.5) * scale - 0.5).astype(np.float32)
    linear = np.floor(centre).astype(np.int64)
    linear_part = centre - linear.astype(np.float32)
    corner = np.floor(steps * scale).astype(np.int64)
    corner_part = ((steps + 1) - (corner + 1) * growth).astype(np.float32)
    corner_part = np.where(corner_part <= 0, np.float32(0), corner_part - np.floor(corner_part))
    first = np.where(area[:, None], corner, linear)
    part = np.where(area[:, None], corner_part, linear_part)
    last = lengths[:, None] - 1
    weight = np.rint(np.stack([1 - part, part], -1) * np.float32(ONE)).astype(np.int32)
    return Taps(np.stack([first.clip(0, last), (first + 1).clip(0, last)], -1), weight)


def _area_taps(windows: Windows, size: int) -> tuple[Taps, Taps, np.ndarray, np.ndarray]:
    """Vertical and horizontal taps, and a scale and offset per sample, applied to the sum before rounding.

    If both factors are integers, OpenCV adds integers and scales at the end: weights are 1. The sum is below 2**24 for
    up to 65,793 pixels, so float32 is exact. Halving adds 2 and shifts, which rounds halves up; everything else rounds
    halves to even. An offset of 1/8 has the same effect on multiples of 1/4.
    """
    y_scale, x_scale = _scales(windows.height, size)[1], _scales(windows.width, size)[1]
    y_factor, x_factor = np.rint(y_scale), np.rint(x_scale)
    epsilon = np.finfo(np.float64).eps
    exact = (np.abs(y_scale - y_factor) < epsilon) & (np.abs(x_scale - x_factor) < epsilon)
    count = (y_factor * x_factor)[:, 0].astype(np.float32)
    scale = np.where(exact[:, 0], np.float32(1) / count, np.float32(1))
    halved = (exact & (y_factor == 2) & (x_factor == 2))[:, 0]
    y, x = _axis_taps(windows.height, size, exact), _axis_taps(windows.width, size, exact)
    return y, x, scale, np.where(halved, np.float32(0.125), np.float32(0))


def _axis_taps(lengths: np.ndarray, size: int, exact: np.ndarray) -> Taps:
    """All source pixels that an output cell covers, weighted by the covered share; slivers are dropped."""
    scale = _scales(lengths, size)[1]
    lengths = lengths[:, None]
    start = np.arange(size) * scale
    stop = start + scale
    cell = np.minimum(scale, lengths - start)
    last = np.minimum(np.floor(stop).astype(np.int64), lengths - 1)
    first = np.minimum(np.ceil(start).astype(np.int64), last)
    head = np.where(first - start > 1e-3, (first - start) / cell, 0.0)
    tail = np.where(stop - last > 1e-3, np.minimum(np.minimum(stop - last, 1.0), cell) / cell, 0.0)
    index = first[..., None] - 1 + np.arange((last - first).max() + 2)
    weight = np.where(index < last[..., None], (1.0 / cell)[..., None], 0.0)
    weight = np.where(index == last[..., None], tail[..., None], weight)
    weight[..., 0] = head
    weight = np.where(exact[..., None], weight > 0, weight).astype(np.float32)
    return Taps(index.clip(0, lengths[..., None] - 1), weight)
