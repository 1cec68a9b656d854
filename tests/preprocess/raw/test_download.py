"""Fetching from a real server that misbehaves, in real processes that are killed, and what lies on the disk then."""

import errno
import hashlib
import io
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preprocess.datasets.base import Archive
from preprocess.errors import DatasetError, MissingDataError, UnavailableError
from preprocess.raw import download
from preprocess.raw.download import fetch, unfinished
from tests.conftest import ROOT
from tests.preprocess.raw.loopback import Behaviour, Loopback, serving

BODY = random.Random(0).randbytes(500_000)
DIGEST = "sha256:" + hashlib.sha256(BODY).hexdigest()
OTHER = "md5:" + hashlib.md5(b"other").hexdigest()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, no proxy."""
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving(BODY) as running:
        yield running


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "raw"


def published(server: Loopback, name: str = "x.bin", digest: str | None = DIGEST, size: int | None = None) -> Archive:
    return Archive(name, server.url, digest, size)


def bring(root: Path, *archives: Archive) -> None:
    fetch(archives, root, download=True)


def fails(root: Path, *archives: Archive) -> str:
    """The message of a download that must fail."""
    with pytest.raises(DatasetError) as caught:
        bring(root, *archives)
    assert type(caught.value) in (DatasetError, UnavailableError)
    return str(caught.value)


def files(root: Path) -> dict[str, bytes]:
    """All files by path, but for the lock."""
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found.pop(".fetch.lock", None)
    return found


def tar_of(**members: bytes) -> bytes:
    """A tar file; two underscores in a name are a slash."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def place(root: Path, **contents: bytes) -> None:
    """Put files into the root; two underscores in a name are a dot."""
    root.mkdir(exist_ok=True)
    for name, content in contents.items():
        (root / name.replace("__", ".")).write_bytes(content)


# Downloads that need no second attempt.


@pytest.mark.parametrize("size", [None, len(BODY)])
@pytest.mark.parametrize("digest", [None, DIGEST, "md5:" + hashlib.md5(BODY).hexdigest().upper()])
def test_a_download_arrives_whole_under_its_name_and_leaves_nothing_else(server, root, digest, size):
    bring(root, published(server, digest=digest, size=size))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None]
    assert server.seen[0].encoding == "identity"


@pytest.mark.parametrize("framing", ["chunks", "close"])
def test_a_body_of_unknown_length_is_taken_to_its_end(server, root, framing):
    server.always = Behaviour(framing=framing)
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}


def test_a_file_that_the_server_calls_encoded_is_not_decoded(root):
    packed = subprocess.run(["gzip", "-c"], input=b"content" * 999, capture_output=True, check=True).stdout
    with serving(packed) as server:
        server.always = Behaviour(headers={"Content-Encoding": "x-gzip"})
        bring(root, published(server, digest="md5:" + hashlib.md5(packed).hexdigest()))
    assert files(root) == {"x.bin": packed}


def test_an_empty_file_is_a_file(root):
    with serving(b"") as server:
        bring(root, published(server, digest=None))
    assert files(root) == {"x.bin": b""}


# Interrupted downloads.


def test_a_cut_download_goes_on_where_it_stopped(server, root, capsys):
    server.then = [Behaviour(cut=200_000)]
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None, "bytes=200000-"]
    assert server.sent == len(BODY)
    assert "retrying in 0.001 s" in capsys.readouterr().err


def test_attempts_that_bring_bytes_are_not_counted(server, root):
    server.then = [Behaviour(cut=30_000) for _ in range(12)]
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None, *(f"bytes={30_000 * index}-" for index in range(1, 13))]
    assert server.sent == len(BODY)


def test_bytes_reset_the_count_of_attempts_and_nothing_else_does(server, root):
    down = [Behaviour(status=500)]
    server.then = [*down * 4, Behaviour(cut=1000), *down * 4, Behaviour(cut=1000), *down * 5]
    fails(root, published(server))
    assert len(server.seen) == 4 + 1 + 4 + 1 + 5
    assert files(root) == {"x.bin.part": BODY[:2000]}


