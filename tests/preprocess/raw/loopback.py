"""A real HTTP server on 127.0.0.1 that publishes one file and misbehaves as it is told."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Behaviour:
    """How one request is answered.

    Parameters
    ----------
    status : answer with this and no content; None for the file.
    headers : in addition, or instead of those that the server would send.
    ranges : serve a range that is asked for; False sends the whole file whatever is asked.
    shift : start a range so many bytes after the one that was asked for.
    cut : close the connection after so many bytes of the content.
    hold : after ``cut`` bytes, wait for this event and send the rest.
    framing : how the content's end is known: its "length", "chunks", or the "close" of the connection.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    shift: int = 0
    cut: int | None = None
    hold: threading.Event | None = None
    framing: str = "length"


@dataclass
class Seen:
    """A request that came, and how many bytes of content went out."""

    path: str
    range: str | None
    encoding: str | None
    sent: int = 0


class Loopback(ThreadingHTTPServer):
    """Publishes ``body`` under every path but those of ``bodies``.

    ``then`` says how to answer the next requests, ``always`` all later ones.
    """

    daemon_threads = True

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.bodies: dict[str, bytes] = {}
        self.then: list[Behaviour] = []
        self.always = Behaviour()
        self.seen: list[Seen] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file"

    @property
    def ranges(self) -> list[str | None]:
        """The Range headers of all requests."""
        return [seen.range for seen in self.seen]

    @property
    def paths(self) -> list[str]:
        """The paths of all requests."""
        return [seen.path for seen in self.seen]

    @property
    def sent(self) -> int:
        """Bytes of content of all answers."""
        return sum(seen.sent for seen in self.seen)

    def handle_error(self, *_: object) -> None:
        """A client that went away is what tests do."""


@contextlib.contextmanager
def serving(body: bytes) -> Iterator[Loopback]:
    """Serve in a thread for as long as the context lasts."""
    with Loopback(body) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.005,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def do_GET(self) -> None:
        self.close_connection = True
        seen = Seen(self.path, self.headers["Range"], self.headers["Accept-Encoding"])
        self.server.seen.append(seen)
        behaviour = self.server.then.pop(0) if self.server.then else self.server.always
        body, start, status = self.server.bodies.get(self.path, self.server.body), 0, 200
        if seen.range and behaviour.ranges:
            start, status = int(seen.range.removeprefix("bytes=").removesuffix("-")) + behaviour.shift, 206
        headers = {"Content-Length": str(len(body) - start)}
        if behaviour.status:
            body, status, headers = b"", behaviour.status, {"Content-Length": "0"}
        elif start >= len(body) > 0:
            body, status, headers = b"", 416, {"Content-Length": "0", "Content-Range": f"bytes */{len(body)}"}
        elif status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if behaviour.framing != "length":
            del headers["Content-Length"]
        if behaviour.framing == "chunks":
            headers["Transfer-Encoding"] = "chunked"
        self._head(status, headers | behaviour.headers)
        self._content(body[start:], behaviour, seen)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _content(self, content: bytes, behaviour: Behaviour, seen: Seen) -> None:
        self._write(content[: behaviour.cut], behaviour, seen)
        if behaviour.hold is not None:
            behaviour.hold.wait(30)
        if behaviour.cut is None or behaviour.hold is not None:
            self._write(content[len(content[: behaviour.cut]) :], behaviour, seen)
            if behaviour.framing == "chunks":
                self.wfile.write(b"0\r\n\r\n")

    def _write(self, content: bytes, behaviour: Behaviour, seen: Seen) -> None:
        if content:
            in_chunks = behaviour.framing == "chunks"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(content), content) if in_chunks else content)
            self.wfile.flush()
            seen.sent += len(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""
