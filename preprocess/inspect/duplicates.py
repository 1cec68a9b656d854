"""Find exact and near duplicates in a store.

Every image is read once. A hash of its pixels finds exact copies, and a thumbnail is kept. All pairs of thumbnails are
compared by their low frequencies, which finds candidates for near copies. Candidates are aligned, and their local
structure is compared.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, permutations
from typing import NamedTuple

import cv2
import numpy as np
from rich.table import Table

from preprocess.build.backends import run_parallel
from preprocess.store import Store

THRESHOLD = 0.9  # preprocess/README.md lists what it finds among planted and real copies
SHOWN = 20  # rows of the table of copies

_BATCH = 256  # images or pairs
_SIDE = 32  # pixels of a thumbnail's side: 3 KB per image
_FLAT = 2.0  # grey levels: a thumbnail with a smaller standard deviation is too flat to compare
_FREQUENCIES = 8  # cosine frequencies per direction; only pairs whose sum is below this are used
_ROWS, _COLUMNS = 256, 4096  # shape of a block of cosines: 4 MB, which fits into a cache
_MOST = 32  # candidates for each image among the images after it
_STEPS = 5  # iterations of the alignment
_STRAY = 0.35  # largest scaling, shear or shift of an alignment: a crop of two thirds
_CORRELATED = 0.7  # least correlation of the aligned luminances
_WINDOW = 7  # pixels: side of a window of local structure
_NOISE = 3.0  # squared grey levels, summed over the channels: noise of rounding and JPEG
_KEPT_FIRST = ("test", "val", "train")

Stage = Callable[[str, int], Callable[[int], object]]


class Image(NamedTuple):
    """One image of a store: split, index in the split, key and label."""

    split: str
    place: int
    key: str
    label: int


@dataclass(frozen=True)
class Copy:
    """A copy of another image."""

    image: Image
    kind: str  # ``exact`` (equal stored pixels) or ``near``
    similarity: float  # 1 for an exact copy; :func:`similarity` of a near copy
    mirrored: bool  # whether left and right are exchanged


@dataclass(frozen=True)
class Group:
    """An image to keep, and its direct copies."""

    kept: Image
    copies: tuple[Copy, ...]

    @property
    def labels_differ(self) -> bool:
        """Whether a copy has another label than the image to keep."""
        return any(copy.image.label != self.kept.label for copy in self.copies)


@dataclass(frozen=True)
class Duplicates:
    """The result of :func:`find_duplicates`."""

    groups: list[Group]  # ordered by the image to keep: test, val, train, then by index
    # (split, other split) -> number of images of the split with an exact copy, and with any copy, in the other
    shared: dict[tuple[str, str], tuple[int, int]]


class _Link(NamedTuple):
    first: int
    second: int
    similarity: float
    mirrored: bool


def find_duplicates(
    store: Store,
    threshold: float = THRESHOLD,
    near: bool = True,
    jobs: int = 1,
    stage: Stage = lambda name, total: lambda done: None,
) -> Duplicates:
    """Find exact and near copies within and across the splits of a store.

    Parameters
    ----------
    store : the store to search.
    threshold : least :func:`similarity` of near copies, above 0 and at most 1.
    near : whether to search for near copies.
    jobs : number of processes that align candidates.
    stage : called with the name and length of each stage; returns a function that takes its progress.

    Returns
    -------
    Groups without chains: every copy is a copy of the kept image, not of another copy. Once all copies are removed, no
    duplicates remain.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    images = _list_images(store)
    same, thumbnails = _read(store, len(images), near, stage)
    links = _near_links(thumbnails, np.unique(same), threshold, jobs, stage) if near else []
    equal, alike = _members(same), _by_image(links)
    return Duplicates(_group(images, same, equal, alike), _shared(images, equal, alike))


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Similarity of two thumbnails, invariant to crops, small rotations, brightness and contrast.

    An affine map aligns the second thumbnail with the first by maximising the correlation of their luminances. The
    result is the mean correlation of windows of 7 x 7 pixels, without their mean colour, where the two overlap.

    Parameters
    ----------
    first, second : (32, 32, 3) uint8 arrays.

    Returns
    -------
    Nearly 1 for equal images, about 0 for unrelated ones, and 0 if the alignment fails.

    Notes
    -----
    Many unrelated images share a frame, a bright sky or a dark object on white. This misleads a correlation of complete
    images, but not the mean over windows. Windows are weighted by the square root of their standard deviation, so
    textured windows count only slightly more than flat ones.

    References
    ----------
    Evangelidis and Psarakis, Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization, PAMI 2008,
    doi:10.1109/TPAMI.2008.113.
    """
    aligned = _align(first, second)
    if aligned is None:
        return 0.0
    second, overlap = aligned
    count = np.maximum(_sums(overlap), 1)[..., None]
    first, second = (cv2.GaussianBlur(each.astype(np.float32), (0, 0), 0.7) for each in (first, second))
    weights = overlap[..., None]
    first_mean, second_mean = _sums(weights * first) / count, _sums(weights * second) / count

    def covariance(left: np.ndarray, right: np.ndarray, means: np.ndarray) -> np.ndarray:
        return (_sums(weights * left * right) / count - means).sum(axis=2)

    spread = covariance(first, first, first_mean**2) * covariance(second, second, second_mean**2)
    spread = np.sqrt(np.maximum(spread, 0)) + 1e-6
    alike = covariance(first, second, first_mean * second_mean) / (spread + _NOISE)
    return float(np.average(alike, weights=overlap * spread**0.25))


def likely_pairs(features: np.ndarray, odd: np.ndarray, least: float, advance: Callable[[int], object]) -> np.ndarray:
    """Compare all pairs of features, both as they are and with the second image mirrored.

    Parameters
    ----------
    features : (n, d) float32 array of unit vectors.
    odd : (d,) boolean array: features that change their sign when an image is mirrored.
    least : the least cosine.
    advance : called with the number of features that were compared with all later ones.

    Returns
    -------
    (m, 3) int array: first, second > first, and whether the mirrored second is more similar. At most the 32 most
    similar images for each first.

    Notes
    -----
    Quadratic, but a matrix product. Multiplying even and odd features separately costs as much as one cosine and gives
    both: the sum is the cosine, the difference that of the mirrored image.
    """
    even, odd = np.ascontiguousarray(features[:, ~odd]), np.ascontiguousarray(features[:, odd])
    # Reused buffers: allocating memory for each block would take longer than the products.
    sums, odds, sizes = np.empty((3, _ROWS * _COLUMNS), np.float32)
    found = [np.empty((0, 3), np.int64)]
    for row in range(0, len(features), _ROWS):
        best = _Best()
        for column in range(row, len(features), _COLUMNS):
            shape = min(_ROWS, len(features) - row), min(_COLUMNS, len(features) - column)
            cosines, turned = (each[: math.prod(shape)].reshape(shape) for each in (sums, odds))
            np.matmul(even[row : row + _ROWS], even[column : column + _COLUMNS].T, out=cosines)
            np.matmul(odd[row : row + _ROWS], odd[column : column + _COLUMNS].T, out=turned)
            cosines += np.abs(turned, out=sizes[: cosines.size].reshape(shape))
            where = np.flatnonzero(cosines >= least)
            first, second = np.divmod(where, shape[1])
            mirrored = turned.ravel()[where] < 0
            later = second + column > first + row
            pairs = np.stack([first + row, second + column, mirrored], axis=1)
            best.add(pairs[later], cosines.ravel()[where][later])
        found.append(best.pairs)
        advance(min(_ROWS, len(features) - row))
    return np.concatenate(found)


def exclude_lines(store: Store, groups: Iterable[Group]) -> list[str]:
    """Exclude list for ``build --exclude``: one key per line, below a comment that names the kept image.

    The split and a tab stand before a key that is in several splits, or would be a comment.

    Returns
    -------
    Lines without line ends, by split, copies in the training split first.
    """
    count = Counter(key for split in store.splits for key in store.keys(split))
    copies = sorted(_copies(groups), key=lambda pair: -_rank(pair[1].image.split))
    lines = ["# python -m preprocess duplicates: copies to leave out, for build --exclude"]
    for split, members in groupby(copies, key=lambda pair: pair[1].image.split):
        members = list(members)
        lines.append(f"# {split}: {len(members)} copies")
        for kept, copy in members:
            differs = "" if kept.label == copy.image.label else ", with a different label"
            where = f"{split}\t" if count[copy.image.key] > 1 or copy.image.key.startswith("#") else ""
            lines += [f"# {_describe(copy)} copy of {kept.key}{differs}", f"{where}{copy.image.key}"]
    return lines


def summary(store: Store, found: Duplicates) -> Table:
    """Table with a row for each pair of splits that share images."""
    table = Table("images of", "with a copy in", "exact", "exact or near", "share of the split")
    for (split, other), (exact, both) in found.shared.items():
        table.add_row(split, other, str(exact), str(both), f"{100 * both / len(store.splits[split]):.2f} %")
    return table


def copies(store: Store, groups: Iterable[Group], shown: int = SHOWN) -> Table:
    """Table with a row for each copy; copies with a different label than the kept image come first."""
    table = Table("keep", "copy", "kind", "similarity", "labels")
    rows = sorted(_copies(groups), key=lambda pair: pair[0].label == pair[1].image.label)
    for kept, copy in rows[:shown]:
        names = [store.classes[kept.label], store.classes[copy.image.label]]
        labels = names[0] if names[0] == names[1] else f"{names[0]} / {names[1]}: differ"
        table.add_row(kept.key, copy.image.key, _describe(copy), f"{copy.similarity:.3f}", labels)
    return table


def _list_images(store: Store) -> list[Image]:
    images = []
    for split in store.splits:
        labels = store.labels(split).tolist()
        images += (Image(split, place, *each) for place, each in enumerate(zip(store.keys(split), labels, strict=True)))
    return images


def _read(store: Store, number: int, near: bool, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Index of the first image with the same pixels for each image, and (n, 32, 32, 3) uint8 thumbnails if ``near``."""
    advance = stage("read the images", number)
    same, thumbnails = np.empty(number, np.int64), np.empty((number if near else 0, _SIDE, _SIDE, 3), np.uint8)
    seen: dict[bytes, int] = {}
    everything = chain.from_iterable(_pixels(store, split) for split in store.splits)
    for image, pixels in enumerate(everything):
        digest = hashlib.blake2b(str(pixels.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(pixels))
        same[image] = seen.setdefault(digest.digest(), image)
        if near and same[image] == image:
            thumbnails[image] = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        advance(1)
    return same, thumbnails


def _pixels(store: Store, split: str) -> Iterator[np.ndarray]:
    for rows in store.ranges(split, _BATCH):
        yield from store.images(split, rows)


def _near_links(thumbnails: np.ndarray, chosen: np.ndarray, threshold: float, jobs: int, stage: Stage) -> list[_Link]:
    """Near copies among the chosen thumbnails."""
    chosen = chosen[[thumbnails[image].mean(axis=2).std() >= _FLAT for image in chosen]] if len(chosen) else chosen
    features, odd = _features(thumbnails, chosen)
    pairs = likely_pairs(features, odd, _least_cosine(len(chosen)), stage("compare all with all", len(chosen)))
    pairs[:, :2] = chosen[pairs[:, :2]]
    advance = stage("align candidates", len(pairs))
    values = np.empty(len(pairs))

    def done(found: tuple[int, list[float]]) -> None:
        start, part = found
        values[start : start + len(part)] = part
        advance(len(part))

    parts = ((start, pairs[start : start + _BATCH]) for start in range(0, len(pairs), _BATCH))
    calls = ((start, thumbnails[part[:, 0]], thumbnails[part[:, 1]], part[:, 2]) for start, part in parts)
    run_parallel(_similarities, calls, done, jobs, "loky")
    alike = np.flatnonzero(values >= threshold).tolist()
    return [
        _Link(int(pairs[place, 0]), int(pairs[place, 1]), float(values[place]), bool(pairs[place, 2]))
        for place in alike
    ]


def _similarities(start: int, first: np.ndarray, second: np.ndarray, mirrored: np.ndarray) -> tuple[int, list[float]]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # more threads slow each other down at 32 x 32 pixels
    try:
        second = np.where(mirrored[:, None, None, None], second[:, :, ::-1], second)
        return start, [similarity(*pair) for pair in zip(first, second, strict=True)]
    finally:
        cv2.setNumThreads(threads)


def _features(thumbnails: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low frequencies of the luminance as (n, 35) unit vectors, and which of them are odd in x."""
    waves = np.cos(np.pi * np.arange(_FREQUENCIES)[:, None] * (np.arange(_SIDE) + 0.5) / _SIDE).astype(np.float32)
    down, right = np.mgrid[:_FREQUENCIES, :_FREQUENCIES]
    low = (down + right > 0) & (down + right < _FREQUENCIES)
    features = np.empty((len(chosen), low.sum()), np.float32)
    for start in range(0, len(chosen), _BATCH):
        grey = thumbnails[chosen[start : start + _BATCH]] @ np.float32([0.299, 0.587, 0.114])
        features[start : start + _BATCH] = (waves @ grey @ waves.T)[:, low]
    features = _unit(features)
    features = _unit(features / _amplitudes(features, np.hypot(down, right)[low]))
    return features, right[low] % 2 == 1


def _amplitudes(features: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Typical size of each feature of unit vectors, for equal weights: (d,) float32.

    The prior, as strong as 100 images, is that amplitudes of natural images fall with one over the frequency.
    """
    power, usual = (features**2).sum(axis=0), 1 / frequencies**2
    return np.sqrt((power + 100 * usual / usual.sum()) / (len(features) + 100)).astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def _least_cosine(number: int) -> float:
    # On CIFAR-10, one in 10^4 unrelated pairs is above 0.7, and a tenth of that for each 0.1 more. This bound keeps
    # about 5 candidates per image for any number of images.
    return 0.7 + 0.1 * max(0.0, math.log10(max(number, 1) / 60_000))


class _Best:
    """The most similar candidates of each image in a block of rows."""

    def __init__(self) -> None:
        self.pairs, self._cosines = np.empty((0, 3), np.int64), np.empty(0, np.float32)

    def add(self, pairs: np.ndarray, cosines: np.ndarray) -> None:
        if not len(pairs):
            return
        pairs, cosines = np.concatenate([self.pairs, pairs]), np.concatenate([self._cosines, cosines])
        order = np.lexsort((pairs[:, 1], -cosines, pairs[:, 0]))
        first = pairs[order, 0]
        kept = order[np.arange(len(order)) - np.searchsorted(first, first) < _MOST]
        self.pairs, self._cosines = pairs[kept], cosines[kept]


def _align(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The second image aligned with the first, and a (32, 32) float32 mask of their overlap; None on failure."""
    grey = [cv2.cvtColor(np.ascontiguousarray(each), cv2.COLOR_RGB2GRAY) for each in (first, second)]
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _STEPS, 1e-4)
    try:
        found, warp = cv2.findTransformECC(*grey, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, until, None, 3)
    except cv2.error:  # no convergence, or a flat image
        return None
    middle = np.float32([_SIDE / 2 - 0.5] * 2)
    shift = (warp[:, :2] @ middle + warp[:, 2] - middle) / _SIDE
    if found < _CORRELATED or max(np.abs(warp[:, :2] - np.eye(2)).max(), np.abs(shift).max()) > _STRAY:
        return None
    size = (_SIDE, _SIDE)
    aligned = cv2.warpAffine(
        second, warp, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    overlap = cv2.warpAffine(np.ones(size, np.uint8), warp, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return aligned, overlap.astype(np.float32)


def _sums(values: np.ndarray) -> np.ndarray:
    """Sum over the window around each pixel."""
    return cv2.boxFilter(values, -1, (_WINDOW, _WINDOW), normalize=False, borderType=cv2.BORDER_CONSTANT)


def _rank(split: str) -> int:
    return _KEPT_FIRST.index(split) if split in _KEPT_FIRST else len(_KEPT_FIRST)


def _group(
    images: Sequence[Image], same: np.ndarray, equal: dict[int, list[int]], alike: dict[int, list[_Link]]
) -> list[Group]:
    """Go through the images by priority; each one that is not yet a copy becomes a group with all its copies."""
    groups, copied = [], set()
    for image in sorted(range(len(images)), key=lambda number: (_rank(images[number].split), number)):
        if image in copied:
            continue
        own = same[image]
        taken = [Copy(images[other], "exact", 1.0, False) for other in equal[own] if other != image]
        near = [(other, link) for link in alike[own] for other in equal[link.second] if other not in copied]
        taken += [Copy(images[other], "near", link.similarity, link.mirrored) for other, link in near]
        copied.update(equal[own], (other for other, _ in near))
        if taken:
            groups.append(Group(images[image], tuple(taken)))
    return groups


def _shared(
    images: Sequence[Image], equal: dict[int, list[int]], alike: dict[int, list[_Link]]
) -> dict[tuple[str, str], tuple[int, int]]:
    exact, both = Counter(), Counter()
    for first, members in equal.items():
        splits = Counter(images[member].split for member in members)
        others = {images[member].split for link in alike[first] for member in equal[link.second]}
        for member in members:
            split = images[member].split
            copied = {other for other, count in splits.items() if count > (other == split)}
            exact.update((split, other) for other in copied)
            both.update((split, other) for other in copied | others)
    names = sorted({image.split for image in images}, key=_rank)
    order = [*((name, name) for name in names), *permutations(names, 2)]
    return {pair: (exact[pair], both[pair]) for pair in order if both[pair]}


def _members(same: np.ndarray) -> dict[int, list[int]]:
    """Images by the index of the first image with the same pixels."""
    members: dict[int, list[int]] = defaultdict(list)
    for image, first in enumerate(same.tolist()):
        members[first].append(image)
    return members


def _by_image(links: Iterable[_Link]) -> dict[int, list[_Link]]:
    """Links by each of their two images, as the first one."""
    alike: dict[int, list[_Link]] = defaultdict(list)
    for link in links:
        alike[link.first].append(link)
        alike[link.second].append(link._replace(first=link.second, second=link.first))
    return alike


def _copies(groups: Iterable[Group]) -> Iterator[tuple[Image, Copy]]:
    return ((group.kept, copy) for group in groups for copy in group.copies)


def _describe(copy: Copy) -> str:
    return f"{copy.kind}, mirrored" if copy.mirrored else copy.kind