@pytest.mark.parametrize("framing", ["chunks", "close"])
def test_a_cut_body_of_unannounced_length_goes_on(server, root, framing):
    server.then = [Behaviour(cut=200_000, framing=framing)]
    bring(root, published(server, size=len(BODY)))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None, "bytes=200000-"]


def test_a_stalled_download_goes_on(server, root, monkeypatch):
    monkeypatch.setattr(download, "_TIMEOUTS", (5.0, 0.2))
    stalled = threading.Event()
    server.then = [Behaviour(cut=4 * 65536, hold=stalled)]
    bring(root, published(server))
    stalled.set()
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None, f"bytes={4 * 65536}-"]


def test_a_server_without_ranges_sends_all_again(server, root):
    server.then, server.always = [Behaviour(cut=200_000)], Behaviour(ranges=False)
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None, "bytes=200000-"]
    assert server.sent == 200_000 + len(BODY)


def test_a_server_without_ranges_that_always_breaks_off_is_given_up(server, root):
    server.always = Behaviour(cut=200_000, ranges=False)
    assert "200000 bytes are kept" in fails(root, published(server))
    assert len(server.seen) == 1 + 5  # one that brought bytes, five that brought the same again


def test_a_range_that_starts_elsewhere_is_not_appended(server, root):
    server.then = [Behaviour(cut=200_000), Behaviour(shift=7)]
    bring(root, published(server, digest=None))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None, "bytes=200000-", None]


def test_a_range_without_a_place_is_not_appended(server, root):
    server.then = [Behaviour(cut=200_000), Behaviour(headers={"Content-Range": "bytes"})]
    bring(root, published(server, digest=None))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None, "bytes=200000-", None]


def test_a_part_that_is_complete_is_taken(server, root):
    place(root, x__bin__part=BODY)
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == ["bytes=500000-"]
    assert server.sent == 0


def test_a_part_of_the_known_size_needs_no_server(server, root):
    place(root, x__bin__part=BODY)
    bring(root, published(server, size=len(BODY)))
    assert files(root) == {"x.bin": BODY}
    assert not server.seen


def test_a_part_that_is_too_long_is_begun_anew(server, root):
    place(root, x__bin__part=BODY + b"more")
    bring(root, published(server, digest=None))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == ["bytes=500004-", None]


CHILD = """
import sys
from pathlib import Path
from preprocess.datasets.base import Archive
from preprocess.raw.download import fetch
name, url, digest, root = sys.argv[1:]
fetch((Archive(name, url, digest),), Path(root), True)
"""


def start(archive: Archive, root: Path) -> subprocess.Popen:
    """``fetch`` in a process of its own."""
    command = [sys.executable, "-c", CHILD, archive.name, archive.url, archive.digest, root]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited for 30 s")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_process_leaves_a_part_from_which_the_next_goes_on(server, root, number):
    never = threading.Event()
    server.then = [Behaviour(cut=300_000, hold=never)]
    part = root / "x.bin.part"
    with start(published(server), root) as child:
        wait_for(lambda: part.exists() and part.stat().st_size >= 200_000)
        child.send_signal(number)
        child.communicate(timeout=30)
    never.set()
    assert child.returncode == -number
    kept = part.stat().st_size
    assert files(root) == {"x.bin.part": BODY[:kept]}
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None, f"bytes={kept}-"]
    assert server.seen[1].sent == len(BODY) - kept


def test_two_processes_at_once_download_once(root):
    body = tar_of(set__a=BODY)
    go_on = threading.Event()
    with serving(body) as server:
        server.then = [Behaviour(cut=200_000, hold=go_on)]
        archive = published(server, "x.tar", "sha256:" + hashlib.sha256(body).hexdigest())
        with start(archive, root) as first:
            wait_for(lambda: server.sent == 200_000)
            with start(archive, root) as second:
                assert second.stderr.readline() == f"another process is downloading into {root}; waiting for it\n"
                go_on.set()
                told = second.communicate(timeout=30)[1]
            first.communicate(timeout=30)
    assert (first.returncode, second.returncode) == (0, 0)
    assert "waiting" not in told
    assert files(root) == {"x.tar": body, "set/a": BODY}
    assert server.sent == len(body)


# Content that is not the published one.


