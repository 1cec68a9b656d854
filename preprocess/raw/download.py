"""Download, check and unpack the published files of a data set. Rerunning the same command resumes."""

import contextlib
import functools
import hashlib
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests import Response
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, TimeRemainingColumn, TransferSpeedColumn
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from urllib3.exceptions import HTTPError

from preprocess.datasets.base import Archive, located, renamed
from preprocess.errors import DatasetError, MissingDataError, UnavailableError
from preprocess.files import lock
from preprocess.inputs import require_regular
from preprocess.raw.unpack import is_archive, unpack
from preprocess.terminal import Bars, Terminal, Words, status
from preprocess.text import shown_name

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

T = TypeVar("T")
_LOCK = ".fetch.lock"
_UNPACKED = ".unpacked"
_BLOCK = 1 << 16  # bytes; the most that a broken connection loses
_TIMEOUTS = (20.0, 60.0)  # seconds: to connect, between packets
_ATTEMPTS = 5  # in a row without new bytes
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0  # seconds between attempts, doubled each time
_LONGEST_ASKED_WAIT = 60.0  # seconds; upper limit for Retry-After
_MOST_TRIES = 1_000  # attempts, with new bytes or without
_PATIENCE = 100.0  # seconds for an answer, or for _LEAST bytes of content
_LEAST = 1 << 16  # bytes
_MOST_REDIRECTS = 10
_LARGEST = 20_000_000_000  # bytes of a file whose size is not published
_SHOWN = 200  # characters of what a server says
_PASSING = {408, 425, 429}  # client errors worth a retry


def fetch(archives: tuple[Archive, ...], root: Path, download: bool, most: int | None = None) -> None:
    """Download missing archives under a root, check and unpack them, and mark them as unpacked.

    If the process is killed at any moment, the next call resumes. A second process waits for the first.

    Parameters
    ----------
    archives : archives in the order of unpacking.
    root : folder for the archives and their contents; created if missing.
    download : False to use only archives that are already present.
    most : as for :func:`preprocess.raw.unpack.unpack`.

    Raises
    ------
    MissingDataError : archives are missing and may not or cannot be downloaded. Nothing was written.
    UnavailableError : a download failed; the partial file is kept.
    DatasetError : a file differs from the published one, or an existing entry is in the way.
    OSError : a file cannot be written; the partial file is kept.
    """
    if not archives:
        return
    if not (root / _LOCK).exists():
        _check_obtainable(archives, root, download)  # before creating a folder needlessly
    root.mkdir(parents=True, exist_ok=True)
    parts = (root / f"{archive.name}.part" for archive in archives)
    for path in (root / _LOCK, *parts, *(root / archive.name for archive in archives)):
        if path.exists():
            require_regular(path)
    console = Terminal(stderr=True, soft_wrap=True)
    with _alone(root, console):
        _check_obtainable(archives, root, download)
        for archive in archives:
            _bring(archive, root, console, most)


def unfinished(archives: tuple[Archive, ...], root: Path) -> bool:
    """Whether a killed run left an archive partly moved into the root."""
    return any(_marker(archive, root).is_dir() and _entries(_marker(archive, root)) for archive in archives)


def _marker(archive: Archive, root: Path) -> Path:
    """Return the folder of entries still to be moved into the root; once it is empty, the archive is done."""
    return root / _UNPACKED / archive.name


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _check_obtainable(archives: tuple[Archive, ...], root: Path, download: bool) -> None:
    missing = [
        archive
        for archive in archives
        if not (_marker(archive, root).is_dir() or os.path.lexists(root / archive.name) or _is_there(archive, root))
        and (archive.url is None or not download)
    ]
    if missing:
        raise MissingDataError("\n".join(_request(archive, root) for archive in missing))


def _request(archive: Archive, root: Path) -> str:
    source = f"download it from {archive.url}" if archive.url else "it must be downloaded manually"
    return f"{archive.name} is missing: {source}; save it as {_place(archive, root)}{renamed(root, archive.name)}"


