"""Read a complete store again: bytes first, then contents."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from preprocess.build.backends import run_parallel
from preprocess.errors import StoreError
from preprocess.store import Store
from preprocess.store.content import column_keys, count_regions, sources_key
from preprocess.store.format import IMAGES, check_file
from preprocess.store.place import shard_path
from preprocess.store.shard import VERIFY, Shard
from preprocess.suspicious import summary

Place = tuple[str, str, int]  # split, column and number of a shard


@dataclass(frozen=True)
class Fault:
    """A file that is missing, damaged, or odd."""

    path: str  # the shard, relative to the folder of the index; or the name of the index or the packed store
    lines: tuple[str, ...]  # what is wrong, and with which samples
    # Whether its bytes are not those that were written, so that it can be rebuilt. Otherwise its writer wrote it so.
    damaged: bool = True


def verify(store: Store, jobs: int, advance: Callable[[int], None]) -> list[Fault]:
    """Compare every byte of a store with its digests, and every sample with what the index says.

    Runs in ``jobs`` threads: hashing and decoding release Python's lock. Calls ``advance(1)`` after each file.

    Returns
    -------
    The faults in the order of the shards. What the shards say together is compared only if each of them is sound.
    """
    sealed = _check_pack(store) if store.packed else None
    damaged = sealed is not None
    if store.packed:
        advance(1)
    order, faults = list(store.shards()), {}

    def done(found: tuple[Place, Fault]) -> None:
        faults[found[0]] = found[1]
        advance(1)

    def check(place: Place) -> tuple[Place, Fault]:
        return place, check_shard(store, place, damaged)

    run_parallel(check, ((place,) for place in order), done, jobs, "threading")
    found = [faults[place] for place in order if faults[place].lines]
    if sealed is not None or (store.packed and found):
        lines = chain(sealed.lines if sealed else (), *(fault.lines for fault in found))
        return [Fault(store.path.name, tuple(lines), damaged)]
    if found:
        return found
    lines = tuple(line for split in store.splits for line in _split_faults(store, split))
    store.close()
    return [Fault(store.path.name, lines, damaged=False)] if lines else []


def count_files(store: Store) -> int:
    """Number of shards, and 1 for a packed store itself: what :func:`verify` reads."""
    return store.packed + sum(1 for _ in store.shards())


def check_shard(store: Store, place: Place, pack_is_damaged: bool = False) -> Fault:
    """Compare one shard with its digests, and its samples with what the index says.

    Parameters
    ----------
    place : split, column and number of the shard.
    pack_is_damaged : list all samples of a packed store that do not match their checksums.
    """
    record = store.record(*place)
    if not store.packed:
        try:
            path = shard_path(store.home, record["path"])
        except StoreError as error:
            return Fault(record["path"], (str(error),), damaged=False)
        try:
            found = check_file(path, "shard")
        except StoreError as error:
            return Fault(record["path"], (str(error), *_damaged_rows(store, place)))
        if found != (record["bytes"], record["sha256"]):
            return Fault(record["path"], (f"{path} is not the shard that the index lists",))
    elif pack_is_damaged:
        return Fault(record["path"], tuple(_damaged_rows(store, place)))
    return Fault(record["path"], tuple(_odd_contents(store, place)), damaged=False)


@contextlib.contextmanager
def _opened(store: Store, place: Place) -> Iterator[Shard]:
    """Open a shard for one thread alone."""
    with contextlib.closing(copy.copy(store)) as own:
        yield own.open_shard(*place)


def _damaged_rows(store: Store, place: Place) -> list[str]:
    """Say which samples of a damaged shard are lost, as far as it can be opened."""
    lines = []
    with contextlib.suppress(StoreError), _opened(store, place) as shard:
        for row in range(len(shard)):
            try:
                shard.check_row(row)
            except Exception:
                lines.append(f"{shard.where}: sample {row} is damaged")
    return lines


def _odd_contents(store: Store, place: Place) -> list[str]:
    """Read and decode every sample of a shard; rows that an update left behind may have ids that no longer fit."""
    lines = []
    try:
        with _opened(store, place) as shard:
            read = shard.read_image if place[1] == IMAGES else shard.read_map
            for row in store.splits[place[0]].rows_in_use(place[2]).tolist():
                try:
                    read(row)
                except StoreError as error:
                    lines.append(_short(error))
            shard.check_listing()
    except StoreError as error:
        lines.append(_short(error))
    return lines


def _split_faults(store: Store, split: str) -> Iterator[str]:
    """Compare what the index says about all samples of a split with its shards."""
    entry = store.document["splits"][split]
    try:
        labels = store.shard_labels(split)
        found = sources_key(store.keys(split), labels.tolist(), store.sources(split))
        store.boxes(split)
        odd = summary(store.suspicious(split), store.keys(split))
    except StoreError as error:
        yield _short(error)
        return
    yield from _unlike(f"splits.{split}", {"suspicious": {}} | entry, {"sources": found, "suspicious": odd})
    for sample in np.flatnonzero(store.labels(split) != labels)[:1].tolist():
        stated = store.labels(split)[sample]
        yield f"labels.{split}: expected {labels[sample]} for sample {sample} by its shard, the index says {stated}"
    for name, column in entry["columns"].items():
        recipe, divided = column.get("recipe"), entry.get("divided")
        stated = column_keys(found, store.document["images"], entry["shard_size"], recipe, divided)
        counted = {} if name == IMAGES else count_regions(store.regions(split, name))
        yield from _unlike(f"splits.{split}.columns.{name}", column, stated | counted)
        for number in range(len(column["files"]) if not store.uniform else 0):
            try:
                store.check_sizes(split, name, number)
            except StoreError as error:
                yield _short(error)


def _unlike(where: str, stated: dict, found: dict) -> Iterator[str]:
    for name, value in found.items():
        if stated[name] != value:
            yield f"{where}.{name}: expected {value} by its shards, the index says {stated[name]}"


def _check_pack(store: Store) -> Fault | None:
    try:
        check_file(store.path, "pack")
    except StoreError as error:
        return Fault(store.path.name, (str(error),))
    return None


def _short(error: StoreError) -> str:
    return str(error).removesuffix(f"; {VERIFY}")
