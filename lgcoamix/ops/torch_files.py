"""Files of ``torch.save`` from somebody else: no code runs, and nothing becomes larger than the file."""

import argparse
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from lgcoamix.settings.text import first_line

_ZIP = b"PK\x03\x04"
_LARGEST_PICKLE = 8 * 2**20  # bytes of structure and plain data: seconds to read; 100,000 classes take a third
_MOST_PARTS = 2_000_000
_DEEPEST = 32


def read_torch(path: Path, legacy: bool = False) -> Any:
    """Read tensors and plain data onto the CPU.

    Parameters
    ----------
    legacy : read files of torch before 1.6 as well, which have no checksums.

    Raises
    ------
    OSError : the file cannot be opened, or is a folder, FIFO, device or socket.
    ValueError : the file is damaged, holds other things, or names tensors that do not lie in it.
    """
    import lgcoamix.beside.checked  # noqa: F401 - before preprocess
    from preprocess.inputs import open_regular  # here: ``lgcoamix.models`` works without that package

    with open_regular(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if file.read(len(_ZIP)) == _ZIP:
                _check_archive(file, size)
            elif not legacy:
                raise ValueError("it is no archive of torch")
            file.seek(0)
            with torch.serialization.safe_globals([argparse.Namespace]):  # in checkpoints of timm
                content = torch.load(file, map_location="cpu", weights_only=True)
            _check_parts(content, size)
        except OSError:
            raise
        except pickle.UnpicklingError:  # torch's own message advises to trust the file
            raise ValueError("it holds other things than plain tensors and plain data") from None
        except (LookupError, EOFError, TypeError, AttributeError):  # a machine for pickles that was fed something else
            raise ValueError("it is no file of torch, or is damaged") from None
        except Exception as error:  # zip, zlib, runtime errors
            raise ValueError(first_line(error)) from None
    return content


def check_weights(state: object) -> dict[str, Tensor]:
    """Return a state dict, if it is one.

    Raises
    ------
    ValueError : it has other keys or values, or numbers that are not finite.
    """
    if not isinstance(state, dict) or not state:
        raise ValueError("expected tensors by name")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"expected tensors by name, got {str(name)[:100]!r}: {type(value).__name__}")
        if value.is_complex():
            raise ValueError(f"{name} is complex, expected real numbers")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{name} is not finite: its training diverged")
    return state


def _check_archive(file: BinaryIO, size: int) -> None:
    with zipfile.ZipFile(file) as archive:  # torch writes checksums but never verifies them
        members = archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if not stored or sum(member.file_size for member in members) > size:
            raise ValueError("its entries are compressed, or larger than the file")
        if sum(member.file_size for member in members if member.filename.endswith(".pkl")) > _LARGEST_PICKLE:
            raise ValueError(f"its structure takes more than {_LARGEST_PICKLE:,} bytes")
        damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{damaged} does not match its checksum")


def _check_parts(content: object, size: int) -> None:
    left, stack, storages = _MOST_PARTS, [(content, 0)], {}
    while stack:
        value, depth = stack.pop()
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise ValueError("it has too many parts, or is nested too deeply")
        if isinstance(value, Tensor):
            _check_tensor(value)
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, dict):
            if any(not isinstance(key, str | int) for key in value):
                raise ValueError("a dictionary in it has keys that are neither text nor integers")
            stack += [(part, depth + 1) for part in (*value, *value.values())]
        elif isinstance(value, list | tuple | set):
            stack += [(part, depth + 1) for part in value]
        elif isinstance(value, int) and value.bit_length() > 63:
            raise ValueError("an integer in it has more than 64 bits")
    if sum(storages.values()) > size:
        raise ValueError("its tensors are larger than the file")


def _check_tensor(value: Tensor) -> None:
    is_plain = type(value) in (Tensor, nn.Parameter) and value.layout == torch.strided and not value.is_nested
    if not is_plain or value.is_quantized or value.device.type != "cpu":
        raise ValueError("a tensor in it is sparse, quantized, nested or without values; expected plain ones")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise ValueError(f"a tensor in it, of shape {tuple(value.shape)}, is larger than its data")
