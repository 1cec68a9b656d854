"""Builds that are killed, terminated, bereft of a worker or out of disk: nothing is lost, and the next run finishes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.store.format import check_file
from tests.conftest import PROOF, ROOT, Run, run_command
from tests.preprocess.conftest import run_here

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")

BACKENDS = ("loky", "threading")
SEEDS = range(5) if PROOF else range(1)
KILLS = 10 if PROOF else 3  # for each seed
FIRST, SECOND = "12,30", "20,45,70"
EARLIEST = 0.3  # seconds after the start
LOKY_SECONDS = 1.5  # which its workers take to start, about
WRITING_SECONDS = 0.6  # of a build, about
PAGE = 4096  # a tmpfs counts in pages
GONE_SECONDS = 5
EITHER = run_command if PROOF else run_here


def save_noise(root: Path, split: str, count: int, side: int) -> None:
    random_bytes = np.random.default_rng(count).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    for index, pixels in enumerate(random_bytes):
        folder = root / split / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """54 pictures, each a shard of its own: a build goes on for a second or two after its start."""
    root = tmp_path_factory.mktemp("many")
    save_noise(root, "train", 40, 64)
    save_noise(root, "test", 14, 64)
    return root


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    save_noise(root, "train", 10, 32)
    save_noise(root, "test", 4, 32)
    return root


def command_of(root: Path, home: Path, segments: str = FIRST, backend: str = "threading", size: int = 96) -> list[str]:
    """Build ``home/x.h5``. The grid starts quickest, so that most of the time is spent on writing."""
    where = ["--root", str(root), "--out", str(home / "x.h5")]
    work = ["--size", str(size), "--segments", segments, "--algorithm", "grid", "--shard-size", "1"]
    return ["-m", "preprocess", "build", "folder", *where, *work, "--backend", backend, "--jobs", "2"]


def succeed(*command: str | Path, run: Run = run_here) -> None:
    """Run a command undisturbed."""
    done = run(*command)
    assert done.returncode == 0, done.stderr


def start(command: list[str]) -> subprocess.Popen:
    """Start a command as the leader of a session of its own."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def living(session: int) -> list[int]:
    """Processes of a session, except those that only wait to be reaped."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, owner = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(owner) == session and state not in "ZX":
            found.append(int(stat.parent.name))
    return found


def all_gone(session: int, seconds: float = GONE_SECONDS) -> bool:
    end = time.monotonic() + seconds
    while living(session) and time.monotonic() < end:
        time.sleep(0.02)
    return not living(session)


def workers_of(session: int) -> list[int]:
    """Processes in which loky works."""
    return [pid for pid in living(session) if b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def files_in(home: Path) -> dict[str, bytes]:
    """Everything below a folder, hidden files too."""
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def assert_same(home: Path, undisturbed: Path) -> None:
    """The same files of the same bytes, so none that was left behind either."""
    found, expected = files_in(home), files_in(undisturbed)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def hidden_in(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]


def shards_in(home: Path) -> list[Path]:
    return sorted(path for path in home.glob("x.shards/*/*/*.h5") if not path.name.startswith("."))


def assert_shards_are_whole(home: Path) -> None:
    for path in shards_in(home):
        check_file(path, "shard")


def assert_sound(store: Path) -> None:
    succeed("-m", "preprocess", "verify", store, "--jobs", "1")


def kill_within(command: list[str], seconds: float, home: Path | None = None) -> bool:
    """Start a command and kill its whole group after some seconds; False if it finished before.

    With ``home``, the seconds begin when the first new shard is there.
    """
    before = shards_in(home) if home else []
    process = start(command)
    while home and process.poll() is None and len(shards_in(home)) == len(before):
        time.sleep(0.005)
    try:
        _, told = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert all_gone(process.pid)
        return True
    assert process.returncode == 0, told
    return False


def kill_somewhere(command: list[str], chance: random.Random, usual: float, home: Path, writing: bool) -> bool:
    """Kill a command at a random moment of all its time, or of the time in which it writes."""
    if writing:
        return kill_within(command, chance.uniform(0, WRITING_SECONDS), home)
    return kill_within(command, chance.uniform(EARLIEST, usual + LOKY_SECONDS * ("loky" in command)))


def copy_of(home: Path, out: Path) -> Path:
    return shutil.copytree(home, out)


@pytest.fixture(scope="module")
def undisturbed(many: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """The homes of a finished store and of one to which columns were added, and the seconds that a build took."""
    first = tmp_path_factory.mktemp("undisturbed") / "first"
    begin = time.monotonic()
    succeed(*command_of(many, first), run=run_command)
    seconds = time.monotonic() - begin
    second = copy_of(first, first.with_name("second"))
    succeed(*command_of(many, second, SECOND))
    return first, second, seconds


@pytest.mark.parametrize("seed", SEEDS)
def test_a_store_whose_builds_are_killed_again_and_again_becomes_what_an_undisturbed_build_makes(
    many, undisturbed, tmp_path, seed
):
    chance, expected, home = random.Random(seed), undisturbed[0], tmp_path / "home"
    kills = unfinished = 0
    while kills < KILLS:
        backend = BACKENDS[(seed + kills) % 2]
        command = command_of(many, home, backend=backend)
        if kill_somewhere(command, chance, undisturbed[2], home, writing=kills % 3 > 0):
            kills += 1
            assert_shards_are_whole(home)
            unfinished += bool(shards_in(home)) and not (home / "x.h5").exists()
            continue
        assert_same(home, expected)
        shutil.rmtree(home)
    assert unfinished
    succeed(*command_of(many, home))
    assert_same(home, expected)
    assert_sound(home / "x.h5")
    assert hidden_in(home) == []


@pytest.mark.parametrize("seed", SEEDS if PROOF else [0])
def test_kills_while_columns_are_added_leave_the_old_store_as_it_was(many, undisturbed, tmp_path, seed):
    chance, (first, second, usual), home = random.Random(100 + seed), undisturbed, tmp_path / "home"
    kills = unfinished = 0
    old_shards: dict[Path, int] = {}
    while kills < (KILLS if PROOF else 2):
        if not home.exists():
            copy_of(first, home)
            old_shards = {path: path.stat().st_mtime_ns for path in shards_in(home)}
        command = command_of(many, home, SECOND, BACKENDS[(seed + kills) % 2])
        if kill_somewhere(command, chance, usual, home, writing=kills % 3 > 0):
            kills += 1
            unfinished += len(shards_in(home)) > len(old_shards)
            old, index = files_in(first), (home / "x.h5").read_bytes()
            assert index in (old["x.h5"], (second / "x.h5").read_bytes())
            assert {path: path.stat().st_mtime_ns for path in old_shards} == old_shards
            assert all(path.read_bytes() == old[str(path.relative_to(home))] for path in old_shards)
            assert_shards_are_whole(home)
            continue
        assert_same(home, second)
        shutil.rmtree(home)
    assert unfinished
    succeed(*command_of(many, home, SECOND))
    assert {path: path.stat().st_mtime_ns for path in old_shards} == old_shards
    assert_same(home, second)
    assert_sound(home / "x.h5")


def when_at_work(process: subprocess.Popen, home: Path) -> None:
    """Wait until some shards are in place."""
    while len(shards_in(home)) < 6:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_the_death_of_a_worker_is_told_and_the_next_run_finishes(many, undisturbed, tmp_path):
    home = tmp_path / "home"
    command = command_of(many, home, backend="loky")
    process = start(command)
    when_at_work(process, home)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1, told
    assert "a worker process died" in told
    assert "run the same command to continue" in told
    assert "Traceback" not in told
    assert all_gone(process.pid), "orphans"
    assert not (home / "x.h5").exists()
    assert_shards_are_whole(home)
    succeed(*command_of(many, home))
    assert_same(home, undisturbed[0])


# By default Ctrl-C stops processes, in test_build_interrupt.
@pytest.mark.parametrize("backend", BACKENDS if PROOF else ["threading"])
def test_a_terminated_build_says_how_to_continue_and_leaves_no_process_behind(many, undisturbed, tmp_path, backend):
    home = tmp_path / "home"
    command = command_of(many, home, backend=backend)
    process = start(command)
    when_at_work(process, home)
    os.kill(process.pid, signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 143, told
    assert "run the same command to continue" in told
    assert "Traceback" not in told
    assert all_gone(process.pid), "orphans"
    assert not (home / "x.h5").exists()
    assert_shards_are_whole(home)
    if PROOF:
        succeed(*command_of(many, home))
        assert_same(home, undisturbed[0])


def test_the_next_pack_removes_what_a_killed_one_left(undisturbed, tmp_path):
    store, packed = undisturbed[0] / "x.h5", tmp_path / "home" / "packed.h5"
    packed.parent.mkdir()
    process = start(["-m", "preprocess", "pack", str(store), str(packed)])
    while not hidden_in(packed.parent):
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    assert not packed.exists()
    assert hidden_in(packed.parent)
    succeed("-m", "preprocess", "pack", store, packed)
    assert_sound(packed)
    assert hidden_in(packed.parent) == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """6 MB: a tmpfs in a namespace of its own, which needs no root and ends with the process that holds it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    hold = f"mount -t tmpfs -o size=6m none '{folder}' && echo mounted && exec cat"
    try:
        keeper = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", hold],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("needs the command unshare")
    try:
        if keeper.stdout.readline() != "mounted\n":
            pytest.skip("unshare -rm cannot mount a tmpfs here")
        yield Path(f"/proc/{keeper.pid}/root{folder}")
    finally:
        keeper.kill()
        keeper.communicate()


