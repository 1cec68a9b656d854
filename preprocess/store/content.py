"""What content keys stand for, and what an index says about maps: a build computes both, ``verify`` compares them."""

import hashlib
from collections.abc import Iterable

import numpy as np

from preprocess.store.format import canonical, key_of


def sources_key(keys: Iterable[str], labels: Iterable[int], sources: Iterable[bytes]) -> str:
    """Return a key of the names, labels and source digests of all samples, in order."""
    digest = hashlib.sha256()
    for key, label, source in zip(keys, labels, sources, strict=True):
        digest.update(canonical([key, label, source.hex()]).encode())
    return digest.hexdigest()[:16]


def column_keys(
    sources: str, images: dict, shard_size: int, recipe: dict | None, divided: str | None = None
) -> dict[str, str]:
    """Return the keys of a column.

    Parameters
    ----------
    sources : :func:`sources_key` of its split.
    images, recipe : how images and maps were made, as in the index; no recipe for a column of images.
    shard_size : samples in a full shard.
    divided : the rule by which the samples of this split were chosen, as in the index; None if it was not divided.
    """
    # Raw and PNG give the same pixels.
    pixels = {name: value for name, value in images.items() if name != "codec" or value == "jpeg"}
    maps = {} if recipe is None else {"maps": recipe}
    rule = {} if divided is None else {"divided": divided}
    codec = images["codec"] if recipe is None else "gzip"
    return {
        "content_key": key_of({"sources": sources, "images": pixels, **maps, **rule}),
        "encoding_key": key_of({"codec": codec, "shard_size": shard_size}),
    }


def count_regions(counts: np.ndarray) -> dict[str, int]:
    """Return the superpixel statistics of a column, from the number of superpixels of every map."""
    return {
        "largest_id": int(counts.max(initial=0)) - 1,
        "least_regions": int(counts.min()) if counts.size else 0,
        "regions": int(counts.sum()),
    }
