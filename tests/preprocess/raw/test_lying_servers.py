"""Servers that lie, flood or dawdle: one message within seconds, and nothing that fills the memory or the disk."""

import contextlib
import itertools
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from preprocess.datasets.base import Archive
from preprocess.errors import DatasetError
from preprocess.raw import download
from preprocess.raw.download import fetch

OK = b"HTTP/1.1 200 OK\r\n"
DIGITS = b"9" * 5_000
BODY = b"content"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, small bounds, no proxy."""
    monkeypatch.setattr(download, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(download, "_ATTEMPTS", 2)
    monkeypatch.setattr(download, "_TIMEOUTS", (5.0, 0.8))
    monkeypatch.setattr(download, "_PATIENCE", 1.0)
    monkeypatch.setattr(download, "_LARGEST", 1_000_000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextlib.contextmanager
def answering(pieces: Iterable[bytes], pause: float = 0.0) -> Iterator[str]:
    """Answer every connection with the same pieces; yield the address."""
    over = threading.Event()

    def answer(client: socket.socket, several: Iterator[bytes]) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            for piece in several:
                if over.wait(pause):
                    return
                client.sendall(piece)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while not over.is_set():
                client, _ = server.accept()
                # An iterable without an end is shared, which does not matter: its pieces are all the same.
                threading.Thread(target=answer, args=(client, iter(pieces)), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/file"
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)


def fails(root: Path, url: str, size: int | None = None) -> str:
    """The message of a download that must fail soon, in little memory, and leave little."""
    begin = time.monotonic()
    tracemalloc.start()
    with pytest.raises(DatasetError) as caught:
        fetch((Archive("x.bin", url, "md5:0", size),), root, download=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - begin < 20
    assert peak < 20_000_000
    assert sum(path.stat().st_size for path in root.rglob("*")) < 2_000_000
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 1_000
    return message


def redirect(to: bytes) -> bytes:
    return b"HTTP/1.1 302 Found\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n"


ANSWERS = {
    "nothing": ([], "gave up after 2 attempts"),
    "junk": ([b"\x16\x03\x01\x02\x00" * 99], "gave up after 2 attempts"),
    "a status without end": ([b"HTTP/1.1 " + b"2" * 99_999], "gave up after 2 attempts"),
    "a reason that a terminal obeys": (
        [b"HTTP/1.1 404 \x1b[31m\xff\x9b\r\n\r\n"],
        "the server answered 404 \ufffd[31m",
    ),
    "a long reason": ([b"HTTP/1.1 404 " + b"no " * 9_999 + b"\r\n\r\n"], "the server answered 404 no no"),
    "a million headers": ([OK + b"A: b\r\n" * 1_000_000], "gave up after 2 attempts"),
    "a header without end": ([OK + b"A: " + b"b" * 9_999_999], "gave up after 2 attempts"),
    "an informal status": ([b"HTTP/1.1 103 Early Hints\r\n\r\n"], "the server answered 103"),
    "a status of a thousand": ([b"HTTP/1.1 1000 Odd\r\n\r\n"], "gave up after 2 attempts"),
    "a length of 5,000 digits": ([OK + b"Content-Length: " + DIGITS + b"\r\n\r\n" + BODY], "is not the published file"),
    "a length of 18 digits": ([OK + b"Content-Length: " + b"9" * 18 + b"\r\n\r\n"], "expected at most 1000000 bytes"),
    "a negative length": ([OK + b"Content-Length: -5\r\n\r\n" + BODY], "is not the published file"),
    "a length in floating point": ([OK + b"Content-Length: 1e9\r\n\r\n" + BODY], "is not the published file"),
    "two lengths": ([OK + b"Content-Length: 7\r\nContent-Length: 9\r\n\r\n" + BODY], ""),
    "a range of 5,000 digits": (
        [b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-" + DIGITS + b"/" + DIGITS + b"\r\n\r\n" + BODY],
        "is not the published file",
    ),
    "a wait of 5,000 digits": (
        [b"HTTP/1.1 503 Busy\r\nRetry-After: " + DIGITS + b"\r\nContent-Length: 0\r\n\r\n"],
        "the server answered 503 Busy; gave up after 2 attempts",
    ),
    "a chunk of no size": ([OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"], "the connection broke"),
    "a chunk of a negative size": ([OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc"], ""),
    "a content that claims to be packed": ([OK + b"Content-Encoding: gzip, br\r\n\r\n" + BODY], "is not the published"),
    "a redirect to a file": ([redirect(b"file:///etc/passwd")], "redirects to file:///etc/passwd, expected an address"),
    "a redirect to junk": ([redirect(b"http://[::1/\xff\x1b")], "cannot be downloaded"),
    "a redirect to a long name": ([redirect(b"http://" + b"a" * 70_000 + b"/")], "gave up after 2 attempts"),
    "a redirect to no host": ([redirect(b"http:///x")], "cannot be downloaded"),
    "a redirect to itself": ([redirect(b"/file")], "more than 10 redirects"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_lies_is_one_message(tmp_path, case):
    pieces, part = ANSWERS[case]
    with answering(pieces) as url:
        message = fails(tmp_path / "raw", url)
    assert part in message


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99, 0.001, "nothing usable came in 1 s"),
    "a redirect with a content": (
        redirect(b"/file").replace(b"Content-Length: 0\r\n", b""),
        bytes(65536),
        0.0,
        "redirects",
    ),
    "content": (OK + b"\r\n", bytes(65536), 0.0, "expected 1000000 bytes, more came"),
    "chunks": (CHUNKED, b"10000\r\n" + bytes(65536) + b"\r\n", 0.0, "expected 1000000 bytes, more came"),
    "a line for the size of a chunk": (CHUNKED, b"1" * 65536, 0.0, "the connection broke"),
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n" * 99, 0.001, "nothing usable came in 1 s"),
    "content in drips": (OK + b"Content-Length: 9999\r\n\r\n", b"x", 0.05, "only"),
    "headers in drips": (OK, b"A", 0.05, "nothing usable came in 1 s"),
}


@pytest.mark.parametrize("case", FLOODS)
def test_an_answer_without_an_end_is_broken_off(tmp_path, case):
    start, more, pause, part = FLOODS[case]

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            return itertools.chain([start], itertools.repeat(more))

    with answering(Pieces(), pause) as url:
        message = fails(tmp_path / "raw", url)
    assert part in message


def test_a_published_size_bounds_what_comes(tmp_path):
    with answering([OK + b"\r\n" + bytes(999_999)]) as url:
        assert "expected 5000 bytes, more came" in fails(tmp_path / "raw", url, 5_000)
    assert not (tmp_path / "raw" / "x.bin.part").exists()


def test_one_byte_at_a_time_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "_MOST_TRIES", 9)
    partial = b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nx"
    with answering([partial]) as url:
        assert "gave up after" in fails(tmp_path / "raw", url)


def test_a_redirect_from_https_leads_to_no_http():
    with pytest.raises(ValueError, match="redirects to http://b/x, expected an address with https"):
        download._redirected("https://a/x", "http://b/x")
    assert download._redirected("http://a/x", "https://b/y") == "https://b/y"
