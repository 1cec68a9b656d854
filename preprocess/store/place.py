"""Where the files of a store lie: below the folder of its index, in ``STEM.shards``.

The whole folder may be reached through a link, and so may the index: then its shards lie beside the real index. Within
the folder no link may leave it, so that a store from somebody else neither shows nor overwrites other files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preprocess.errors import StoreError
from preprocess.files import bytes_of
from preprocess.inputs import confined


def real_index(index: Path) -> Path:
    """Return the index itself, if ``index`` is a link to it."""
    return index.resolve() if index.is_symlink() else index


def shard_path(home: Path, relative: str) -> Path:
    """Path of a shard, or of a folder of shards, from the folder of the index and a relative path.

    Raises
    ------
    StoreError : a link leaves the folder.
    """
    try:
        return confined(home, relative)
    except (ValueError, OSError, RuntimeError) as error:  # also of links in a circle
        raise StoreError(
            f"{home / relative}: {error}; put the shards beside their index, or link the index and open the link"
        ) from None


def is_whole(home: Path, record: Mapping[str, Any]) -> bool:
    """Whether a shard is there, in the size that its record of the index states."""
    return bytes_of(home / record["path"]) == record["bytes"]


def own_shard(home: Path, stem: str, relative: str) -> Path:
    """Path of a shard that may be written: one of the store's own.

    Raises
    ------
    StoreError : it belongs to another store, or a link leaves the folder.
    """
    if not relative.startswith(f"{stem}.shards/"):
        other = relative.split(".shards/")[0]
        raise StoreError(
            f"{home / stem}.h5 writes into {stem}.shards alone, but {relative} is to be written; if the store was "
            f"called {other}.h5, rename it back"
        )
    path, own = shard_path(home, relative), home / f"{stem}.shards"
    if not path.resolve().is_relative_to(own.resolve()):
        raise StoreError(f"{path} is to be written, but a link leads it out of {own}; remove the link")
    return path
