"""Every engine writes the same bytes: processes, threads, Dask and Ray, on this machine and on a running cluster."""

import contextlib
import operator
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocess.build.backends import Watch, _on_cluster, run_parallel
from preprocess.errors import BuildError
from tests.conftest import PROOF, ROOT, Run, run_command
from tests.preprocess.conftest import build_command, run_here

START_SECONDS = 60


def relative_build(out: str, *options: str) -> tuple[str, ...]:
    """A build whose paths hold only in the folder in which the command starts."""
    return build_command(Path("raw"), Path(out), *options)


def store_bytes(home: Path) -> dict[str, bytes]:
    """Everything that a build of ``home/x.h5`` left."""
    paths = [home / "x.h5", *(path for path in (home / "x.shards").rglob("*") if path.is_file())]
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in paths}


def assert_refused(done: subprocess.CompletedProcess, code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("Error: ") == 1
    for part in parts:
        assert part in done.stderr


@pytest.fixture(scope="session")
def run() -> Run:
    """Real processes: workers inherit the folder in which a build starts."""
    return run_command


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(scope="module")
def home(noisy, tmp_path_factory) -> Path:
    """The folder in which builds start; the data lies in it as ``raw``."""
    home = tmp_path_factory.mktemp("engines")
    (home / "raw").symlink_to(noisy)
    return home


def build(run: Run, home: Path, folder: str, *options: str) -> dict[str, bytes]:
    done = run(*relative_build(f"{folder}/x.h5", *options), cwd=home)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return store_bytes(home / folder)


@pytest.fixture(scope="module")
def by_processes(home, run) -> dict[str, bytes]:
    written = build(run, home, "processes", "--jobs", "2", "--backend", "loky")
    assert len(written) == 1 + 3 * (3 + 2)  # the index, and images and two columns of 10 and 6 pictures by 4
    return written


@pytest.mark.parametrize("backend", ["threading", "dask", "ray"] if PROOF else ["threading"])
def test_every_backend_on_this_machine_writes_the_bytes_that_processes_write(home, by_processes, run, backend):
    pytest.importorskip(backend)
    run = run_here if backend == "threading" else run
    assert build(run, home, backend, "--jobs", "2", "--backend", backend) == by_processes


@pytest.mark.skipif(not PROOF, reason="two builds more")
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_workers_of_this_machine_take_the_package_and_no_file_of_its_name(backend, by_processes, noisy, tmp_path, run):
    pytest.importorskip(backend)
    (tmp_path / "preprocess.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    command = build_command(noisy, Path("x.h5"), "--jobs", "1", "--backend", backend)
    done = run("-m", "lgcoamix", *command[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert store_bytes(tmp_path) == by_processes
    assert not (tmp_path / "ran").exists()


def dask_program(folder: Path, *arguments: str) -> subprocess.Popen:
    """Start a program of Dask; its words go into a file in its folder."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "told.txt").open("wb") as told:
        command = [sys.executable, "-m", "dask", *arguments]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=told, stderr=subprocess.STDOUT)


def wait_for(program: subprocess.Popen, folder: Path, words: str) -> str:
    """Wait until a program has said some words; give all that it said."""
    end = time.monotonic() + START_SECONDS
    while words not in (said := (folder / "told.txt").read_text()):
        assert program.poll() is None, said
        assert time.monotonic() < end, said
        time.sleep(0.1)
    return said


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[str]:
    """Address of a Dask scheduler with two workers, each a process with a folder of its own."""
    pytest.importorskip("distributed")
    home = tmp_path_factory.mktemp("cluster")
    address = f"tcp://127.0.0.1:{free_port()}"
    here = ("--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0")
    programs = []
    try:
        programs.append(dask_program(home / "scheduler", "scheduler", *here, "--port", address.rsplit(":")[-1]))
        wait_for(programs[0], home / "scheduler", "Scheduler at:")
        work = ("--nthreads", "1", "--no-nanny", "--local-directory", ".", "--death-timeout", "60")
        names = ["first", "second"]
        programs += [dask_program(home / name, "worker", address, *here, *work, "--name", name) for name in names]
        for program, name in zip(programs[1:], names, strict=True):
            wait_for(program, home / name, "Registered to:")
        yield address
    finally:
        for program in reversed(programs):
            program.terminate()
        for program in programs:
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def test_workers_of_a_running_cluster_in_other_folders_write_the_same_bytes(home, by_processes, cluster, run):
    options = ("--backend", "dask", "--scheduler", cluster)
    assert build(run, home, "cluster", *options) == by_processes


@pytest.mark.skipif(not PROOF, reason="two builds more")
def test_a_cluster_continues_what_processes_began_and_leaves_what_is_there(home, by_processes, cluster, run):
    first = run(*relative_build("both/x.h5", "--splits", "test", "--segments", "4"), cwd=home)
    assert first.returncode == 0, first.stderr
    kept = {path: path.stat().st_mtime_ns for path in (home / "both/x.shards").rglob("*.h5")}
    assert kept
    written = build(run, home, "both", "--backend", "dask", "--scheduler", cluster)
    shards = by_processes.keys() - {"x.h5"}
    assert {path: written[path] for path in shards} == {path: by_processes[path] for path in shards}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.skipif(not PROOF, reason="a build more")
def test_a_bad_picture_is_named_by_a_cluster_as_by_processes(home, cluster, run):
    folder = home / "bad/train/a"
    folder.mkdir(parents=True)
    (folder / "good.png").write_bytes((home / "raw/train/a/0.png").read_bytes())
    (folder / "bad.png").write_bytes(b"no picture")
    command = build_command(Path("bad"), Path("bad.h5"), "--backend", "dask", "--scheduler", cluster)
    done = run(*command, cwd=home)
    assert_refused(done, 1, "1 of 2 images", "train/a/bad.png: not an image")
    assert not (home / "bad.h5").exists()


@pytest.mark.skipif(not PROOF, reason="takes half a minute: the time in which a scheduler may answer")
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:PORT", "127.0.0.1:PORT"])
def test_a_scheduler_that_does_not_answer_ends_the_build_with_one_message(home, tmp_path, run, address):
    address = address.replace("PORT", str(free_port()))
    begin = time.monotonic()
    out = tmp_path / "x.h5"
    done = run(*build_command(home / "raw", out, "--backend", "dask", "--scheduler", address))
    assert time.monotonic() - begin < 60  # 30 seconds, and the start of Python on a busy machine
    assert_refused(done, 1, address, "cannot be reached")
    assert not out.exists()


@pytest.mark.parametrize("address", ["nonsense://nowhere:1", "127.0.0.1", "tcp://no-such-host.invalid:8786", "a b"])
@pytest.mark.skipif(not PROOF, reason="some take half a minute each")
def test_an_address_that_cannot_be_is_refused_with_one_message(home, tmp_path, run, address):
    done = run(*build_command(home / "raw", tmp_path / "x.h5", "--backend", "dask", "--scheduler", address))
    assert_refused(done, 1, address, "cannot be reached")


def test_a_ray_head_that_does_not_answer_ends_the_build_with_one_message(home, tmp_path, run):
    pytest.importorskip("ray")
    address = f"127.0.0.1:{free_port()}"
    done = run(
        *build_command(home / "raw", tmp_path / "x.h5", "--backend", "ray", "--scheduler", address, "--wait", "1s")
    )
    assert_refused(done, 1, address, "cannot be reached")


@pytest.mark.parametrize("backend", [(), ("--backend", "loky"), ("--backend", "threading")], ids=" ".join)
def test_a_scheduler_without_a_cluster_is_a_usage_error(home, tmp_path, backend):
    done = run_here(*build_command(home / "raw", tmp_path / "x.h5", "--scheduler", "127.0.0.1:8786", *backend))
    assert_refused(done, 2, "--scheduler", "requires --backend dask or ray")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["ucx://a", "foo://x", "tcp://", "127.0.0.1:99999999", "inproc://1/2/3", "tls://127.0.0.1:1"]
)
def test_an_odd_address_is_one_message_at_once(address):
    pytest.importorskip("distributed")
    with pytest.raises(BuildError, match="cannot be reached: "):
        run_parallel(print, [], print, 1, "dask", address, Watch(0.0))


@pytest.mark.parametrize("options", [(), ("--backend", "loky"), ("--backend", "dask")], ids=" ".join)
def test_a_wait_without_a_scheduler_is_a_usage_error(home, tmp_path, options):
    done = run_here(*build_command(home / "raw", tmp_path / "x.h5", "--wait", "30m", *options))
    assert_refused(done, 2, "--wait", "requires --backend dask or ray and --scheduler")


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_scheduler_is_waited_for_as_long_as_asked(backend):
    pytest.importorskip("distributed" if backend == "dask" else backend)
    said, address, begin = [], f"127.0.0.1:{free_port()}", time.monotonic()
    with pytest.raises(BuildError, match=r"cannot be reached: .*refused; start it, or wait longer .*--wait 30m"):
        run_parallel(print, [], print, 1, backend, address, Watch(1.0, said.append))
    assert 1 <= time.monotonic() - begin < 20
    (line,) = said
    assert f"{address} to listen, 0:00:01 at most (--wait)" in line


@pytest.fixture(scope="module")
def idle() -> Iterator:
    """A Dask scheduler without workers."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def test_a_scheduler_without_workers_is_told_after_the_wait(idle):
    said, found = [], []
    with pytest.raises(BuildError, match=r"has no worker after 0:00:01; start some with: dask worker tcp://.*--wait"):
        run_parallel(operator.add, [(1, 2)], found.append, 1, "dask", idle.scheduler_address, Watch(1.0, said.append))
    assert [line.partition(" of ")[0] for line in said] == ["waiting for a worker"]
    assert found == []


def test_work_begins_with_the_first_worker(idle):
    events = []

    def say(line: str) -> None:
        events.append(line)
        idle.scale(1)  # as a queue does, later

    watch = Watch(60.0, say, lambda: events.append("begin"))
    run_parallel(operator.add, [(1, 2), (3, 4)], events.append, 1, "dask", idle.scheduler_address, watch)
    assert [events[0].partition(" of ")[0], events[1], *sorted(events[2:])] == ["waiting for a worker", "begin", 3, 7]


class Machines:
    """A cluster whose number of workers changes from look to look; the tasks end one by one, the latest first."""

    name, how, deaths = "the cluster", "start some", (KeyError,)

    def __init__(self, *workers: int) -> None:
        self.numbers, self.now, self.most = list(workers), 0, []

    def workers(self) -> int:
        self.now = self.numbers.pop(0) if self.numbers else self.now
        return self.now

    def submit(self, work, call):
        return work, call

    def finished(self, tasks: set) -> set:
        self.most.append((self.now, len(tasks)))
        return {max(tasks, key=str)}

    def result(self, task):
        return task[0](*task[1])


def test_workers_that_come_later_get_work_and_results_come_one_by_one():
    cluster = Machines(0, 1, 1, 1, 3)
    done = []
    for result in _on_cluster(cluster, operator.neg, [(n,) for n in range(30)], Watch(10.0)):
        done.append((result, len(cluster.most)))
    assert sorted(result for result, _ in done) == sorted(-n for n in range(30))
    assert [place for _, place in done] == list(range(2, 32))  # the first task of all only loads the package
    assert cluster.most[1:5] == [(1, 4), (1, 4), (3, 12), (3, 12)]
    assert max(number for _, number in cluster.most) == 12


def test_a_worker_that_dies_and_one_without_the_package_are_one_message_each():
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'skimage'", name="skimage")

    with pytest.raises(BuildError, match=r"cannot import .* \(No module named 'skimage'\): install the same"):
        list(_on_cluster(Machines(1), missing, [()], Watch()))
    with pytest.raises(BuildError, match=r"a worker ended, .*Finished shards are kept; run the same command"):
        list(_on_cluster(Machines(1), {}.__getitem__, [("x",)], Watch()))


SRUN = """#!/bin/bash
while [[ $1 == -* ]]; do shift; done
"$@" & "$@" & wait
"""


@pytest.mark.skipif(not PROOF, reason="two builds, by two processes each")
@pytest.mark.parametrize("name", ["build.sbatch", "build-dask.sbatch"])
def test_the_slurm_scripts_of_the_guide_build_a_store(home, tmp_path, name):
    pytest.importorskip("distributed")
    script = (ROOT / "preprocess" / "README.md").read_text().split(f"cat > {name} <<'END'\n")[1].split("END\n")[0]
    changed = {"~/flowers17": str(home / "raw"), "8786": str(free_port()), "build folder": "build folder --size 16"}
    programs = {".venv/bin/python": sys.executable, ".venv/bin/dask": f"{sys.executable} -m dask"}
    for old, new in (changed | programs).items():
        script = script.replace(old, new)
    stub = tmp_path / "bin" / "srun"
    stub.parent.mkdir()
    stub.write_text(SRUN)
    stub.chmod(0o755)
    path = f"{stub.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "SLURM_CPUS_PER_TASK": "1"}
    with (tmp_path / "log.txt").open("wb") as log:  # as SLURM: a file, and all that is left is ended
        job = subprocess.Popen(
            ["bash", "-c", script], cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            code = job.wait(120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
    assert code == 0, (tmp_path / "log.txt").read_text()
    assert (tmp_path / "data" / "photos.h5").is_file()
