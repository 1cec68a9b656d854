"""The backends that run tasks: local processes, local threads, or a Dask or Ray cluster."""

import contextlib
import logging
import os
import re
import runpy
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from preprocess.errors import BuildError
from preprocess.extras import reason, required
from preprocess.superpixels import ALGORITHMS

CLUSTERS = ("dask", "ray")
BACKENDS = ("loky", "threading", *CLUSTERS)
_MOST_THREADS = 4
_SMALL, _MANY = 64, 5_000  # pixels, images
_REACH_SECONDS = 30
_LOOK_SECONDS = 2  # between two looks at a cluster where nothing ends
_AHEAD = 4  # tasks for each worker of a cluster that it has or that wait there
_LAST_PORT = 65_535
_IDLE_SECONDS = 20  # an orphaned worker exits after this time
_HERE = str(Path(__file__).parents[1] / "here.py")  # every worker on this machine runs it first
_KEPT = "Finished shards are kept; run the same command to continue"


@dataclass(frozen=True)
class Watch:
    """What somebody who waits for work is told, and for how long the work waits.

    Parameters
    ----------
    wait : seconds that the scheduler of a cluster may take to answer, and then its first worker to come.
    say : shows a line of text.
    begin : called once there are workers. On a cluster, work is measured from here.
    """

    wait: float = 10.0
    say: Callable[[str], None] = lambda line: None
    begin: Callable[[], None] = lambda: None


