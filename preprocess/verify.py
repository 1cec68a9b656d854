"""Reading a whole store again: which shards and samples are not what was written?"""

from collections.abc import Callable
from pathlib import Path

import joblib

from preprocess.errors import StoreError
from preprocess.store import Store
from preprocess.store.format import check_file
from preprocess.store.reader import damaged_rows


def shards_of(store: Store) -> list[tuple[Path, dict]]:
    """List every shard of a store with its record in the index."""
    return [
        (store.path.parent / file["path"], file)
        for split in store.document["splits"].values()
        for column in split["columns"].values()
        for file in column["files"]
    ]


def verify(shards: list[tuple[Path, dict]], jobs: int, advance: Callable[[int], None]) -> list[str]:
    """Compare shards with the index, byte for byte.

    Parameters
    ----------
    shards : from :func:`shards_of`.
    jobs : worker processes.
    advance : is called with 1 after each shard.

    Returns
    -------
    One line for each fault, in the order of the shards; empty for a sound store.
    """
    faults = []
    run = joblib.Parallel(n_jobs=jobs, return_as="generator")
    for found in run(joblib.delayed(_check_shard)(path, record) for path, record in shards):
        faults += found
        advance(1)
    return faults


def _check_shard(path: Path, record: dict) -> list[str]:
    try:
        size, digest = check_file(path, "shard")
    except StoreError as error:
        return [str(error), *(f"{path}: sample {row} is damaged" for row in damaged_rows(path))]
    if (size, digest) != (record["bytes"], record["sha256"]):
        return [f"{path} is another shard than the index names; build the store again"]
    return []
