"""Where the samples of a split are, and which scales a superpixel set has, by the index."""

from dataclasses import dataclass

import numpy as np

from preprocess.store.index import Index
from preprocess.superpixels.scales import Scale


@dataclass(frozen=True)
class Split:
    """The location of the samples of one split."""

    starts: np.ndarray  # (shards + 1,) int64 array: shard i holds samples starts[i] to starts[i + 1] - 1
    paths: dict[str, tuple[str, ...]]  # column name -> paths of its shards, relative to the folder of the index
    places: np.ndarray | None = None  # (n, 2) int array, shard and row of every sample; None if they are in order

    def __len__(self) -> int:
        return int(self.starts[-1]) if self.places is None else len(self.places)

    def rows_in_use(self, shard: int) -> np.ndarray:
        """Rows of a shard that hold a sample: integer array."""
        if self.places is not None:
            return self.places[self.places[:, 0] == shard, 1]
        return np.arange(self.starts[shard + 1] - self.starts[shard])

    def find(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shard and row of the samples: two (n,) integer arrays."""
        if self.places is not None:
            return self.places[samples, 0], self.places[samples, 1]
        shards = np.searchsorted(self.starts, samples, side="right") - 1
        return shards, samples - self.starts[shards]


@dataclass(frozen=True)
class SuperpixelSet:
    """The scales that training draws from.

    Parameters
    ----------
    name : algorithm, compactness, requested counts and number of scales, for example ``slic-c10-30:40x4``.
    algorithm : name in ``ALGORITHMS``.
    compactness : None if the algorithm has no compactness.
    scales : counts and draw weights.
    columns : column name of each scale.
    """

    name: str
    algorithm: str
    compactness: float | None
    scales: tuple[Scale, ...]
    columns: tuple[str, ...]


def lay_out(index: Index, split: str) -> Split:
    """Where the samples of a split are, by the index."""
    entry = index.document["splits"][split]
    starts = np.cumsum([0, *entry["rows"]], dtype=np.int64)
    paths = {name: tuple(file["path"] for file in column["files"]) for name, column in entry["columns"].items()}
    return Split(starts, paths, index.places.get(split))


def read_set(entry: dict) -> SuperpixelSet:
    """A superpixel set, by its entry in the index."""
    scales = tuple(Scale(scale["segments"], scale["weight"]) for scale in entry["scales"])
    columns = tuple(scale["column"] for scale in entry["scales"])
    return SuperpixelSet(entry["name"], entry["algorithm"], entry["compactness"], scales, columns)
