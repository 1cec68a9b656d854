"""Which HDF5 objects are read: plain data sets that hold all of their bytes in the file itself.

HDF5 can take data from any file on the machine (soft and external links, external storage, virtual data sets), load
plugins (filters), and state terabytes in a small file. So everything here is checked before HDF5 reads or allocates.
"""

import math
from array import array
from functools import cache
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5i, h5l, h5s, h5t, h5z

from preprocess.inputs import require_regular
from preprocess.store.format import HEADER_BYTES

_LEAST_CHUNK = 8  # bytes of a chunk and what the file says about it
_PLAIN = (h5t.INTEGER, h5t.FLOAT, h5t.STRING)
Shape = tuple[int | None, ...]  # None is any length


def open_hdf5(path: Path) -> h5py.File:
    """Open a published file without chunk cache (a chunk is one sample) and without lock (the file never changes)."""
    require_regular(path)
    return h5py.File(path, "r", rdcc_nbytes=0, locking=False)


def names_in(group: h5py.Group, most: int) -> set[str]:
    """Names of the entries of a group, without following them.

    Raises
    ------
    ValueError : more than ``most``, or a soft or external link.
    """
    count = group.id.get_num_objs()
    if count > most:
        raise ValueError(f"expected at most {most} entries in {group.name}, got {count}")
    kinds: dict[bytes, int] = {}
    group.id.links.iterate(lambda name, link: kinds.__setitem__(name, link.type), info=True)  # at once: a sixth
    for name, kind in kinds.items():
        _refuse_soft(name, kind)
    return {name.decode() for name in kinds}


def group_at(group: h5py.Group, path: str) -> h5py.Group:
    """Return the group at a path below another one, each step as by :func:`group_in`; itself for an empty path."""
    for name in path.split("/") if path else ():
        group = group_in(group, name)
    return group


def group_in(group: h5py.Group, name: str) -> h5py.Group:
    """Open a group inside a group.

    Raises
    ------
    ValueError : it is a link.
    """
    _refuse_link(group, name.encode())
    return h5py.Group(h5py.h5g.open(group.id, name.encode()))


def dataset_in(
    group: h5py.Group, name: str, dtype: str, shape: Shape, chunk: tuple[int, ...] | None = None, gzip: bool = False
) -> h5py.Dataset:
    """Open a data set of a group whose names :func:`names_in` has checked, without reading it.

    Parameters
    ----------
    dtype : its dtype; ``S`` for strings of any fixed length.
    shape : its shape.
    chunk : shape of its chunks; None if it is stored in one piece.
    gzip : whether its chunks are compressed.

    Raises
    ------
    ValueError : data in another file, another dtype, shape, chunk or filter, or fewer bytes than the shape.
    """
    return h5py.Dataset(_checked(group, name, dtype, shape, chunk, gzip)[0], readonly=True)


def read_in(group: h5py.Group, name: str, dtype: str, shape: Shape) -> np.ndarray:
    """Read a data set that is stored in one piece, as :func:`dataset_in` opens it."""
    data, found, stored = _checked(group, name, dtype, shape, None, gzip=False)
    values = np.empty(found, stored)
    if values.size:
        data.read(h5s.ALL, h5s.ALL, values)
    return values


def _checked(
    group: h5py.Group, name: str, dtype: str, shape: Shape, chunk: tuple[int, ...] | None, gzip: bool
) -> tuple[h5d.DatasetID, tuple[int, ...], np.dtype]:
    """A data set, its shape and its dtype; h5py takes 10 us or more for each time that it is asked."""
    data = h5d.open(group.id, name.encode())
    plan = data.get_create_plist()
    layout, kind = plan.get_layout(), data.get_type()
    if layout == h5d.VIRTUAL or plan.get_external_count():
        raise ValueError(f"{name} takes its data from another file")
    filters = [plan.get_filter(number)[0] for number in range(plan.get_nfilters())]
    if filters != ([h5z.FILTER_DEFLATE] if gzip else []):
        raise ValueError(f"{name}: expected {'gzip' if gzip else 'no filter'}, got the HDF5 filters {filters}")
    if kind.get_class() not in _PLAIN or kind.committed() or (dtype == "S" and kind.is_variable_str()):
        raise ValueError(f"{name}: expected plain numbers or strings of fixed length")
    stored = kind.dtype
    if (stored.kind if dtype == "S" else stored) != dtype:
        raise ValueError(f"{name}: expected dtype {dtype}, got {stored}")
    found = data.shape  # None if it has no space
    known = found is not None and len(found) == len(shape)
    if not known or any(length not in (None, n) for length, n in zip(shape, found, strict=True)):
        raise ValueError(f"{name}: expected shape {_text(shape)}, got {found}")
    chunked = plan.get_chunk() if layout == h5d.CHUNKED else None
    if chunked != chunk:
        raise ValueError(f"{name}: expected chunks {chunk}, got {chunked}")
    if not gzip:
        _refuse_absent_bytes(data, name, math.prod(found) * stored.itemsize, layout)
    return data, found, stored


