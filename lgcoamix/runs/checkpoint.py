"""Checkpoint files: written to a temporary file, fsynced and renamed; read with ``weights_only=True``."""

import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

import torch

from lgcoamix.errors import RunError
from lgcoamix.ops.torch_files import check_weights, read_torch
from lgcoamix.runs.documents import Config, Count, Figure, Name
from preprocess.files import write_whole
from preprocess.schema import Form, Range, SchemaError, check, parse_json

FORMAT = 1
Seconds = Annotated[float, Range(least=0, finite=True)]
Row = dict[Name, float]


def _with_figures(row: Row) -> None:
    if not {"epoch", "lr", "loss"} <= row.keys():
        raise ValueError("expected epoch, lr and loss")


class _Position(TypedDict, total=False):
    epoch: Required[Annotated[int, Range(least=0, most=1_000_000)]]
    step: Required[Count]
    seconds: Seconds
    waited: Seconds


class _Timing(TypedDict):
    epoch: Count
    train_seconds: Seconds
    images_per_second: Seconds
    waiting: Seconds


class _Means(TypedDict):
    sums: Row
    weights: Row


def _of_same_names(means: _Means) -> None:
    if means["sums"].keys() != means["weights"].keys():
        raise ValueError("expected sums and weights of the same names")


class _Optimiser(TypedDict):
    state: dict[Count, dict[str, Any]]
    param_groups: list[dict[str, Any]]


class _Checkpoint(TypedDict, total=False):
    """What every checkpoint holds, besides weights."""

    config: Required[Config]
    epoch: Annotated[int, Range(least=-1, most=1_000_000)]
    metrics: Row
    chosen_on: Name
    position: _Position


class _Resumable(TypedDict):
    """What continues a run."""

    optimiser: _Optimiser
    scaler: dict[str, Figure]
    means: Annotated[_Means, _of_same_names]
    rows: list[Annotated[Row, _with_figures]]
    timings: list[_Timing]
    lambda_bytes: Count
    epoch: int


_CHECKPOINT, _RESUMABLE = Form(_Checkpoint), Form(_Resumable)


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
    """Read and check a checkpoint onto the CPU.

    Raises
    ------
    RunError : the file is missing, damaged, of another program, or not only tensors and plain data.
    """
    try:
        state = read_torch(path)
    except OSError as error:
        raise RunError(f"checkpoint {path} cannot be opened: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{path} is damaged, or not a checkpoint of this program: {error}") from None
    if not isinstance(state, dict) or not {"format", "model", "config"} <= state.keys():
        raise RunError(f"{path} is not a checkpoint of this program: it has no format, model and config")
    if state["format"] != FORMAT:
        raise RunError(f"{path} has checkpoint format {state['format']}, this program reads {FORMAT}")
    try:
        # As in config.json: lists, not tuples.
        state["config"] = parse_json(json.dumps(state["config"], allow_nan=False))
        check(_CHECKPOINT, state)
        for name in ("model", "model_ema"):
            if state.get(name) is not None:
                check_weights(state[name])
    except (TypeError, ValueError) as error:
        raise RunError(f"{path} cannot be used: {error}") from None
    return state


def load_resumable(path: Path) -> dict[str, Any]:
    """Read a checkpoint that a run can continue from.

    Raises
    ------
    RunError : as of :func:`load_checkpoint`, or the file holds weights alone.
    """
    state = load_checkpoint(path)
    if "position" not in state:
        raise RunError(f"{path} holds weights, not the state of a run: use last.pt or last-1.pt")
    try:
        check(_RESUMABLE, state)
        if not len(state["rows"]) == len(state["timings"]) == state["position"]["epoch"]:
            raise SchemaError(f"expected {state['position']['epoch']} rows and timings, one for each finished epoch")
    except SchemaError as error:
        raise RunError(f"{path} is damaged: {error}") from None
    return state
