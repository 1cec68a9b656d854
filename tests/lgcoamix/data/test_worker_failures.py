"""What the user is told where a DataLoader worker dies."""

import contextlib
import gc
import time
from multiprocessing import Pipe, active_children
from multiprocessing.connection import Client, Connection

import pytest
import torch

from lgcoamix.data.loader import _end_all_workers, make_loader, worker_failures
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


class Failing(torch.utils.data.Dataset):
    def __getitems__(self, indices: list[int]) -> object:
        raise ArithmeticError


def test_an_error_that_outlives_its_loader_does_not_keep_the_workers_until_their_grace_period_ends():
    before = set(active_children())
    with pytest.raises(ArithmeticError) as kept:
        load(Failing())
    (worker,) = set(active_children()) - before
    begin = time.monotonic()
    _end_all_workers()
    assert not worker.is_alive()
    assert time.monotonic() - begin < 4
    del kept


def test_workers_end_with_an_error_that_nobody_keeps():
    before = set(active_children())
    gc.disable()  # torch leaves a circle that Python would find some time later
    try:
        with contextlib.suppress(ArithmeticError):
            load(Failing())
        assert set(active_children()) <= before
    finally:
        gc.enable()


class Odd(torch.utils.data.Dataset):
    def __getitems__(self, indices: list[int]) -> object:
        return lambda: None


class Raising(torch.utils.data.Dataset):
    def __getitems__(self, indices: list[int]) -> object:
        class OwnError(Exception):
            pass

        raise OwnError


def test_what_cannot_be_handed_over_is_told_as_what_it_is():
    with pytest.raises(Exception, match="Can't pickle") as caught:
        load(Odd())
    assert not isinstance(caught.value, RunError)
    with pytest.raises(RunError, match="a DataLoader worker died"):
        load(Raising())