def test_a_whole_download_with_a_wrong_digest_is_removed(server, root):
    message = fails(root, published(server, digest=OTHER))
    assert f"expected md5 {OTHER[4:]}, found {hashlib.md5(BODY).hexdigest()}" in message
    assert server.url in message
    assert f"save it as {root / 'x.bin'}" in message
    assert files(root) == {}
    assert len(server.seen) == 1


def test_pieces_that_do_not_fit_are_fetched_once_more_from_the_start(server, root, capsys):
    place(root, x__bin__part=b"of another version")
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == ["bytes=18-", None]
    assert "starting over" in capsys.readouterr().err


def test_the_start_from_zero_may_be_cut_often_too(server, root):
    place(root, x__bin__part=b"?" * 499_000)
    server.then = [Behaviour(), *[Behaviour(cut=60_000)] * 8]
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}
    assert len(server.seen) == 1 + 9


def test_pieces_are_fetched_from_the_start_once_only(server, root):
    server.always = Behaviour(cut=300_000)
    assert "is not the published file" in fails(root, published(server, digest=OTHER))
    assert server.ranges == [None, "bytes=300000-"] * 2
    assert files(root) == {}


def test_another_size_is_refused_before_the_body(server, root):
    message = fails(root, published(server, size=499_999))
    assert "expected 499999 bytes, the server announces 500000" in message
    assert files(root) == {}


def test_another_size_is_refused_when_a_download_goes_on(server, root):
    place(root, x__bin__part=BODY[:100])
    assert "the server announces 500000" in fails(root, published(server, size=499_999))
    assert files(root) == {"x.bin.part": BODY[:100]}


def test_a_body_of_unknown_length_has_to_have_the_known_size(server, root):
    server.always = Behaviour(framing="chunks")
    assert "expected 499999 bytes, more came" in fails(root, published(server, digest=None, size=499_999))
    assert files(root) == {}