def piece_in(data: h5py.Dataset) -> int:
    """First byte, in its file, of a data set that is stored in one piece.

    Raises
    ------
    ValueError : it is stored otherwise.
    """
    place = data.id.get_offset()
    if place is None and data.size:
        raise ValueError(f"{data.name}: expected its bytes in one piece")
    return place or 0


def chunks_in(data: h5py.Dataset, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the chunks of a data set in its file.

    Parameters
    ----------
    counts : (n, 2) int64 array: how many chunks down and across belong to each of its n rows; others are padding.

    Returns
    -------
    Three arrays with a value for each chunk, row by row: its first byte and number of bytes, int64, 0 if it was never
    written or is not within the file; and whether it skips the filter, bool.

    Raises
    ------
    ValueError : more chunks than the file can hold, or than the data set has: an index may list it twice.
    """
    ends = counts.prod(axis=1).cumsum()
    total, end = int(ends[-1]) if len(ends) else 0, h5i.get_file_id(data.id).get_filesize()
    grid = [-(-length // side) for length, side in zip(data.shape, data.chunks, strict=True)]
    most, width = min(math.prod(grid), end // _LEAST_CHUNK), len(grid) + 3
    found = array("Q")

    def note(chunk: h5d.StoreInfo) -> bool | None:
        found.extend((*chunk.chunk_offset, chunk.byte_offset, chunk.size, chunk.filter_mask))
        return True if len(found) > most * width else None  # ends it

    data.id.chunk_iter(note)
    if max(total, len(found) // width) > most:
        raise ValueError(f"{data.name}: expected at most {most} chunks in a file of {end} bytes, got more")
    starts, sizes, skips = np.zeros(total, np.int64), np.zeros(total, np.int64), np.zeros(total, bool)
    table = np.array(found, np.uint64).astype(np.int64).reshape(-1, width)
    rows, down, across = (table[:, : len(grid)] // data.chunks).T[:3]
    own = (down < counts[rows, 0]) & (across < counts[rows, 1])
    rows, down, across = rows[own], down[own], across[own]
    numbers = ends[rows] - counts[rows].prod(axis=1) + down * counts[rows, 1] + across
    places, lengths, masks = table[own, -3:].T
    places = places + _origin()
    starts[numbers], sizes[numbers], skips[numbers] = places, np.where(places > end - lengths, 0, lengths), masks != 0
    return starts, sizes, skips


@cache
def _origin() -> int:
    """What is missing in the places of chunks: HDF5 before 1.14.4 counts them from behind the user block."""
    memory, mark = BytesIO(), bytes(range(64))
    with h5py.File(memory, "w", userblock_size=HEADER_BYTES) as file:
        data = file.create_dataset("mark", data=np.frombuffer(mark, np.uint8), chunks=(64,))
        place = data.id.get_chunk_info(0).byte_offset
    return memory.getvalue().index(mark) - place


def _refuse_link(group: h5py.Group, name: bytes) -> None:
    _refuse_soft(name, group.id.links.get_info(name).type)


def _refuse_soft(name: bytes, kind: int) -> None:
    if kind != h5l.TYPE_HARD:
        raise ValueError(f"{name.decode(errors='replace')!r} is a soft or external link; expected the data itself")


def _refuse_absent_bytes(data: h5d.DatasetID, name: str, size: int, layout: int) -> None:
    """HDF5 fills in what was never written, so a small file can state any shape."""
    end = size
    if layout == h5d.CONTIGUOUS and size:  # the sizes of the others come from what the file holds
        end += data.get_offset() or math.inf
    if data.get_storage_size() != size or end > h5i.get_file_id(data).get_filesize():
        raise ValueError(f"{name}: the file does not hold the {size} bytes of its shape {data.shape}")


def _text(shape: Shape) -> str:
    return "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"
