"""Random numbers as functions of (seed, epoch, step) or (seed, epoch, sample): no state to save or restore."""

import hashlib

import numpy as np

_STRIDE = np.uint64(64)  # maximum of numbers per sample
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def derive_seed(*parts: int | str) -> int:
    """Hash integers and names to one seed.

    Parameters
    ----------
    parts : for example ``("order", seed, epoch)``; the name separates streams for different uses.

    Returns
    -------
    An integer in [0, 2**63), the same on every machine and with every library version.
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def uniforms(name: str, seed: int, epochs: np.ndarray, samples: np.ndarray, count: int) -> np.ndarray:
    """Draw a few numbers for each of many samples.

    Parameters
    ----------
    name, seed : name and seed of the stream.
    epochs, samples : (n,) integer arrays: the numbers of a sample in an epoch do not depend on other draws.
    count : numbers per sample, at most 64.

    Returns
    -------
    (n, count) float64 array in [0, 1).

    References
    ----------
    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, doi:10.1145/2660193.2660195), which allows random access.
    """
    if count > _STRIDE:
        raise ValueError(f"count must be at most {_STRIDE}, got {count}")
    unique, inverse = np.unique(epochs, return_inverse=True)
    starts = np.array([derive_seed(name, seed, int(epoch)) for epoch in unique], dtype=np.uint64)[inverse]
    steps = np.asarray(samples).astype(np.uint64)[:, None] * _STRIDE + np.arange(1, count + 1, dtype=np.uint64)
    return (splitmix64(starts[:, None], steps) >> np.uint64(11)) * 2.0**-53


def splitmix64(start: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Compute 64 random bits at each position, from 1, of the streams of given seeds; all are uint64 arrays."""
    bits = start + steps * _GOLDEN
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