# Servers that answer with errors, or not at all.


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_refusal_is_final(server, root, status):
    server.always = Behaviour(status=status)
    message = fails(root, published(server))
    assert f"{server.url}: the server answered {status} " in message
    assert message.endswith(f"download it manually and save it as {root / 'x.bin'} ({DIGEST})")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server, root, capsys, status):
    server.then = [Behaviour(status=status)]
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}
    assert f"x.bin: the server answered {status} " in capsys.readouterr().err


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the downloader would have slept; it does not."""
    slept: list[float] = []
    monkeypatch.setattr(download, "_FIRST_WAIT", 1.0)
    monkeypatch.setattr("tenacity.nap.time.sleep", slept.append)
    return slept


def test_a_server_that_stays_down_is_given_up_after_waits_that_double(server, root, waits):
    place(root, x__bin__part=BODY[:1000])
    server.always = Behaviour(status=503)
    message = fails(root, published(server))
    assert f"{server.url}: the server answered 503 Service Unavailable; gave up after 5 attempts" in message
    assert f"1000 bytes are kept in {root / 'x.bin.part'}: rerun the command to resume" in message
    assert message.endswith(f"or download it manually and save it as {root / 'x.bin'} ({DIGEST})")
    assert waits == [1, 2, 4, 8]
    assert len(server.seen) == 5
    assert files(root) == {"x.bin.part": BODY[:1000]}


def test_no_wait_is_longer_than_half_a_minute(server, root, waits, monkeypatch):
    monkeypatch.setattr(download, "_ATTEMPTS", 8)
    server.always = Behaviour(status=503)
    fails(root, published(server))
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def test_bytes_bring_the_shortest_wait_back(server, root, waits):
    server.then = [*[Behaviour(status=503)] * 3, Behaviour(cut=1000), Behaviour(status=503)]
    bring(root, published(server))
    assert waits == [1, 2, 4, 1, 1]


@pytest.mark.parametrize(("asked", "wait"), [("7", 7), ("3600", 60), ("0", 1), ("Fri, 31 Dec 1999 23:59:59 GMT", 1)])
def test_a_server_may_ask_for_a_wait_of_up_to_a_minute(server, root, waits, asked, wait):
    server.then = [Behaviour(status=503, headers={"Retry-After": asked})]
    bring(root, published(server))
    assert waits == [wait]


def test_a_closed_port_is_tried_again_and_named(root, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x.bin"
    message = fails(root, Archive("x.bin", url, None))
    assert f"{url}: Connection refused; gave up after 5 attempts" in message
    assert "0 bytes are kept" in message
    assert capsys.readouterr().err.count("x.bin: Connection refused; retrying") == 4


def test_a_url_of_an_unknown_kind_is_not_tried_again(root):
    assert "gopher://x/y cannot be downloaded" in fails(root, Archive("x.bin", "gopher://x/y", None))


# The disk.


@pytest.mark.parametrize("size", [None, len(BODY)])
def test_a_download_for_which_there_is_no_room_is_not_begun(server, root, monkeypatch, size):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 399_999))
    place(root, x__bin__part=BODY[:100_000])
    message = fails(root, published(server, size=size))
    assert "needs 400.0 kB of disk space, but only 400.0 kB is free" in message
    assert files(root) == {"x.bin.part": BODY[:100_000]}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 400_000))
    bring(root, published(server, size=size))
    assert files(root) == {"x.bin": BODY}


def test_a_full_disk_keeps_the_part_and_is_no_reason_to_try_again(server, root):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
        with pytest.raises(OSError, match="File too large") as caught:
            bring(root, published(server))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.errno == errno.EFBIG
    kept = (root / "x.bin.part").stat().st_size
    assert 200_000 < kept <= 300_000
    bring(root, published(server))
    assert files(root) == {"x.bin": BODY}
    assert server.ranges == [None, f"bytes={kept}-"]


# What lies there, and what does not.


def test_without_download_all_missing_files_are_named_and_nothing_is_touched(server, root):
    archives = (published(server, "a.tar"), Archive("b.mat", None, None))
    with pytest.raises(MissingDataError) as caught:
        fetch(archives, root, download=False)
    assert str(caught.value).splitlines() == [
        f"a.tar is missing: download it from {server.url}; save it as {root / 'a.tar'} ({DIGEST})",
        f"b.mat is missing: it must be downloaded manually; save it as {root / 'b.mat'}",
    ]
    assert not root.exists()
    assert not server.seen


def test_what_can_only_be_fetched_by_hand_is_asked_for_before_anything_is_downloaded(server, root):
    with pytest.raises(MissingDataError) as caught:
        bring(root, published(server, "a.tar"), Archive("b.mat", None, None))
    assert "b.mat is missing" in str(caught.value)
    assert "a.tar" not in str(caught.value)
    assert not server.seen
    assert not root.exists()


def test_nothing_to_fetch_makes_no_folder(root):
    bring(root)
    assert not root.exists()


def test_a_file_placed_by_hand_is_checked_and_unpacked_without_a_download(server, root, capsys):
    body = tar_of(set__a=b"1", set__deep__b=b"2", c=b"3")
    place(root, x__tar=body)
    fetch((Archive("x.tar", server.url, "md5:" + hashlib.md5(body).hexdigest()),), root, download=False)
    assert files(root) == {"x.tar": body, "set/a": b"1", "set/deep/b": b"2", "c": b"3"}
    assert not server.seen
    assert f"{root / 'x.tar'} was unpacked and kept; you may remove it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("digest", "size", "reason"),
    [
        (DIGEST, None, f"expected sha256 {DIGEST[7:]}, found {hashlib.sha256(b'mine').hexdigest()}"),
        (None, 500_000, "expected 500000 bytes, found 4"),
    ],
)
def test_a_wrong_file_placed_by_hand_is_named_and_left_alone(server, root, digest, size, reason):
    place(root, x__tar=b"mine")
    message = fails(root, published(server, "x.tar", digest, size))
    assert message == (f"{root / 'x.tar'} is not the published file: {reason}; remove it and rerun the command")
    assert files(root) == {"x.tar": b"mine"}
    assert not server.seen


# Unpacking.


@pytest.fixture
def packed(root: Path) -> Iterator[tuple[Archive, Loopback]]:
    """An archive of three entries, and its server."""
    body = tar_of(a__1=b"1", b=b"2", c__3=b"3")
    with serving(body) as server:
        yield published(server, "x.tar", "md5:" + hashlib.md5(body).hexdigest()), server


CONTENT = {"a/1": b"1", "b": b"2", "c/3": b"3"}


def test_what_was_unpacked_is_not_fetched_or_unpacked_again(packed, root, capsys):
    archive, server = packed
    bring(root, archive)
    assert files(root) == {"x.tar": server.body, **CONTENT}
    (root / "x.tar").unlink()
    shutil.rmtree(root / "a")
    capsys.readouterr()
    fetch((archive,), root, download=False)
    assert files(root) == {"b": b"2", "c/3": b"3"}
    assert len(server.seen) == 1
    marker = root / ".unpacked" / "x.tar"
    assert f"x.tar was already unpacked; to unpack it again, remove {marker}\n" == capsys.readouterr().err
    marker.rmdir()
    (root / "b").unlink()
    shutil.rmtree(root / "c")
    bring(root, archive)
    assert files(root) == {"x.tar": server.body, **CONTENT}


def test_archives_are_brought_one_after_the_other(packed, server, root):
    bring(root, packed[0], published(server, "labels.mat"))
    assert files(root) == {"x.tar": packed[1].body, "labels.mat": BODY, **CONTENT}
    assert not (root / ".unpacked" / "labels.mat").exists()


def test_unpacking_that_was_killed_begins_anew(packed, root):
    archive, server = packed
    (root / ".unpacked" / "x.tar.tmp" / "a").mkdir(parents=True)
    (root / ".unpacked" / "x.tar.tmp" / "a" / "half").write_bytes(b"of a file")
    place(root, x__tar=server.body)
    assert not unfinished((archive,), root)  # nothing of it is in the root
    bring(root, archive)
    assert files(root) == {"x.tar": server.body, **CONTENT}
    assert [path.name for path in (root / ".unpacked").iterdir()] == ["x.tar"]


def test_moving_that_was_killed_goes_on(packed, root, capsys):
    archive, server = packed
    bring(root, archive)
    for name in ("b", "c"):
        (root / name).rename(root / ".unpacked" / "x.tar" / name)
    (root / "x.tar").unlink()
    assert unfinished((archive,), root)
    capsys.readouterr()
    fetch((archive,), root, download=False)
    assert capsys.readouterr().err == ""  # no word of a file that is gone
    assert not unfinished((archive,), root)
    assert files(root) == CONTENT
    assert len(server.seen) == 1


def test_a_kill_at_any_step_of_unpacking_leaves_what_the_next_run_finishes(packed, root, monkeypatch):
    archive, server = packed
    place(root, x__tar=server.body)
    rename, steps = Path.rename, 0

    def killed(path: Path, target: Path) -> Path:
        nonlocal steps
        steps += 1
        if steps % 2:  # every other run gets one step further
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            bring(root, archive)
    bring(root, archive)
    assert files(root) == {"x.tar": server.body, **CONTENT}


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_an_entry_in_the_way_is_named_and_kept(packed, root, make):
    archive, server = packed
    root.mkdir()
    make(root / "b")
    message = fails(root, archive)
    assert message == f"{root / 'b'} blocks the contents of x.tar; move it away and rerun the command"
    assert os.path.lexists(root / "b")
    assert not (root / "a").exists()
    (root / "b").rename(root / "mine")
    bring(root, archive)
    assert CONTENT.items() <= files(root).items()
    assert len(server.seen) == 1


def test_a_malicious_archive_leaves_nothing(root):
    body = tar_of(good=b"1", a__1=b"2", **{"..__out": b"3"})
    with serving(body) as server:
        message = fails(root, published(server, "x.tar", digest=None))
    assert f"{root / 'x.tar'} contains '../out', which would be written outside its folder" in message
    assert files(root) == {"x.tar": body}
    assert not list((root / ".unpacked").iterdir())
    assert {path.name for path in root.parent.iterdir()} == {"raw"}


def test_the_command_line_does_not_load_the_http_client_before_it_is_needed(run):
    program = "import sys, preprocess.cli; print({'requests', 'tenacity'} & set(sys.modules))"
    assert run("-c", program).stdout == "set()\n"
