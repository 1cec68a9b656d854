"""Read a complete store again and find damaged shards and samples."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from preprocess.build.backends import run_parallel
from preprocess.errors import StoreError
from preprocess.store import Store
from preprocess.store.format import check_file
from preprocess.store.reader import packed_shards
from preprocess.store.shard import Shard, damaged_rows


@dataclass(frozen=True)
class Fault:
    """A damaged or missing shard."""

    path: str  # the shard, relative to the folder of the index; for a packed store, the store itself
    lines: tuple[str, ...]  # what is damaged, and which samples


def verify(store: Store, jobs: int, advance: Callable[[int], None]) -> list[Fault]:
    """Compare every byte of a store with its digests, in ``jobs`` threads: hashing releases Python's lock.

    Returns the faults in the order of the shards. Calls ``advance(1)`` after each file.
    """
    if store.packed:
        found = _check_pack(store)
        advance(1)
        return [found] if found.lines else []
    home, faults = store.path.parent, {}
    records = dict(store.records())

    def done(fault: Fault) -> None:
        faults[fault.path] = fault
        advance(1)

    run_parallel(check_shard, ((home, record) for record in records.values()), done, jobs, "threading")
    return [faults[path] for path in records if faults[path].lines]


def count_files(store: Store) -> int:
    """Number of files that :func:`verify` reads."""
    return 1 if store.packed else sum(1 for _ in store.records())


def check_shard(home: Path, record: dict) -> Fault:
    """Compare one shard with its record in the index."""
    path = home / record["path"]
    try:
        found = check_file(path, "shard")
    except StoreError as error:
        return Fault(record["path"], (str(error), *_damaged(path)))
    if found != (record["bytes"], record["sha256"]):
        return Fault(record["path"], (f"{path} is not the shard that the index lists",))
    return Fault(record["path"], ())


def _damaged(path: Path) -> list[str]:
    try:
        shard = Shard.open(path)
    except StoreError:
        return []
    rows = damaged_rows([shard])
    shard.close()
    return [f"{path}: sample {row} is damaged" for _, row in rows]


def _check_pack(store: Store) -> Fault:
    try:
        check_file(store.path, "pack")
    except StoreError as error:
        rows = damaged_rows(packed_shards(store))
        return Fault(store.path.name, (str(error), *(f"{shard.where}: sample {row} is damaged" for shard, row in rows)))
    return Fault(store.path.name, ())