def _place(archive: Archive, root: Path) -> str:
    """Return the path of an archive with its digest and size."""
    known = ", ".join(filter(None, [archive.digest, archive.size and f"{archive.size:,} bytes"]))
    return f"{root / archive.name}" + (f" ({known})" if known else "")


@contextlib.contextmanager
def _alone(root: Path, console: Terminal) -> Iterator[None]:
    """Lock a root against other processes, if the file system supports locks."""
    with (root / _LOCK).open("ab") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print(f"another process is downloading into {root}; waiting for it")
            lock(file)
        except OSError:
            pass
        yield


def _is_there(archive: Archive, root: Path) -> bool:
    """Whether the contents of an archive were unpacked manually where the adapter finds them."""
    return located(root, archive.holds or archive.name) is not None


def _bring(archive: Archive, root: Path, console: Terminal, most: int | None) -> None:
    path, marker = root / archive.name, _marker(archive, root)
    if archive.holds and not marker.is_dir() and _is_there(archive, root):
        return
    if not marker.is_dir():
        if os.path.lexists(path):
            _check_placed(archive, path)
        else:
            _Download(archive, root, console).run()
        if not is_archive(archive.name):
            return
        _unpack(path, marker, most)
    elif not _entries(marker):
        console.print(f"{archive.name} was already unpacked; to unpack it again, remove {marker}")
        return
    _move(marker, root)
    if path.exists():
        console.print(f"{path} was unpacked and kept; you may remove it")


def _check_placed(archive: Archive, path: Path) -> None:
    with status(f"checking {archive.name}"):
        difference = _difference(archive, path)
    if difference:
        raise DatasetError(f"{path} is not the published file: {difference}; remove it and rerun the command")


def _difference(archive: Archive, path: Path) -> str | None:
    """Return how a file differs from the published one by digest, or by size if no digest is known; None if equal."""
    if archive.digest is None:
        size = path.stat().st_size
        return None if archive.size in (None, size) else f"expected {archive.size} bytes, found {size}"
    kind, _, expected = archive.digest.partition(":")
    with path.open("rb") as file:
        # Not for security: publishers use md5, which hardened systems refuse otherwise.
        found = hashlib.file_digest(file, functools.partial(hashlib.new, kind, usedforsecurity=False)).hexdigest()
    return None if found == expected.lower() else f"expected {kind} {expected}, found {found}"


def _unpack(path: Path, marker: Path, most: int | None) -> None:
    aside = marker.with_name(f"{marker.name}.tmp")
    with status(f"unpacking {path.name}"):
        if aside.exists():
            shutil.rmtree(aside)
        unpack(path, aside, most)
    aside.rename(marker)


def _move(marker: Path, root: Path) -> None:
    entries = _entries(marker)
    for entry in entries:
        if os.path.lexists(root / entry.name):
            raise DatasetError(
                f"{root / entry.name} blocks the contents of {marker.name}; move it away and rerun the command"
            )
    for entry in entries:
        entry.rename(root / entry.name)


