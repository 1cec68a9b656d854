"""Random seeds as functions of (seed, epoch, step) or (seed, epoch, sample): no state, nothing to restore."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Mix integers and names into one seed.

    Parameters
    ----------
    parts : for example ``("order", seed, epoch)``; a name keeps streams of different use apart.

    Returns
    -------
    An integer in [0, 2**63), the same on every machine and in every version of every library.
    """
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
