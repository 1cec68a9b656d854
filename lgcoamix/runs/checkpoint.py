"""State that must survive: written aside, fsynced, renamed; read with ``weights_only=True``."""

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
    """Replace ``path`` by a complete checkpoint, or leave it as it was.

    Parameters
    ----------
    state : tensors and plain data only.
    keep : checkpoints that stay: the one before becomes ``NAME-1.pt``, the one before that ``NAME-2.pt``, and so on.

    Raises
    ------
    RunError : it cannot be written; what was there is whole.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    try:
        write_whole(path, buffer.getbuffer(), before_naming=lambda: _make_room(path, keep))
    except OSError as error:
        raise RunError(
            f"checkpoint {path} cannot be written: {error.strerror}; those before it are whole. Mend this, "
            "then go on with --resume auto"
        ) from error


def _make_room(path: Path, keep: int) -> None:
    # The oldest first: a kill in between loses none, and leaves a gap that generations are read across.
    for newer, older in reversed(list(pairwise(generations(path, keep)))):
        if newer.exists():
            newer.replace(older)


def generations(path: Path, keep: int) -> list[Path]:
    """Names of the last ``keep`` checkpoints, the newest first."""
    return [path, *(path.with_stem(f"{path.stem}-{age}") for age in range(1, keep))]


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a run folder that can be resumed, the newest first."""
    ages = {path: int(path.stem.removeprefix("last-")) for path in folder.glob("last-*.pt") if _has_age(path)}
    newest = folder / "last.pt"
    return [*([newest] if newest.exists() else []), *sorted(ages, key=ages.get)]


def _has_age(path: Path) -> bool:
    return path.stem.removeprefix("last-").isdecimal()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises
    ------
    RunError : missing, damaged, of another program, or holding more than tensors and plain data.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums that it writes
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