QUIET = Watch()


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
    watch: Watch = QUIET,
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
    watch : what to tell meanwhile.

    Raises
    ------
    BuildError : a worker died, or the cluster cannot be reached.
    PackageError : the package of the backend is missing or broken.
    """
    local = {"loky": _in_processes, "threading": _in_threads}
    clusters = {"dask": _dask, "ray": _ray}

    def run_all() -> None:
        if backend in local:
            watch.begin()
            for result in local[backend](work, calls, jobs):
                done(result)
            return
        with clusters[backend](jobs, scheduler, watch) as cluster:
            for result in _on_cluster(cluster, work, calls, watch):
                done(result)

    if backend != "threading" and hasattr(signal, "pthread_sigmask"):
        _start_trackers()
    try:
        _away_from_signals(run_all)
    except BrokenProcessPool:
        raise BuildError(
            "a worker process died: it was killed or ran out of memory (lower --jobs or --shard-size to use less). "
            f"{_KEPT}"
        ) from None


def _in_processes(work: Callable, calls: Iterable[tuple], jobs: int) -> Iterator:
    import joblib  # here and below: the command line imports this module for its constants

    run = joblib.Parallel(
        jobs,
        backend="loky",
        return_as="generator_unordered",
        pre_dispatch="2*n_jobs",
        idle_worker_timeout=_IDLE_SECONDS,
        initializer=runpy.run_path,
        initargs=(_HERE,),
    )
    yield from run(joblib.delayed(work)(*call) for call in calls)


def _in_threads(work: Callable, calls: Iterable[tuple], jobs: int) -> Iterator:
    # Not joblib's threads: after an error they keep running while the interpreter exits, which can hang.
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(work, *call) for call in calls]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _on_cluster(cluster: "_Dask | _Ray", work: Callable, calls: Iterable[tuple], watch: Watch) -> Iterator:
    """Keep all workers busy that there are: more may come at any time, and all may go."""
    with _failures(cluster):
        first = cluster.submit(_load, (work,))  # before there are workers: some clusters grow with the tasks that wait
        while _workers(cluster, watch) and not cluster.finished({first}):
            pass
        cluster.result(first)
        watch.begin()
        yield from _run_all(cluster, work, calls, watch)


def _run_all(cluster: "_Dask | _Ray", work: Callable, calls: Iterable[tuple], watch: Watch) -> Iterator:
    todo, pending = list(calls)[::-1], set()
    while todo or pending:
        room = _AHEAD * _workers(cluster, watch) - len(pending)
        pending |= {cluster.submit(work, todo.pop()) for _ in range(min(room, len(todo)))}
        done = cluster.finished(pending)
        pending -= done
        yield from map(cluster.result, done)


def _load(work: Callable) -> None:
    """Do nothing, in a worker: to take the argument, it has imported it."""


@contextlib.contextmanager
def _failures(cluster: "_Dask | _Ray") -> Iterator[None]:
    try:
        yield
    except Exception as error:
        why = reason(error).rstrip(":")
        if isinstance(error.__cause__ or error, ImportError) or "No module named" in why:  # Ray has but the words
            raise BuildError(
                f"a machine of {cluster.name} cannot import what it needs ({why}): install the same packages, lgcoamix "
                "itself included, where its scheduler and its workers run, and start them again"
            ) from None
        if isinstance(error, cluster.deaths):
            raise BuildError(
                f"{cluster.name} or a worker ended, or cannot be reached any more ({why}): see their logs; if a worker "
                f"ran out of memory, lower --shard-size. {_KEPT}"
            ) from None
        raise


def _workers(cluster: "_Dask | _Ray", watch: Watch) -> int:
    """The number of tasks that can run at once; waits for the first worker."""
    patience = _Patience(f"a worker of {cluster.name}", watch)
    while (number := cluster.workers()) == 0:
        if patience.ended():
            raise BuildError(
                f"{cluster.name} has no worker after {_shown(watch.wait)}; {cluster.how}, or wait longer, for example "
                f"--wait 30m. {_KEPT}"
            )
    return number


class _Dask:
    """A Dask cluster."""

    def __init__(self, client: Any, name: str) -> None:
        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        self.client, self.name = client, name
        self.how = f"start some with: dask worker {client.scheduler.address} --nthreads 1"
        self.deaths = (KilledWorker, CancelledError, CommClosedError)

    def workers(self) -> int:
        return sum(self.client.nthreads().values())

    def submit(self, work: Callable, call: tuple) -> Any:
        return self.client.submit(work, *call, pure=False)

    def finished(self, tasks: set) -> set:
        from distributed import wait

        try:
            return wait(tasks, _LOOK_SECONDS, "FIRST_COMPLETED").done
        except TimeoutError:
            return set()

    def result(self, task: Any) -> Any:
        return task.result()


@contextlib.contextmanager
def _dask(jobs: int, scheduler: str | None, watch: Watch) -> Iterator[_Dask]:
    with required("--backend dask"):
        from distributed import Client, LocalCluster
    name = f"the Dask scheduler {scheduler or ''}".strip()
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # it shows tracebacks of what is told here
    with contextlib.ExitStack() as stack:
        try:
            if scheduler:
                _knock(scheduler, name, watch)  # Dask fails on odd addresses in many ways, after up to 30 s
            local = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
            local["preload"] = f"import runpy; runpy.run_path({_HERE!r})"
            where = scheduler or stack.enter_context(LocalCluster(**local))
            client = stack.enter_context(Client(where, timeout=_REACH_SECONDS))
        except Exception as error:  # no connection, a scheduler that asks for certificates, ...
            raise BuildError(f"{name} cannot be reached: {error}{_longer(error)}") from None
        yield _Dask(client, name)


class _Ray:
    """A Ray cluster."""

    def __init__(self, name: str) -> None:
        import ray

        self.ray, self.name = ray, name
        self.how = "start some with: ray start --address HOST:PORT"
        self.deaths = (ray.exceptions.WorkerCrashedError, ray.exceptions.RaySystemError)

    def workers(self) -> int:
        return int(self.ray.cluster_resources().get("CPU", 0))

    def submit(self, work: Callable, call: tuple) -> Any:
        return self.ray.remote(work).remote(*call)

    def finished(self, tasks: set) -> set:
        return set(self.ray.wait(list(tasks), num_returns=1, timeout=_LOOK_SECONDS)[0])

    def result(self, task: Any) -> Any:
        try:
            return self.ray.get(task)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None


@contextlib.contextmanager
def _ray(jobs: int, scheduler: str | None, watch: Watch) -> Iterator[_Ray]:
    with required("--backend ray"):
        import ray
    name = f"the Ray head {scheduler or ''}".strip()
    first = {"worker_process_setup_hook": lambda: runpy.run_path(_HERE)}
    local = {} if scheduler else {"num_cpus": jobs, "include_dashboard": False, "runtime_env": first}
    try:
        if scheduler:
            _knock(scheduler, name, watch)  # ray.init would retry for many minutes
        ray.init(address=scheduler or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
    except Exception as error:
        raise BuildError(f"{name} cannot be reached: {error}{_longer(error)}") from None
    try:
        yield _Ray(name)
    finally:
        ray.shutdown()


def _knock(address: str, name: str, watch: Watch) -> None:
    """Wait until something listens at ``HOST:PORT``, ``tcp://HOST:PORT`` or ``ray://HOST:PORT``.

    Raises
    ------
    OSError, ValueError : nothing does, or the address is none.
    """
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > _LAST_PORT:
        raise ValueError("expected an address such as 127.0.0.1:8786")
    patience = _Patience(f"{name} to listen", watch)
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), _REACH_SECONDS).close()
            return
        except socket.gaierror:  # no such host
            raise
        except OSError:  # not started yet, or its machine is not
            if patience.ended():
                raise


class _Patience:
    """A wait for something on a cluster, which is said once."""

    def __init__(self, what: str, watch: Watch) -> None:
        self._what, self._watch = what, watch
        self._begun: float | None = None

    def ended(self) -> bool:
        """Whether the time is up; else pause."""
        if self._begun is None:
            self._begun = time.monotonic()
            self._watch.say(f"waiting for {self._what}, {_shown(self._watch.wait)} at most (--wait)")
        if time.monotonic() - self._begun >= self._watch.wait:
            return True
        time.sleep(0.2)
        return False


def _longer(error: Exception) -> str:
    return "; start it, or wait longer for it, for example --wait 30m" if isinstance(error, ConnectionError) else ""


def _shown(seconds: float) -> str:
    return str(timedelta(seconds=seconds))


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
