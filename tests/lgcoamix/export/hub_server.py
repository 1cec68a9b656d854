"""A Hugging Face hub on loopback: the routes by which huggingface_hub looks up, creates, fills and reads repositories.

It takes large files as the LFS protocol has it, refuses bytes that do not fit their digest, and remembers each request.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import yaml

LARGE = (".safetensors", ".onnx", ".pt")  # as .gitattributes of a new repository has it
NAME = r"([\w.-]+/[\w.-]+)"
DROP, HOLD = -1, -2  # answers: close the connection without one; leave it open


@dataclass
class Repository:
    """Files by name, and how many commits made them."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return f"{len(self.messages) + 1:040x}"


@dataclass
class Hub:
    """State of the server.

    Parameters
    ----------
    address : where it listens.
    refusals : answers instead of the sound ones, by route: status and text.
    warnings : what it says about the head of every card.
    requests : route and token of every request.
    held : set once a request is left without an answer.
    """

    address: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    storage: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)

    def create(self, body: bytes) -> tuple[int, object]:
        given = json.loads(body)
        name = f"{given['organization']}/{given['name']}"
        if name in self.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.address}/{name}"}
        self.repositories[name] = Repository(given.get("visibility") == "private")
        return 200, {"url": f"{self.address}/{name}"}

    def describe(self, name: str) -> tuple[int, object]:
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}
        repository = self.repositories[name]
        siblings = [{"rfilename": path} for path in (".gitattributes", *repository.files)]
        head = re.match(r"---\n(.*?)\n---\n", repository.files.get("README.md", b"").decode(), re.DOTALL)
        found = {"id": name, "sha": repository.sha, "private": repository.private, "siblings": siblings}
        return 200, found | ({"cardData": yaml.safe_load(head[1])} if head else {})

    def validate(self, body: bytes) -> tuple[int, object]:
        assert json.loads(body)["content"].startswith("---\n")
        return 200, {"errors": [], "warnings": [{"message": text} for text in self.warnings]}

    def sort(self, name: str, body: bytes) -> tuple[int, object]:
        """Say of each file which way it takes, and the digest of the one that is there."""
        files = self.repositories[name].files
        found = []
        for given in json.loads(body)["files"]:
            path = given["path"]
            kind, old = "lfs" if path.endswith(LARGE) else "regular", files.get(path)
            oid = None if old is None else hashlib.sha256(old).hexdigest() if kind == "lfs" else _git_digest(old)
            found.append({"path": path, "uploadMode": kind, "shouldIgnore": False, "oid": oid})
        return 200, {"files": found}

    def batch(self, body: bytes) -> tuple[int, object]:
        objects = []
        for given in json.loads(body)["objects"]:
            href = f"{self.address}/storage/{given['oid']}"
            actions = {"upload": {"href": href}, "verify": {"href": f"{self.address}/verify"}}
            objects.append(given if given["oid"] in self.storage else {**given, "actions": actions})
        return 200, {"transfer": "basic", "objects": objects}

    def store(self, oid: str, body: bytes) -> tuple[int, object]:
        if hashlib.sha256(body).hexdigest() != oid:
            return 422, {"error": "these bytes have another digest"}
        self.storage[oid] = body
        return 200, {}

    def verify(self, body: bytes) -> tuple[int, object]:
        given = json.loads(body)
        return 200 if len(self.storage[given["oid"]]) == given["size"] else 422, {}

    def commit(self, name: str, body: bytes) -> tuple[int, object]:
        repository = self.repositories[name]
        for line in map(json.loads, body.splitlines()):
            kind, value = line["key"], line["value"]
            if kind == "header":
                repository.messages.append(value["summary"])
            elif kind == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                repository.files[value["path"]] = self.storage[value["oid"]]
            elif kind == "deletedFile":
                del repository.files[value["path"]]
        return 200, {"commitUrl": f"{self.address}/{name}/commit/{repository.sha}", "commitOid": repository.sha}


ROUTES = {
    "describe": rf"GET /api/models/{NAME}(?:/revision/main)?",
    "create": r"POST /api/repos/create",
    "validate": r"POST /api/validate-yaml",
    "sort": rf"POST /api/models/{NAME}/preupload/main",
    "batch": r"POST /[\w.-]+/[\w.-]+\.git/info/lfs/objects/batch",
    "store": r"PUT /storage/(\w+)",
    "verify": r"POST /verify",
    "commit": rf"POST /api/models/{NAME}/commit/main",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def answer(self) -> None:
        body = self._body()
        line = f"{self.command} {urlsplit(self.path).path}"
        for route, pattern in ROUTES.items():
            if (found := re.fullmatch(pattern, line)) is None:
                continue
            self.hub.requests.append((route, self.headers["Authorization"]))
            if route in self.hub.refusals:
                status, text = self.hub.refusals[route]
                answer = {"error": text} if text else {}
            else:
                parts = (*found.groups(), *([body] if self.command != "GET" else []))
                status, answer = getattr(self.hub, route)(*parts)
            if status in (DROP, HOLD):
                self.hub.held.set()
                if status == HOLD:
                    self.rfile.read(1)  # until the client is gone
                self.close_connection = True
                self.connection.close()
                return
            code = {"X-Error-Code": "RepoNotFound"} if (route, status) == ("describe", 404) else {}
            self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json", **code})
            return
        self._send_file()

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - names of http.server

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send_file(self) -> None:
        found = re.fullmatch(rf"/{NAME}/resolve/\w+/(.+)", urlsplit(self.path).path)
        repository = self.hub.repositories.get(found[1]) if found else None
        if repository is None or found[2] not in repository.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = repository.files[found[2]]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send(200, content, {"ETag": etag, "X-Repo-Commit": repository.sha})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal of the tests."""


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
    """Serve a hub without repositories."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        hub = Hub(f"http://127.0.0.1:{server.server_address[1]}")
        server.RequestHandlerClass = type("Handler", (_Handler,), {"hub": hub})
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()


def _git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
