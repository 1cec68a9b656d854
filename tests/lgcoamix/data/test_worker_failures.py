"""What the user is told where a DataLoader worker dies."""

from multiprocessing import Pipe
from multiprocessing.connection import Client, Connection

import pytest
import torch

from lgcoamix.data.loader import make_loader, worker_failures
from lgcoamix.errors import RunError


def ended() -> Connection:
    end, other = Pipe()
    other.close()
    return end.recv()


def reset() -> Connection:
    end, other = Pipe()
    end.send("never read")
    other.close()
    return end.recv()


def gone() -> Connection:
    return Client("/nowhere/socket", "AF_UNIX")


class HandedOver:
    """A batch that the training process asks its worker for, which is no more."""

    def __init__(self, ask) -> None:
        self.ask = ask

    def __reduce__(self) -> tuple:
        return self.ask, ()


class Batches(torch.utils.data.Dataset):
    def __init__(self, ask) -> None:
        self.ask = ask

    def __getitems__(self, indices: list[int]) -> HandedOver:
        return HandedOver(self.ask)


class Asking(Batches):
    """A data set that itself asks somebody who is no more."""

    def __getitems__(self, indices: list[int]) -> HandedOver:
        return self.ask()


def load(dataset: torch.utils.data.Dataset, workers: int = 1) -> None:
    with worker_failures("rerun with --workers 0"):
        next(iter(make_loader(dataset, [[0, 1]], workers)))


@pytest.mark.parametrize("ask", [ended, reset, gone])
def test_a_worker_that_dies_while_it_hands_over_a_batch_is_told_as_any_other(ask):
    with pytest.raises(RunError, match=r"^a DataLoader worker died \(.*\), perhaps .*: rerun with --workers 0$"):
        load(Batches(ask))


@pytest.mark.parametrize(("ask", "error"), [(ended, EOFError), (reset, ConnectionError), (gone, FileNotFoundError)])
@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_the_data_set_are_its_own(ask, error, workers):
    with pytest.raises(error):
        load(Asking(ask), workers)


def test_the_end_of_the_thread_that_pins_batches_is_that_of_a_worker():
    with pytest.raises(RunError, match="a DataLoader worker died"), worker_failures():
        raise RuntimeError("Pin memory thread exited unexpectedly")
