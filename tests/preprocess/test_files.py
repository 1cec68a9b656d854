"""What a killed builder leaves beside its shards, and who removes it."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from preprocess.files import describe, publish, sweep
from preprocess.inputs import read_regular
from preprocess.store import Store
from preprocess.store.format import check_file, seal
from tests.conftest import ROOT
from tests.preprocess.conftest import build_command, run_here

PAYLOAD = b"what a shard holds" * 1000
# A builder that hangs where a slow disk would hold it: everything is written, nothing is on the disk yet.
SLOW = """
import os, sys, time
from pathlib import Path
from preprocess import files
from preprocess.store import format
sync, folder = os.fsync, Path(sys.argv[1])
def slow(number):
    if not (folder / "seen").exists():
        (folder / "seen").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
    sync(number)
os.fsync = slow
payload = b"what a shard holds" * 1000
files.publish(folder / "x.h5", *[format.seal(payload, "shard")[0], payload])
"""


@pytest.fixture
def slow(tmp_path):
    """A process in the middle of publishing ``x.h5``."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, tmp_path], cwd=ROOT)
    while not (tmp_path / "seen").exists():
        assert process.poll() is None
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


def asides(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".*.tmp"))


def test_the_file_of_a_living_builder_stays(slow, tmp_path):
    (aside,) = asides(tmp_path)
    sweep(asides(tmp_path))
    assert asides(tmp_path) == [aside]
    (tmp_path / "go").touch()
    assert slow.wait(30) == 0
    assert asides(tmp_path) == []
    check_file(tmp_path / "x.h5", "shard")


def test_the_file_of_a_killed_builder_goes(slow, tmp_path):
    slow.send_signal(signal.SIGKILL)
    slow.wait()
    assert len(asides(tmp_path)) == 1
    sweep(asides(tmp_path))
    assert asides(tmp_path) == []
    assert not (tmp_path / "x.h5").exists()


def test_a_builder_whose_file_was_removed_writes_it_again(slow, tmp_path):
    (aside,) = asides(tmp_path)
    aside.unlink()
    (tmp_path / "go").touch()
    assert slow.wait(30) == 0
    assert asides(tmp_path) == []
    check_file(tmp_path / "x.h5", "shard")


def test_sweeping_never_takes_a_published_file(tmp_path):
    publish(tmp_path / "x.h5", seal(PAYLOAD, "shard")[0], PAYLOAD)
    sweep([tmp_path / ".x.h5.1-0123abcd.tmp", *asides(tmp_path)])
    check_file(tmp_path / "x.h5", "shard")


@pytest.mark.parametrize("complete", [False, True])
def test_the_next_build_tidies_up_its_own_store_alone(noisy, tmp_path, complete):
    out, other = tmp_path / "store.h5", tmp_path / ".other.h5.1-0123abcd.tmp"
    if complete:
        assert run_here(*build_command(noisy, out)).returncode == 0
    images = tmp_path / "store.shards" / "train" / "images"
    mine = [tmp_path / ".store.h5.1-0123abcd.tmp", images / ".00000-k.h5.1-0123abcd.tmp"]
    mine[1].parent.mkdir(parents=True, exist_ok=True)
    for path in (*mine, other):
        path.write_bytes(b"half")
    done = run_here(*build_command(noisy, out))
    assert done.returncode == 0, done.stderr
    assert asides(tmp_path) == [other]
    assert len(Store(out).keys("train")) == 10


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "allow it"),
        (errno.EROFS, "another file system"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ESTALE, "mount it again"),
        (errno.ENODEV, "connected and mounted"),
        (errno.ENXIO, "connected and mounted"),
        (errno.ELOOP, "a link leads back"),
        (errno.ETIMEDOUT, "check the network"),
        (errno.ECONNREFUSED, "check the network"),
        (errno.ENOTDIR, "is a file"),
    ],
)
def test_a_failure_of_the_system_carries_a_remedy(number, remedy):
    text = describe(OSError(number, os.strerror(number), "data/x.h5"))
    assert text.startswith(f"data/x.h5: {os.strerror(number)}; ")
    assert remedy in text


def test_a_file_that_is_too_large_for_us_gets_no_advice_for_the_system(tmp_path):
    (tmp_path / "x").write_bytes(bytes(10))
    with pytest.raises(OSError, match="too large") as caught:
        read_regular(tmp_path / "x", 9)
    assert describe(caught.value) == f"{tmp_path / 'x'}: too large: expected at most 9 bytes"


def test_without_hard_links_a_name_that_is_taken_is_not_taken_again(tmp_path, monkeypatch):
    """As on exFAT and on many network file systems."""

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert publish(tmp_path / "x.h5", b"first", b"", new=True)
    assert not publish(tmp_path / "x.h5", b"second", b"", new=True)
    assert (tmp_path / "x.h5").read_bytes() == b"first"
    assert asides(tmp_path) == []
