"""State that must survive: written aside, fsynced, renamed; read with ``weights_only=True``."""

import io
import os
import secrets
from pathlib import Path
from typing import Any

import torch

from lgcoamix.errors import RunError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace ``path`` by a complete checkpoint, or leave it as it was.

    Parameters
    ----------
    state : tensors and plain data only.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    RunError : missing, damaged, or holding more than tensors and plain data.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RunError(f"checkpoint {path} cannot be opened: {error.strerror}") from None
    except Exception as error:  # torch raises many types on damage: zip, pickle, runtime errors
        raise RunError(f"{path} is not a checkpoint of this program: {str(error).splitlines()[0]}") from None


def write_whole(path: Path, data: bytes) -> None:
    """Put bytes under a final name at once: write aside, fsync, rename."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
