"""One process, or several that train together: started by torchrun, joined by torch.distributed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lgcoamix.errors import RunError
from lgcoamix.ops.device import pick_device
from lgcoamix.settings.launch import launched
from lgcoamix.settings.text import first_line

_PATIENCE = timedelta(minutes=10)  # for ranks that compile or read data while the others wait


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Parameters
    ----------
    device : of this process.
    rank : number of this process; rank 0 writes files and reports.
    world : number of processes.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Sum over all ranks."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def add_gradients(self, network: nn.Module) -> None:
        """Sum the gradients of all ranks, which must have gradients for the same parameters.

        Notes
        -----
        One sum over all gradients, in the order of the parameters. torch's DistributedDataParallel overlaps it with the
        backward pass, but rebuilds its buckets after the first step of a process: a resumed run would differ in the
        last digits. It also blocks on the device if a step leaves parameters unused, as unmixed steps do.
        """
        if self.world == 1:
            return
        gradients = [value.grad for value in network.parameters() if value.grad is not None]
        if gradients:
            _at_once(gradients, dist.all_reduce)

    def follow_first(self, network: nn.Module) -> None:
        """Copy the floating buffers of rank 0, such as BatchNorm statistics: checkpoints hold those of rank 0."""
        if self.world == 1:
            return
        buffers = [value for value in network.buffers() if value.is_floating_point()]
        if buffers:
            _at_once(buffers, partial(dist.broadcast, src=0))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on at least one rank."""
        return bool(self.total(torch.tensor(int(flag)))) if self.world > 1 else flag

    def from_first(self, value: Any) -> Any:
        """Send plain data from rank 0 to every rank."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def _at_once(values: list[Tensor], exchange: Callable[[Tensor], Any]) -> None:
    """Exchange the values of several tensors with the other ranks as one, in place."""
    flat = torch.cat([value.flatten() for value in values])
    exchange(flat)
    parts = flat.split([value.numel() for value in values])
    torch._foreach_copy_(values, [part.view(value.shape) for part, value in zip(parts, values, strict=True)])


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the other processes of the run, if there are any.

    Parameters
    ----------
    device : ``auto``, ``cpu``, ``cuda``, ``mps``; with ``cuda`` every process of a machine uses its own GPU.

    Raises
    ------
    RunError : a connection to another process is lost, or a rank has no GPU.
    """
    ranks = Ranks(pick_device(device), *launched())
    if ranks.world == 1:
        yield ranks
        return
    if ranks.device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", 0))
        if local >= torch.cuda.device_count():
            raise RunError(
                f"every rank needs its own GPU, but this machine has {torch.cuda.device_count()} and this is rank "
                f"{ranks.rank}; use torchrun --nproc-per-node {torch.cuda.device_count()}"
            )
        ranks = replace(ranks, device=torch.device("cuda", local))
        torch.cuda.set_device(ranks.device)
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if ranks.device.type == "cuda" else "gloo", timeout=_PATIENCE)
        yield ranks
        dist.destroy_process_group()
    except (dist.DistError, RuntimeError) as error:
        if isinstance(error, RunError) or not _is_lost(error):
            raise
        raise RunError(
            f"rank {ranks.rank} lost the connection to the other processes ({first_line(error)}); continue with "
            "--resume auto"
        ) from error


def _is_lost(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(name in text for name in ("gloo", "nccl", "connection"))