def free_pages(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize // PAGE


def fill(disk: Path, spare: int) -> None:
    """Leave this many pages."""
    relieve(disk)
    (disk / "ballast").write_bytes(bytes(PAGE * (free_pages(disk) - spare)))
    assert free_pages(disk) == spare


def relieve(disk: Path) -> None:
    (disk / "ballast").unlink(missing_ok=True)


def pages(path: Path) -> int:
    """Pages that a file, or all files in a folder, take on a tmpfs."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(-(-each.stat().st_size // PAGE) for each in files)


def assert_told_of_full_disk(done: subprocess.CompletedProcess) -> None:
    """Exit code 1 and one message, instead of a crash."""
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert done.stderr.count("Error: ") == 1, done.stderr
    assert done.stderr.count("No space left") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def fail_on_full_disk(disk: Path, spare: int, command: list[str | Path], run: Run = EITHER) -> None:
    fill(disk, spare)
    done = run(*command)
    assert_told_of_full_disk(done)
    assert hidden_in(disk) == []


@pytest.fixture(scope="module")
def small(few: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The homes of a small finished store and of one to which columns were added."""
    first = tmp_path_factory.mktemp("small") / "first"
    succeed(*command_of(few, first, size=32))
    second = copy_of(first, first.with_name("second"))
    succeed(*command_of(few, second, SECOND, size=32))
    return first, second


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_disk_that_is_full_among_the_shards_is_told_and_the_next_run_finishes(few, small, disk, backend):
    home, needed = disk / "home", pages(small[0])
    command = command_of(few, home, backend=backend, size=32)
    for spare in (0, 1, needed // 4, needed // 2) if PROOF else (needed // 2,):
        fail_on_full_disk(disk, spare, command, run_command)
        assert not (home / "x.h5").exists()
        assert_shards_are_whole(home)
    assert shards_in(home)
    relieve(disk)
    succeed(*(command if PROOF else command_of(few, home, size=32)))
    assert_same(home, small[0])


@pytest.mark.parametrize("spare", [0, 1] if PROOF else [1])
def test_a_disk_that_is_full_when_the_index_is_written_leaves_whole_shards(few, small, disk, spare):
    home = copy_of(small[0], disk / "home")
    index = home / "x.h5"
    assert pages(index) > spare
    index.unlink()
    command = command_of(few, home, size=32)
    fail_on_full_disk(disk, spare, command)
    assert not index.exists()
    assert_shards_are_whole(home)
    relieve(disk)
    succeed(*command)
    assert_same(home, small[0])


@pytest.mark.parametrize("backend", BACKENDS if PROOF else ["threading"])
def test_a_disk_that_is_full_while_columns_are_added_leaves_the_old_store(few, small, disk, backend):
    first, second = small
    home = copy_of(first, disk / "home")
    command = command_of(few, home, SECOND, backend, size=32)
    for spare in (0, 1, 5, 40) if PROOF else (5,):
        fail_on_full_disk(disk, spare, command)
        assert (home / "x.h5").read_bytes() == (first / "x.h5").read_bytes()
        assert_shards_are_whole(home)
    relieve(disk)
    succeed(*command)
    assert_same(home, second)


def test_a_disk_that_is_full_when_the_index_is_replaced_leaves_the_old_index(few, small, disk):
    first, second = small
    home = copy_of(second, disk / "home")
    shutil.copy(first / "x.h5", home / "x.h5")
    command = command_of(few, home, SECOND, size=32)
    fail_on_full_disk(disk, 1, command)
    assert (home / "x.h5").read_bytes() == (first / "x.h5").read_bytes()
    relieve(disk)
    succeed(*command)
    assert_same(home, second)


def fail_then_write(command: list[str], small: Path, disk: Path, spares: Callable[[int], list[int]]) -> None:
    """Run a command that writes ``out`` from a store: with too little room, then with enough."""
    home, written, aside = copy_of(small, disk / "home"), disk / "out", small.parent / f"aside-{command[0]}"
    for folder in (written, aside):
        folder.mkdir()
    name, *out = command
    succeed("-m", "preprocess", name, small / "x.h5", *out[:-1], aside / out[-1])
    again = ["-m", "preprocess", name, home / "x.h5", *out[:-1], written / out[-1]]
    for spare in spares(pages(aside)):
        fail_on_full_disk(disk, spare, again)
        assert files_in(written) == {}, f"with {spare} pages"
    assert_same(home, small)
    relieve(disk)
    succeed(*again)
    assert_same(written, aside)


def several(needed: int) -> list[int]:
    """Room for nothing, for a part; in full also for all but the last page."""
    return [*range(0, needed, max(1, needed // 12)), needed - 1] if PROOF else [0, needed // 2]


def test_pack_on_a_full_disk_is_told_and_leaves_nothing(small, disk):
    fail_then_write(["pack", "packed.h5"], small[0], disk, several)


def test_export_on_a_full_disk_is_told_and_the_same_command_finishes_when_there_is_room(small, disk):
    fail_then_write(["export", "plain"], small[0], disk, lambda needed: [needed // 2])


def test_a_list_of_copies_on_a_full_disk_is_told_and_leaves_nothing(small, disk):
    fail_then_write(["duplicates", "--exact", "--out", "copies.txt"], small[0], disk, lambda needed: [0])


def test_a_page_on_a_full_disk_is_told_and_leaves_nothing(small, disk):
    fail_on_full_disk(disk, 3, ["-m", "preprocess", "report", small[0] / "x.h5", "--out", disk / "page.html"])
    assert [path.name for path in disk.iterdir()] == ["ballast"]


def test_show_on_a_full_disk_is_told_and_leaves_nothing(small, disk):
    fail_then_write(["show", "--count", "2", "--out", "sheet.png"], small[0], disk, several)