class _SetbackError(Exception):
    """A failure that a retry may cure, with the seconds that the server asked to wait."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _SlowError(_SetbackError):
    """Too little came, whatever it was."""


class _Download:
    """The download of one archive. Every attempt appends to ``root/NAME.part``, which finally becomes ``root/NAME``."""

    def __init__(self, archive: Archive, root: Path, console: Terminal) -> None:
        self.archive = archive
        self.path = root / archive.name
        self.part = root / f"{archive.name}.part"
        self.by_hand = f"download it manually and save it as {_place(archive, root)}"
        self.furthest = self.length  # greatest length so far
        self.pieced = False  # whether several attempts contributed
        self.tries = 0
        self.progress = Bars(
            Words("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            unit="bytes",
        )
        self.bar = self.progress.add_task(archive.name, total=archive.size, completed=self.length)

    @property
    def length(self) -> int:
        """Number of bytes on disk."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> None:
        """Download, check and rename the file. If the pieces do not fit together, start over once."""
        with self.progress:
            difference = self._receive()
            if difference and self.pieced:
                self._say(f"its pieces do not fit together ({difference}); starting over")
                self.furthest = 0
                difference = self._receive()
        if difference:
            raise DatasetError(
                f"{self.archive.url} is not the published file: {difference}. The file was removed; "
                f"rerun the command, or {self.by_hand}"
            )
        with self.part.open("rb+") as file:
            os.fsync(file.fileno())
        self.part.rename(self.path)

    def _receive(self) -> str | None:
        """Complete the partial file; if it is not the published file, remove it and return the difference."""
        backoff = wait_exponential(multiplier=_FIRST_WAIT, min=_FIRST_WAIT, max=_LONGEST_WAIT)
        retrying = Retrying(
            retry=retry_if_exception_type(_SetbackError),
            after=self._forget_fruitful_attempts,
            wait=lambda state: max(backoff(state), min(state.outcome.exception().wait, _LONGEST_ASKED_WAIT)),
            stop=stop_after_attempt(_ATTEMPTS) | (lambda _: self.tries >= _MOST_TRIES),
            before_sleep=self._announce,
            reraise=True,
        )
        try:
            retrying(self._attempt)
        except _SetbackError as setback:
            tries = f"{_ATTEMPTS} attempts without new bytes" if self.tries < _MOST_TRIES else f"{self.tries} attempts"
            raise UnavailableError(
                f"{self.archive.url}: {setback}; gave up after {tries}. {self.length} bytes are kept in {self.part}: "
                f"rerun the command to resume, or {self.by_hand}"
            ) from None
        difference = _difference(self.archive, self.part)
        if difference:
            self.part.unlink()
        return difference

    def _forget_fruitful_attempts(self, state: RetryCallState) -> None:
        if self.length > self.furthest and not isinstance(state.outcome.exception(), _SlowError):
            self.furthest = self.length
            state.attempt_number = 0

    def _announce(self, state: RetryCallState) -> None:
        self._say(f"{state.outcome.exception()}; retrying in {state.next_action.sleep:.3g} s")

    def _say(self, text: str) -> None:
        self.progress.console.print(f"{self.archive.name}: {text}")

    def _attempt(self) -> None:
        self.tries += 1
        start = self.length
        self.pieced = start > 0
        if start and start == self.archive.size:  # killed after the last byte
            return
        with self._request(start) as response:
            if response.status_code == 416 and start:
                if _range_of(response)[1] != start:
                    self._start_over("the server does not have the requested range")
                return
            self._check_status(response)
            if response.status_code == 200:
                start, self.pieced = 0, False
            elif _range_of(response)[0] != start:
                self._start_over("the server sent another range than requested")
            total = self._total(response)
            self.progress.reset(self.bar, total=total, completed=start, begun=start)
            self._append(response, "ab" if start else "wb", _LARGEST if total is None else total)
        if total is not None and self.length < total:
            raise _SetbackError(f"the connection ended after {self.length} of {total} bytes")

    def _request(self, start: int) -> Response:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        url = self.archive.url
        try:
            for _ in range(1 + _MOST_REDIRECTS):
                response = _within_patience(functools.partial(_get, url, headers))
                if not response.is_redirect:
                    return response
                response.close()
                url = _redirected(url, response.headers["Location"])
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _SetbackError(_cause(error)) from None
        except (requests.RequestException, HTTPError, ValueError) as error:
            raise UnavailableError(
                f"{self.archive.url} cannot be downloaded: {_quoted(error)}; {self.by_hand}"
            ) from None
        raise UnavailableError(
            f"{self.archive.url} cannot be downloaded: more than {_MOST_REDIRECTS} redirects; {self.by_hand}"
        )

    def _start_over(self, reason: str) -> None:
        self.part.unlink(missing_ok=True)
        raise _SetbackError(f"{reason}; starting over")

    def _check_status(self, response: Response) -> None:
        status = response.status_code
        if status in _PASSING or status >= 500:
            raise _SetbackError(_answer(response), _number(response.headers.get("Retry-After", "")) or 0.0)
        if status not in (200, 206):
            raise UnavailableError(f"{self.archive.url}: {_answer(response)}; {self.by_hand}")

    def _total(self, response: Response) -> int | None:
        """Return the length of the file after checking it and the free space; None if unknown."""
        length = _number(response.headers.get("Content-Length", ""))
        found = _range_of(response)[1] if response.status_code == 206 else length
        if found is not None and (found > _LARGEST if self.archive.size is None else found != self.archive.size):
            raise DatasetError(
                f"{self.archive.url} is not the published file: expected "
                f"{self.archive.size or f'at most {_LARGEST}'} bytes, the server announces {found}; {self.by_hand}"
            )
        total = self.archive.size if found is None else found
        needed, free = (total or 0) - self.length, shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise DatasetError(
                f"{self.archive.name} needs {decimal(needed)} of disk space, but only {decimal(free)} is free "
                f"in {self.path.parent}; free some space and rerun the command"
            )
        return total

    def _append(self, response: Response, mode: str, most: int) -> None:
        # Not iter_content: some servers label .gz files as encoded, and it would decompress them. Not stream either: it
        # waits for whole blocks, and reads a line without an end for the length of a chunk.
        read = functools.partial(response.raw.read1, _BLOCK, decode_content=False)
        since, came = time.monotonic(), 0
        with self.part.open(mode) as file:
            while block := self._read(response, read):
                file.write(block)
                came += len(block)
                self.progress.advance(self.bar, len(block))
                if file.tell() > most:
                    break
                if time.monotonic() - since > _PATIENCE:
                    if came < _LEAST:
                        raise _SlowError(f"only {came} bytes came in {_PATIENCE:g} s")
                    since, came = time.monotonic(), 0
        if self.length > most:
            self.part.unlink()
            raise DatasetError(
                f"{self.archive.url} is not the published file: expected {most} bytes, more came; {self.by_hand}"
            )

    def _read(self, response: Response, read: Callable[[], bytes]) -> bytes:
        try:
            return _within_patience(read)
        except (HTTPError, HTTPException) as error:
            raise _SetbackError(f"the connection broke: {_cause(error)}") from None
        except BaseException:  # patience ended, or Ctrl-C
            response.raw.shutdown()  # or closing would wait for the read
            raise


