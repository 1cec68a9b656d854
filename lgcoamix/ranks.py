"""One process, or several that train together: started by torchrun, joined by torch.distributed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from lgcoamix.device import pick_device
from lgcoamix.errors import RunError

_PATIENCE = timedelta(minutes=10)  # for a rank that compiles, or reads while the others wait


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Parameters
    ----------
    device : of this process.
    rank : number of this process; 0 writes files and speaks.
    world : number of processes.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Sum over all ranks."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it holds on one rank at least."""
        return bool(self.total(torch.tensor(int(flag)))) if self.world > 1 else flag

    def from_first(self, value: Any) -> Any:
        """What rank 0 has, on every rank. Plain data."""
        if self.world == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def launched() -> tuple[int, int]:
    """Rank and number of processes, as torchrun sets them; (0, 1) without it. Needs no other process."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the other processes, if there are any.

    Parameters
    ----------
    device : ``auto``, ``cpu``, ``cuda``, ``mps``; with ``cuda`` every process of a machine takes a GPU of its own.

    Raises
    ------
    RunError : another process has gone.
    """
    ranks = Ranks(pick_device(device), *launched())
    if ranks.world == 1:
        yield ranks
        return
    if ranks.device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", 0))
        if local >= torch.cuda.device_count():
            raise RunError(
                f"rank {ranks.rank} needs a GPU of its own, this machine has {torch.cuda.device_count()}; "
                f"torchrun --nproc-per-node {torch.cuda.device_count()}"
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
        reason = str(error).strip().splitlines()[0]
        raise RunError(
            f"rank {ranks.rank} lost the other processes ({reason}); the run ends. Start it again with --resume auto"
        ) from error


def _is_lost(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or any(name in text for name in ("gloo", "nccl", "connection"))
