"""Checkpoint files: written to a temporary file, fsynced and renamed; read with ``weights_only=True``."""

import io
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from lgcoamix.errors import RunError
from preprocess.files import write_whole

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any], keep: int = 1) -> None:
    """Replace ``path`` with a complete checkpoint, or leave it unchanged.

    Parameters
    ----------
    state : tensors and plain data only.
    keep : number of checkpoints to keep: the previous one becomes ``NAME-1.pt``, the one before ``NAME-2.pt``, etc.

    Raises
    ------
    RunError : the file cannot be written. Earlier checkpoints are intact.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    try:
        write_whole(path, buffer.getbuffer(), before_naming=lambda: _make_room(path, keep))
    except OSError as error:
        raise RunError(
            f"checkpoint {path} cannot be written: {error.strerror}; earlier checkpoints are intact. Fix the cause, "
            "then continue with --resume auto"
        ) from error


def _make_room(path: Path, keep: int) -> None:
    # Oldest first: a kill in between loses no checkpoint, and readers skip the gap that it leaves.
    for newer, older in reversed(list(pairwise(generations(path, keep)))):
        if newer.exists():
            newer.replace(older)


def generations(path: Path, keep: int) -> list[Path]:
    """List the names of the last ``keep`` checkpoints, newest first."""
    return [path, *(path.with_stem(f"{path.stem}-{age}") for age in range(1, keep))]


def checkpoints_in(folder: Path) -> list[Path]:
    """List the checkpoints of a run folder that can be resumed, newest first."""
    ages = {path: int(path.stem.removeprefix("last-")) for path in folder.glob("last-*.pt") if _has_age(path)}
    newest = folder / "last.pt"
    return [*([newest] if newest.exists() else []), *sorted(ages, key=ages.get)]


def _has_age(path: Path) -> bool:
    return path.stem.removeprefix("last-").isdecimal()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    RunError : the file is missing, damaged, of another program, or not only tensors and plain data.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch writes checksums but never verifies them
            damaged = archive.testzip()
        if damaged:
            raise RunError(f"checkpoint {path} is damaged: {damaged} does not match its checksum")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RunError(f"checkpoint {path} cannot be opened: {error.strerror}") from None
    except RunError:
        raise
    except Exception as error:  # zip, zlib, pickle, runtime errors
        reason = str(error).strip().split("\n")[0]
        raise RunError(f"{path} is damaged, or not a checkpoint of this program: {reason}") from None
    if not isinstance(state, dict) or not {"format", "model", "config"} <= state.keys():
        raise RunError(f"{path} is not a checkpoint of this program: it has no format, model and config")
    if state["format"] != FORMAT:
        raise RunError(f"{path} has checkpoint format {state['format']}, this program reads {FORMAT}")
    return state