def _get(url: str, headers: dict[str, str]) -> Response:
    """Ask for a file, without requests' redirects: it would read the content of a redirect to its end."""
    with requests.Session() as session:
        request = session.prepare_request(requests.Request("GET", url, headers))
        settings = session.merge_environment_settings(request.url, {}, stream=True, verify=None, cert=None)
        return session.get_adapter(request.url).send(request, timeout=_TIMEOUTS, **settings)


def _within_patience(read: Callable[[], T]) -> T:
    """Read from the network in a thread: timeouts of sockets only end when nothing comes, and junk is not nothing."""
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put((read(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = results.get(timeout=_PATIENCE)
    except queue.Empty:
        raise _SlowError(f"nothing usable came in {_PATIENCE:g} s") from None
    if error is not None:
        raise error from error.__cause__ or error.__context__  # or the context would be what is handled here
    return result


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads.

    Raises
    ------
    ValueError : to something else than a web address, or from https to http.
    """
    target = urljoin(url, location)
    allowed = ("https",) if urlsplit(url).scheme == "https" else ("https", "http")
    if urlsplit(target).scheme not in allowed:
        raise ValueError(f"it redirects to {target}, expected an address with {' or '.join(allowed)}")
    return target


def _range_of(response: Response) -> tuple[int | None, int | None]:
    """Return the start of the range in a response and the length of the file."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", response.headers.get("Content-Range", "").strip())
    start, total = found.groups(default="") if found else ("", "")
    return _number(start), _number(total)


def _number(text: str) -> int | None:
    """Read a number of bytes or seconds; None if it is none, or so long that no file has it."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _answer(response: Response) -> str:
    return f"the server answered {response.status_code} {_quoted(response.reason)}"


def _quoted(words: object) -> str:
    """Words of a server as text for a message."""
    return shown_name(str(words)[:_SHOWN])


def _cause(error: BaseException) -> str:
    """Return the innermost reason; the outer messages only add class names."""
    while isinstance(inner := error.__cause__ or error.__context__, (OSError, HTTPError, HTTPException)):
        error = inner
    return getattr(error, "strerror", None) or _quoted(error) or type(error).__name__
