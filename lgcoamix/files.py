"""Files that are whole or not there: written aside, synced, renamed. No torch in here."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Put bytes under a final name at once: write aside, fsync, rename."""
    with written_aside(path, data) as aside:
        aside.replace(path)


@contextmanager
def written_aside(path: Path, data: bytes | memoryview) -> Iterator[Path]:
    """Give a synced file beside ``path`` that holds ``data``; what is not moved away is removed."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield aside
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        aside.unlink(missing_ok=True)
