"""Pooling and contrast alone: seconds, and the memory bandwidth that they reach."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

from lgcoamix.ops.losses import full_precision, local_contrast
from lgcoamix.ops.pooling import pool_superpixels
from tests.gpu.day import Row
from tests.gpu.setup import Setup, squares

_WARM_UP = 3
_FLOAT, _LONG = 4, 8  # bytes


@dataclass(frozen=True)
class Work:
    """What is timed, and the least number of bytes that it moves."""

    run: Callable[[], object]
    bytes: int


def copy_bytes(size: int) -> int:
    """Bytes that a copy of ``size`` bytes moves: each is read and written."""
    return 2 * size


def pooling_bytes(B: int, D: int, H: int, W: int, K: int, item: int) -> int:
    """Least bytes that :func:`pool_superpixels` moves forward; backward it is the same number.

    Forward reads (B, D, H, W) features of ``item`` bytes and (B, H, W) int64 ids once, and writes (B, K, D) float32
    means. Backward reads the gradient of the means and the ids, and writes that of the features.
    """
    return B * H * W * (D * item + _LONG) + B * K * D * _FLOAT


def contrast_bytes(M: int, D: int) -> int:
    """Least bytes that :func:`local_contrast` moves forward while it keeps the matrix of similarities.

    (M, D) float32 rows are read once, their (M, M) float32 products are written once and read once.
    """
    return M * D * _FLOAT + 2 * M * M * _FLOAT


def contrast_backward_bytes(M: int, D: int) -> int:
    """The same backward: the matrix is read, its gradient written and read; the rows are read, theirs is written."""
    return 3 * M * M * _FLOAT + 2 * M * D * _FLOAT


def copying(setup: Setup) -> Row:
    """A plain copy, to which the others compare."""
    size = 1 << (20 if setup.quick else 30)
    source = torch.zeros(size, dtype=torch.uint8, device=setup.device)
    target = torch.empty_like(source)
    return _row(setup, "copy", f"{size / 2**20:.0f} MiB", Work(lambda: target.copy_(source), copy_bytes(size)))


def pooling(setup: Setup, dtype: torch.dtype, backward: bool) -> Row:
    """Pooling as the step calls it: of channels-last features, which are converted to float32 first."""
    B, D, H, K = setup.batch, 64, setup.side, 80
    torch.manual_seed(0)
    features = torch.randn(B, D, H, H, device=setup.device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    regions = squares(B, H, cells=8).maps.long().to(setup.device)
    features.requires_grad_(backward)

    def run() -> None:
        pooled = pool_superpixels(full_precision(features), regions, K)
        if backward:
            features.grad = None
            pooled.backward(torch.ones_like(pooled))

    moved = pooling_bytes(B, D, H, H, K, features.element_size()) * (2 if backward else 1)
    shape = f"{B}x{D}x{H}x{H} {str(dtype).removeprefix('torch.')}, {K} regions"
    return _row(setup, f"pooling{', with backward' * backward}", shape, Work(run, moved))


def contrast(setup: Setup, rows: int, backward: bool) -> Row:
    """The contrast of so many rows, of 200 classes."""
    M, N = rows, 200
    torch.manual_seed(0)
    logits = torch.randn(M, N, device=setup.device).requires_grad_(backward)
    labels = torch.arange(M, device=setup.device) % N

    def run() -> None:
        loss = local_contrast(logits, labels)
        if backward:
            logits.grad = None
            loss.backward()

    moved = contrast_bytes(M, N) + (contrast_backward_bytes(M, N) if backward else 0)
    return _row(setup, f"contrast{', with backward' * backward}", f"{M} rows of {N}", Work(run, moved))


def _row(setup: Setup, what: str, shape: str, work: Work) -> Row:
    seconds = seconds_of(work.run, setup.torch_device, 3 if setup.quick else 20)
    rate = work.bytes / seconds / 1e9
    return {"what": what, "shape": shape, "milliseconds": 1e3 * seconds, "bytes": work.bytes, "rate": rate}


def seconds_of(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Median seconds of one call, after some to warm up; on CUDA between events in the queue of the device."""
    for _ in range(_WARM_UP):
        run()
    if device.type != "cuda":
        return statistics.median(_seconds(run) for _ in range(repeats))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    torch.cuda.synchronize()
    times = [begin.elapsed_time(end) for begin, end in pairwise(events)]
    return statistics.median(times) / 1000


def _seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin
