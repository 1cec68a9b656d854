"""The backends that run tasks: local processes, local threads, or a Dask or Ray cluster."""

import contextlib
import itertools
import logging
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any

from preprocess.errors import BuildError
from preprocess.superpixels import ALGORITHMS

CLUSTERS = ("dask", "ray")
BACKENDS = ("loky", "threading", *CLUSTERS)
_MOST_THREADS = 4
_SMALL, _MANY = 64, 5_000  # pixels, images
_REACH_SECONDS = 30
_START_SECONDS = 8  # that a scheduler may still take to listen: it is often started by the command before
_LAST_PORT = 65_535
_IDLE_SECONDS = 20  # an orphaned worker exits after this time


def choose_backend(algorithm: str, jobs: int, size: int | None, images: int) -> str:
    """Choose threads for a few jobs of an algorithm that releases the GIL, processes otherwise.

    Threads start at once; a process imports for two seconds first. But threads spend about 2 % of the work waiting for
    the GIL. On 1,360 photos at four scales, two threads took 0.51 of the time of one job, two processes 0.60. Small
    images wait longer: 60,000 of 32 pixels took two threads 54 s, two processes 36 s.

    ``size`` is that of the stored images in pixels; None if images keep their sizes.
    """
    many_small = size is not None and size <= _SMALL and images >= _MANY
    few = jobs <= _MOST_THREADS and not many_small
    return "threading" if few and ALGORITHMS[algorithm].leaves_the_lock else "loky"


def run_parallel(
    work: Callable,
    calls: Iterable[tuple],
    done: Callable[[Any], None],
    jobs: int,
    backend: str,
    scheduler: str | None = None,
) -> None:
    """Call ``work`` with every tuple of arguments.

    Parameters
    ----------
    work : a module-level function. On a cluster, every machine needs this package.
    calls : argument tuples.
    done : called in this process with each result, in any order.
    jobs : number of workers; ignored if ``scheduler`` is given.
    backend : one of ``BACKENDS``.
    scheduler : address of a running Dask scheduler or Ray head; None starts workers on this machine.

    Raises
    ------
    BuildError : a worker died, or the cluster cannot be reached.
    """
    engines = {"loky": _in_processes, "threading": _in_threads, "dask": _on_dask, "ray": _on_ray}

    def run_all() -> None:
        for result in engines[backend](work, calls, jobs, scheduler):
            done(result)

    if backend != "threading" and hasattr(signal, "pthread_sigmask"):
        _start_trackers()
    try:
        _away_from_signals(run_all)
    except BrokenProcessPool:
        raise BuildError(
            "a worker process died: it was killed or ran out of memory (lower --jobs or --shard-size to use less). "
            "Finished shards are kept; run the same command to continue"
        ) from None


def _in_processes(work: Callable, calls: Iterable[tuple], jobs: int, scheduler: None) -> Iterator:
    import joblib  # here and below: the command line imports this module for its constants

    run = joblib.Parallel(
        jobs,
        backend="loky",
        return_as="generator_unordered",
        pre_dispatch="2*n_jobs",
        idle_worker_timeout=_IDLE_SECONDS,
    )
    yield from run(joblib.delayed(work)(*call) for call in calls)


def _in_threads(work: Callable, calls: Iterable[tuple], jobs: int, scheduler: None) -> Iterator:
    # Not joblib's threads: after an error they keep running while the interpreter exits, which can hang.
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(work, *call) for call in calls]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _on_dask(work: Callable, calls: Iterable[tuple], jobs: int, scheduler: str | None) -> Iterator:
    import joblib

    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise BuildError("--backend dask needs Dask: pip install 'lgcoamix[dask]'") from None
    with contextlib.ExitStack() as stack:
        try:
            if scheduler:
                _knock(scheduler)  # Dask fails on odd addresses in many ways, after up to 30 s
            local = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": None}
            where = scheduler or stack.enter_context(LocalCluster(**local))
            stack.enter_context(Client(where, timeout=_REACH_SECONDS))
        except Exception as error:  # no connection, a scheduler that asks for certificates, ...
            raise BuildError(f"the Dask scheduler {scheduler or ''} cannot be reached: {error}") from None
        stack.enter_context(joblib.parallel_config(backend="dask"))
        yield from joblib.Parallel(return_as="generator_unordered")(joblib.delayed(work)(*call) for call in calls)


def _on_ray(work: Callable, calls: Iterable[tuple], jobs: int, scheduler: str | None) -> Iterator:
    import joblib

    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise BuildError("--backend ray needs Ray: pip install 'lgcoamix[ray]'") from None
    local = {} if scheduler else {"num_cpus": jobs, "include_dashboard": False}
    try:
        if scheduler:
            _knock(scheduler)  # ray.init would retry for many minutes
        ray.init(address=scheduler or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:
        raise BuildError(f"the Ray head {scheduler or ''} cannot be reached: {error}") from None
    try:
        register_ray()
        workers = int(ray.cluster_resources().get("CPU", 1))
        with joblib.Parallel(workers, backend="ray", batch_size=1) as run:
            # Ray's backend returns lists only. Short lists show progress and do not submit all tasks at once.
            rest = (joblib.delayed(work)(*call) for call in calls)
            while part := list(itertools.islice(rest, 4 * workers)):
                yield from run(part)
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError or ValueError if nothing listens at ``HOST:PORT``, ``tcp://HOST:PORT`` or ``ray://HOST:PORT``."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > _LAST_PORT:
        raise ValueError("expected an address such as 127.0.0.1:8786")
    begin = time.monotonic()
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() - begin > _START_SECONDS:
                raise
            time.sleep(0.2)


def _away_from_signals(work: Callable[[], None]) -> None:
    """Run ``work`` in a thread that blocks Ctrl-C and SIGTERM, as do the processes it starts.

    The main thread only waits, so the exception is raised there and never inside joblib or a worker.
    """

    def block() -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})

    ThreadPoolExecutor(1, initializer=block).submit(work).result()


def _start_trackers() -> None:
    """Start the processes that remove semaphores and folders when this one ends early, and have them do it in silence.

    Started later, by libraries, they would report what they remove, and unblock the signals of a worker thread.
    """
    from joblib.externals.loky.backend import resource_tracker as lokys

    name = "PYTHONWARNINGS"
    before = os.environ.get(name)
    os.environ[name] = "ignore:resource_tracker"
    resource_tracker.ensure_running()
    lokys.ensure_running()
    del os.environ[name]
    if before is not None:
        os.environ[name] = before
