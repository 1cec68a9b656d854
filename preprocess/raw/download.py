"""Download, check and unpack the published files of a data set. Rerunning the same command resumes."""

import contextlib
import functools
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import requests
from requests import Response
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential
from urllib3.exceptions import HTTPError

from preprocess.datasets.base import Archive, locate
from preprocess.errors import DatasetError, MissingDataError, UnavailableError
from preprocess.files import lock
from preprocess.raw.unpack import is_archive, unpack
from preprocess.terminal import Terminal, Words, status

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LOCK = ".fetch.lock"
_UNPACKED = ".unpacked"
_BLOCK = 1 << 16  # bytes; the most that a broken connection loses
_TIMEOUTS = (20.0, 60.0)  # seconds: to connect, between packets
_ATTEMPTS = 5  # in a row without new bytes
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0  # seconds between attempts, doubled each time
_LONGEST_ASKED_WAIT = 60.0  # seconds; upper limit for Retry-After
_PASSING = {408, 425, 429}  # client errors worth a retry


def fetch(archives: tuple[Archive, ...], root: Path, download: bool) -> None:
    """Download missing archives under a root, check and unpack them, and mark them as unpacked.

    If the process is killed at any moment, the next call resumes. A second process waits for the first.

    Parameters
    ----------
    archives : archives in the order of unpacking.
    root : folder for the archives and their contents; created if missing.
    download : False to use only archives that are already present.

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
    console = Terminal(stderr=True, soft_wrap=True)
    with _alone(root, console):
        _check_obtainable(archives, root, download)
        for archive in archives:
            _bring(archive, root, console)


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
    return f"{archive.name} is missing: {source}; save it as {_place(archive, root)}"


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
    with contextlib.suppress(MissingDataError):
        return bool(locate(root, archive.holds or archive.name))
    return False


def _bring(archive: Archive, root: Path, console: Terminal) -> None:
    path, marker = root / archive.name, _marker(archive, root)
    if archive.holds and not marker.is_dir() and _is_there(archive, root):
        return
    if not marker.is_dir():
        if os.path.lexists(path):
            _check_placed(archive, path, console)
        else:
            _Download(archive, root, console).run()
        if not is_archive(archive.name):
            return
        _unpack(path, marker, console)
    elif not _entries(marker):
        console.print(f"{archive.name} was already unpacked; to unpack it again, remove {marker}")
        return
    _move(marker, root)
    if path.exists():
        console.print(f"{path} was unpacked and kept; you may remove it")


def _check_placed(archive: Archive, path: Path, console: Terminal) -> None:
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


def _unpack(path: Path, marker: Path, console: Terminal) -> None:
    aside = marker.with_name(f"{marker.name}.tmp")
    with status(f"unpacking {path.name}"):
        if aside.exists():
            shutil.rmtree(aside)
        unpack(path, aside)
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


class _Download:
    """The download of one archive. Every attempt appends to ``root/NAME.part``, which finally becomes ``root/NAME``."""

    def __init__(self, archive: Archive, root: Path, console: Terminal) -> None:
        self.archive = archive
        self.path = root / archive.name
        self.part = root / f"{archive.name}.part"
        self.by_hand = f"download it manually and save it as {_place(archive, root)}"
        self.furthest = self.length  # greatest length so far
        self.pieced = False  # whether several attempts contributed
        self.progress = Progress(
            Words("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
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
            stop=stop_after_attempt(_ATTEMPTS),
            before_sleep=self._announce,
            reraise=True,
        )
        try:
            retrying(self._attempt)
        except _SetbackError as setback:
            raise UnavailableError(
                f"{self.archive.url}: {setback}; gave up after {_ATTEMPTS} attempts without new bytes. "
                f"{self.length} bytes are kept in {self.part}: rerun the command to resume, or {self.by_hand}"
            ) from None
        difference = _difference(self.archive, self.part)
        if difference:
            self.part.unlink()
        return difference

    def _forget_fruitful_attempts(self, state: RetryCallState) -> None:
        if self.length > self.furthest:
            self.furthest = self.length
            state.attempt_number = 0

    def _announce(self, state: RetryCallState) -> None:
        self._say(f"{state.outcome.exception()}; retrying in {state.next_action.sleep:.3g} s")

    def _say(self, text: str) -> None:
        self.progress.console.print(f"{self.archive.name}: {text}")

    def _attempt(self) -> None:
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
            self.progress.reset(self.bar, total=total, completed=start)
            self._append(response, "ab" if start else "wb")
        if total is not None and self.length < total:
            raise _SetbackError(f"the connection ended after {self.length} of {total} bytes")

    def _request(self, start: int) -> Response:
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            return requests.get(self.archive.url, headers=headers, stream=True, timeout=_TIMEOUTS)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _SetbackError(_cause(error)) from None
        except requests.RequestException as error:
            raise UnavailableError(f"{self.archive.url} cannot be downloaded: {error}; {self.by_hand}") from None

    def _start_over(self, reason: str) -> None:
        self.part.unlink(missing_ok=True)
        raise _SetbackError(f"{reason}; starting over")

    def _check_status(self, response: Response) -> None:
        status = response.status_code
        if status in _PASSING or status >= 500:
            asked = response.headers.get("Retry-After", "")
            raise _SetbackError(_answer(response), float(asked) if asked.isdecimal() else 0.0)
        if status not in (200, 206):
            raise UnavailableError(f"{self.archive.url}: {_answer(response)}; {self.by_hand}")

    def _total(self, response: Response) -> int | None:
        """Return the length of the file after checking it and the free space; None if unknown."""
        length = response.headers.get("Content-Length", "")
        found = _range_of(response)[1] if response.status_code == 206 else int(length) if length.isdecimal() else None
        if None not in (found, self.archive.size) and found != self.archive.size:
            raise DatasetError(
                f"{self.archive.url} is not the published file: expected {self.archive.size} bytes, "
                f"the server announces {found}; {self.by_hand}"
            )
        total = self.archive.size if found is None else found
        needed, free = (total or 0) - self.length, shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise DatasetError(
                f"{self.archive.name} needs {decimal(needed)} of disk space, but only {decimal(free)} is free "
                f"in {self.path.parent}; free some space and rerun the command"
            )
        return total

    def _append(self, response: Response, mode: str) -> None:
        # Not iter_content: some servers label .gz files as encoded, and it would decompress them.
        blocks = response.raw.stream(_BLOCK, decode_content=False)
        try:
            with self.part.open(mode) as file:
                for block in blocks:
                    file.write(block)
                    self.progress.advance(self.bar, len(block))
        except HTTPError as error:
            raise _SetbackError(f"the connection broke: {_cause(error)}") from None


def _range_of(response: Response) -> tuple[int | None, int | None]:
    """Return the start of the range in a response and the length of the file."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", response.headers.get("Content-Range", "").strip())
    start, total = found.groups() if found else (None, None)
    return int(start) if start else None, int(total) if total else None


def _answer(response: Response) -> str:
    return f"the server answered {response.status_code} {response.reason}"


def _cause(error: BaseException) -> str:
    """Return the innermost reason; the outer messages only add class names."""
    while isinstance(inner := error.__cause__ or error.__context__, (OSError, HTTPError, HTTPException)):
        error = inner
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
