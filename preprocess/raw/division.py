"""Divide the training split of a listing by the key of every image, so that later images move no earlier one."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace

from preprocess.datasets import Listing, Sample, split_name
from preprocess.datasets.base import SPLITS
from preprocess.errors import SettingError

WHOLE = "train"  # the rule that takes all images for training
_DIGITS = 12  # of a share
_EXAMPLE = "val=0.1,test=0.2"


def parse_rule(text: str) -> str:
    """Return a rule in its one form: ``train``, or shares such as ``val=0.1,test=0.2``.

    Raises
    ------
    ValueError : it is no rule.
    """
    if split_name(text) == WHOLE:
        return WHOLE
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        name = split_name(name.strip())
        try:
            value = round(float(share), _DIGITS)
        except ValueError:
            value = math.nan
        if name not in SPLITS or name in shares or not 0 < value < 1:
            raise ValueError(f"expected {WHOLE}, or shares between 0 and 1 such as {_EXAMPLE}, got {text!r}")
        shares[name] = value
    rest = 1 - sum(shares.values())
    if (WHOLE in shares and abs(rest) > 1e-9) or (WHOLE not in shares and rest <= 1e-9):
        raise ValueError(f"expected shares that leave some images for train, such as {_EXAMPLE}, got {text!r}")
    return ",".join(f"{name}={shares[name]:.{_DIGITS}f}".rstrip("0") for name in SPLITS[1:] if name in shares) or WHOLE


def parts_of(rule: str) -> tuple[str, ...]:
    """Return the splits that a rule makes; none if it is empty."""
    return (WHOLE, *_shares(rule)) if rule else ()


def divide(listing: Listing, rule: str) -> Listing:
    """Move shares of the training split into other splits.

    An image has a number in [0, 1), drawn by a hash of its key. The first share of this interval is the first split of
    the rule, and so on; the rest is for training. So the shares hold in every class up to chance, and an image stays
    where it is when others are added. The image of a class with the largest number is always for training, so that a
    class of a few images is learnt; of these alone one may move when another image has a larger number.

    Parameters
    ----------
    listing : its split ``train`` is divided.
    rule : from :func:`parse_rule`; empty for none.

    Raises
    ------
    SettingError : the listing has no split and no rule is given, or a split of the rule is there already or has no
        image.
    """
    if not rule:
        if listing.undivided:
            raise SettingError(
                "split",
                f"the images are not divided into training and test images; choose a share of each class with --split "
                f"{_EXAMPLE}, or take all for training with --split {WHOLE}",
            )
        return listing
    shares = _shares(rule)
    if rule == WHOLE and not listing.undivided:
        raise SettingError(
            "split",
            f"the images are divided into {', '.join(listing.splits)} already; take some of these splits with --splits",
        )
    if WHOLE not in listing.splits:
        raise SettingError("split", f"{rule} divides train, which is not listed; add train to --splits")
    if there := [name for name in shares if name in listing.splits]:
        raise SettingError(
            "split",
            f"{rule} would make the split {there[0]}, which is there already; leave it out with --splits, or "
            "remove it from --split",
        )
    chosen = dict(_choices(listing.splits[WHOLE], shares))
    splits = {WHOLE: tuple(each for each in listing.splits[WHOLE] if each.key not in chosen)}
    for name in shares:
        splits[name] = tuple(each for each in listing.splits[WHOLE] if chosen.get(each.key) == name)
        if not splits[name]:
            raise SettingError("split", f"{rule} gives {name} no image; ask for a larger share")
    splits |= {name: samples for name, samples in listing.splits.items() if name != WHOLE}
    lacking = {name: len(listing.classes) - len({each.label for each in splits[name]}) for name in shares}
    notes = [
        f"warning: {name} has no image of {count:,} of {len(listing.classes):,} classes, by the shares of --split"
        for name, count in lacking.items()
        if count
    ]
    ordered = {name: splits[name] for name in (*SPLITS, *splits) if name in splits}
    return replace(listing, splits=ordered, undivided=False, rule=rule, notes=(*listing.notes, *notes))


def _shares(rule: str) -> dict[str, float]:
    if rule == WHOLE:
        return {}
    return {name: float(share) for name, share in (part.split("=") for part in rule.split(","))}


def _choices(samples: tuple[Sample, ...], shares: dict[str, float]) -> Iterator[tuple[str, str]]:
    """Yield key and split of the samples that are not for training."""
    draws = {sample.key: draw(sample.key) for sample in samples}
    last: dict[int, Sample] = {}
    for sample in samples:
        if sample.label not in last or draws[sample.key] > draws[last[sample.label].key]:
            last[sample.label] = sample
    kept = {sample.key for sample in last.values()}
    for key, value in draws.items():
        begin = 0.0
        for name, share in shares.items():
            if begin <= value < begin + share and key not in kept:
                yield key, name
            begin += share


def draw(key: str) -> float:
    """Return a number in [0, 1) for a key, evenly distributed over keys."""
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()[:6]) / 2**48
