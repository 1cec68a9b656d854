"""Servers that lie: on 127.0.0.1, byte for byte as told, whatever was asked."""

import contextlib
import gzip
import hashlib
import io
import socketserver
import tarfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.hostile.case import HARMLESS, REFUSED, Case
from tests.hostile.odd import MARK, TEXTS

_BUILD = frozenset({"build cub"})


def _body() -> bytes:
    """What the data set publishes: an archive without CUB in it, so that no build ever succeeds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("zebra.txt")
        info.size = 10
        info.mtime = 1
        tar.addfile(info, io.BytesIO(b"0123456789"))
    return buffer.getvalue()


BODY = _body()


@contextlib.contextmanager
def serving(answer: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """Serve, and yield the port and the archive as an adapter would describe it."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.settimeout(10)
                self.request.recv(1 << 16)
                told = answer.replace(b"<port>", str(self.server.server_address[1]).encode())
                for number, part in enumerate(told.split(b"<wait>")):
                    time.sleep(0.3 * bool(number))
                    self.request.sendall(part)

    class Lying(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """A client that goes away is what we want."""

    with Lying(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        port = server.server_address[1]
        digest = "sha256:" + hashlib.sha256(BODY).hexdigest()
        try:
            yield (
                port,
                {"name": "archive.tar", "url": f"http://127.0.0.1:{port}/a", "digest": digest, "size": len(BODY)},
            )
        finally:
            server.shutdown()
            thread.join()


def servers() -> Iterator[Case]:
    """Each answers every request with the same bytes."""
    for name, answer in _answers().items():
        yield Case(name, lambda place: None, REFUSED, _BUILD, base="nothing", answer=answer)
    for name, text in TEXTS.items():
        raw = text.encode().replace(b"\n", b" ").replace(b"\r", b" ")
        for what, answer in {
            "reason": b"HTTP/1.1 404 " + raw + b"\r\nContent-Length: 0\r\n\r\n",
            "place": b"HTTP/1.1 302 Found\r\nLocation: " + raw + b"\r\nContent-Length: 0\r\n\r\n",
            "range": b"HTTP/1.1 206 OK\r\nContent-Range: " + raw + b"\r\nContent-Length: 1\r\n\r\nx",
        }.items():
            yield Case(f"{what} of {name}", lambda place: None, HARMLESS, _BUILD, base="nothing", answer=answer)


def _head(status: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1") + body


def _answers() -> dict[str, bytes]:
    length = f"Content-Length: {len(BODY)}"
    bomb = gzip.compress(bytes(1 << 28))
    to = {
        "itself": "http://127.0.0.1:<port>/a",
        "a file": "file:///etc/passwd",
        "ftp": "ftp://127.0.0.1/x",
        "nowhere": "http://nowhere.invalid/x",
        "another machine": "http://192.0.2.1/x",
        "a port that is none": "http://127.0.0.1:99999/",
        "brackets": "http://[::1",
        "nothing": "",
        "no address": "http://",
        "data": "data:text/plain,zebra",
        "a user": "http://user:password@127.0.0.1:<port>/",
        "far": "/" + "a" * 60_000,
        "a script": "javascript:alert(1)",
        "an odd letter": "http://\xff\xfe/",
        "a long label": f"http://{'a' * 300}.invalid/",
    }
    return {
        **{
            f"redirect to {name}": _head("302 Found", f"Location: {where}", "Content-Length: 0")
            for name, where in to.items()
        },
        "redirect without a place": _head("301 Moved", "Content-Length: 0"),
        "nothing": b"",
        "garbage": bytes(range(256)) * 100,
        "another protocol": b"SSH-2.0-zebra\r\n",
        "HTTP/9.9": b"HTTP/9.9 200 OK\r\n\r\n",
        "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
        "status 99": _head("99 OK"),
        "status 999": _head("999 OK", "Content-Length: 0"),
        "status of 5,000 digits": _head("9" * 5000 + " OK"),
        "status 204": _head("204 No"),
        "status 304": _head("304 Same"),
        "status 401": _head("401 No", "WWW-Authenticate: Basic realm=x", "Content-Length: 0"),
        "status 100 for ever": _head("100 Continue") * 2000,
        "10,000 headers": _head("200 OK", *(f"X-{number}: 1" for number in range(10_000))),
        "a header of a megabyte": _head("200 OK", "X: " + "a" * (1 << 20)),
        "a header without colon": _head("200 OK", MARK),
        "length negative": _head("200 OK", "Content-Length: -5", body=BODY),
        "length of letters": _head("200 OK", "Content-Length: zebra", body=b"x"),
        "length of 5,000 digits": _head("200 OK", "Content-Length: " + "9" * 5000, body=b"x"),
        "length of 10^18": _head("200 OK", f"Content-Length: {10**18}", body=BODY),
        "two lengths": _head("200 OK", "Content-Length: 5", "Content-Length: 7", body=b"12345"),
        "length short": _head("200 OK", "Content-Length: 3", body=BODY),
        "length long": _head("200 OK", f"Content-Length: {len(BODY) + 5}", body=BODY),
        "other content": _head("200 OK", length, body=b"z" * len(BODY)),
        "256 MB without length": _head("200 OK", body=bytes(1 << 28)),
        "packed bomb": _head("200 OK", "Content-Encoding: gzip", f"Content-Length: {len(bomb)}", body=bomb),
        "packed garbage": _head("200 OK", "Content-Encoding: gzip", "Content-Length: 5", body=b"zebra"),
        "packed in an unknown way": _head("200 OK", "Content-Encoding: zebra", length, body=BODY),
        "chunks of letters": _head("200 OK", "Transfer-Encoding: chunked", body=b"zebra\r\n"),
        "a vast chunk": _head("200 OK", "Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\nx"),
        "a negative chunk": _head("200 OK", "Transfer-Encoding: chunked", body=b"-5\r\nx"),
        "a chunk of a long number": _head("200 OK", "Transfer-Encoding: chunked", body=b"0" * 100_000 + b"\r\n"),
        "part that was not asked for": _head(
            "206 OK", f"Content-Range: bytes 5-9/{len(BODY)}", "Content-Length: 5", body=b"12345"
        ),
        "part of letters": _head("206 OK", "Content-Range: bytes a-b/c", "Content-Length: 5", body=b"12345"),
        "part of 5,000 digits": _head(
            "206 OK", f"Content-Range: bytes {'9' * 5000}-9/10", "Content-Length: 5", body=b"12345"
        ),
        "no part": _head("416 No", "Content-Length: 0", "Content-Range: bytes */-5"),
        "later, in 10^9 s": _head("503 Later", "Retry-After: 1000000000", "Content-Length: 0"),
        "later, in -1 s": _head("503 Later", "Retry-After: -1", "Content-Length: 0"),
        "later, in letters": _head("503 Later", f"Retry-After: {MARK}\x1b[2J", "Content-Length: 0"),
        "later, in 5,000 digits": _head("503 Later", "Retry-After: " + "9" * 5000, "Content-Length: 0"),
        "later, at a date": _head("503 Later", "Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", "Content-Length: 0"),
        "cookies": _head("200 OK", *(f"Set-Cookie: a{number}=b" for number in range(50)), "Content-Length: 0"),
        "drops in the middle": _head("200 OK", length, body=BODY[:100]),
        "drips": _head("200 OK", length, body=b"<wait>".join([BODY[:10], BODY[10:20], BODY[20:]])),
    }
