"""List the samples of a Python program: paths, arrays and images of Pillow, or a data set of torchvision."""

import bisect
import io
import operator
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO
from unicodedata import normalize

import numpy as np
from PIL import Image

from preprocess.datasets.base import Listing, Packed, Sample, split_name
from preprocess.datasets.classes import note_lacking, refuse_unlearnt
from preprocess.errors import DatasetError, ImageError
from preprocess.files import named, scratch
from preprocess.images import to_rgb
from preprocess.text import listed, shown_name

_SHOWN = 5
_MOST_NUMBERS = 1_000_000  # of classes without names
_EXPECTED = "a path, an image of Pillow, or an (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 array"
Pairs = Iterable[tuple[Any, Any]]


def list_samples(
    samples: Pairs | Mapping[str, Pairs],
    classes: Sequence[str] | None,
    out: Path,
    stack: ExitStack,
    advance: Callable[[str, int | None], Callable[[int], None]],
    stored: tuple[str, ...] = (),
) -> Listing:
    """List pairs of an image and a label.

    Images that are no files are written, upright and in RGB, into a scratch file beside ``out``, which lasts as long as
    ``stack``. Keys are relative paths as given; absolute paths without their root; paths of an ``ImageFolder`` are
    relative to its folder, of several that are joined to the folder that holds these, and begin with the split; other
    images have the key ``SPLIT/NUMBER``.

    Parameters
    ----------
    samples : a mapping of split names to pairs, or the pairs of ``train``. Pairs may be a data set of torch.
    classes : names by label; None for ``samples.classes``, the sorted labels if they are text, else numbers.
    advance : called with a description and the number of samples (None if unknown); returns a counter.
    stored : names by label of the store that other splits are added to; then those of data sets are among them.

    Raises
    ------
    DatasetError : a sample is no pair, an image or a label is of another kind, there are not as many as ``len`` says,
        or it is not known which classes the numbers mean.

    Notes
    -----
    Data sets of torch number the classes that they found, each by itself. These are matched by name: to ``classes``, or
    else to those of ``train``. Names of which ``classes`` has none are those of ``train`` in other words, in the same
    order. Subsets and joined data sets are those that they consist of.
    """
    given = dict(samples) if isinstance(samples, Mapping) else {"train": samples}
    names = [split_name(str(name)) for name in given]
    if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise DatasetError(
            f"expected different names of splits, such as train and test, got {', '.join(map(str, given))}"
        )
    spool = _Spool(out, stack)
    found = {}
    for name, pairs in zip(names, given.values(), strict=True):
        found[name] = list(_read(name, pairs, spool, advance))
    if not any(found.values()):
        raise DatasetError("expected samples, got none")
    lead = "train" if "train" in found else names[0]
    classes = stored or None if classes is None else tuple(map(_composed, classes))
    sets = dict(zip(names, given.values(), strict=True))
    first = stored or _first_names(sets, lead, classes)
    owner = "the store" if stored else "" if first == classes else lead
    for name, pairs in sets.items() if first else ():
        found[name] = list(_renumbered(name, found[name], pairs, first, owner))
    labels = [label for rows in found.values() for _, label in rows]
    classes, numbers = _classes(labels, first or None if classes is None else classes)
    spool.flush()
    splits = {name: tuple(make(numbers[label]) for make, label in rows) for name, rows in found.items()}
    notes = [note for pairs in given.values() for note in _unused(pairs)]
    notes += _compare(classes, splits) if "train" in splits else ()
    notes += [f"the classes are those of {out}: {_shown(stored)}"] if stored else []
    return Listing(classes, splits, notes=tuple(dict.fromkeys(notes)))


def _first_names(sets: Mapping[str, Pairs], lead: str, classes: tuple[str, ...] | None) -> tuple[str, ...]:
    """The names that those of all data sets are matched to; none if their numbers are places in ``classes``.

    Raises
    ------
    DatasetError : a number means different classes, and the user did not say which in ``classes``.
    """
    named = {split: list(dict.fromkeys(map(_class_names, _leaves(pairs)))) for split, pairs in sets.items()}
    every = [each for mine in named.values() for each in mine if not _repeated(each)]
    if classes is not None and any(set(each) & set(classes) for each in every):
        return classes
    mine = named.pop(lead)
    if len(mine) > 1 and all(mine) and classes is None:
        raise DatasetError(
            f"{lead} joins data sets that number different classes: {_shown(mine[0])} and {_shown(mine[1])}; pass the "
            "names of all classes, by which they are matched: classes=[...]"
        )
    if len(mine) == 1 and mine[0] and (classes is None or not _repeated(mine[0])):
        return mine[0]
    odd = ((split, each) for split, others in named.items() for each in others if each)
    if classes is None and (found := next(odd, None)):
        raise DatasetError(
            f"{found[0]} numbers the classes {_shown(found[1])}, but the numbers of {lead} have no names and may mean "
            f"others; pass the names of the classes by their numbers in {lead}: classes=[...]"
        )
    return ()


def _class_names(leaf: Any) -> tuple[str, ...]:
    """The names of the classes that a data set of torch has found; none if it has none, or changes the numbers."""
    names = getattr(leaf, "classes", None)
    if not isinstance(names, list | tuple) or getattr(leaf, "target_transform", None) is not None:
        return ()
    return tuple(_composed(", ".join(map(str, name)) if isinstance(name, tuple) else name) for name in names)


def _composed(name: Any) -> str:
    """The name of a class as all listings have it."""
    return normalize("NFC", str(name))


def _shown(names: Sequence[str]) -> str:
    return listed(list(map(shown_name, names)), _SHOWN)


def _renumbered(
    split: str, rows: list, pairs: Pairs, first: tuple[str, ...], owner: str
) -> Iterator[tuple[Callable[[int], Sample], Any]]:
    """Yield the rows of a split with the numbers of the first names, where its data sets number others.

    ``owner`` is the split, or the store, that has these names; empty if the user named them.
    """
    names = {id(leaf): _class_names(leaf) for leaf in _leaves(pairs)}
    if {*names.values()} <= {(), first}:
        yield from rows
        return
    if repeated := next(filter(None, map(_repeated, (*names.values(), first))), ""):
        raise DatasetError(
            f"{split}: two classes are called {shown_name(repeated)!r}, so that its classes cannot be matched by name; "
            "pass pairs of a path and a name for each of them"
        )
    own = [names[id(_found_at(pairs, place)[0])] for place in range(len(rows))]
    used = {mine[label] for mine, (_, label) in zip(own, rows, strict=True) if _is_place(label, mine)}
    if owner:
        refuse_unlearnt(used - {*first}, f"the split {split}", owner, "give train samples of them, leave these out")
    elif unknown := sorted(used - {*first}):
        raise DatasetError(
            f"{split} has classes that classes= lacks: {_shown(unknown)}; name there all classes of the data sets, or, "
            "to give them other names by their numbers, none of them"
        )
    number_of = {name: number for number, name in enumerate(first)}
    for mine, (make, label) in zip(own, rows, strict=True):
        if mine and isinstance(label, int) and label >= len(mine):
            raise DatasetError(f"{split}: the label {label} is none of the {len(mine)} classes of its data set")
        yield make, number_of[mine[label]] if _is_place(label, mine) else label


def _repeated(names: tuple[str, ...]) -> str:
    """A name that is there twice, as crane in ImageNet; empty if there is none."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


def _is_place(label: Any, names: tuple[str, ...]) -> bool:
    return isinstance(label, int) and 0 <= label < len(names)


def _unused(pairs: Pairs) -> Iterator[str]:
    """Yield a warning of the transform of an ``ImageFolder``, whose files are stored."""
    for leaf in _leaves(pairs):
        if _is_image_folder(leaf) and leaf.transform is not None:
            what = type(leaf).__name__
            yield f"warning: the transform of {what} is not applied: the store holds the images of its files"


def _compare(classes: Sequence[str], splits: Mapping[str, Sequence[Sample]]) -> Iterator[str]:
    """Refuse classes that ``train`` lacks; yield warnings of those that a split lacks."""
    used = {name: {classes[sample.label] for sample in mine} for name, mine in splits.items()}
    for name, mine in used.items():
        remedy = "give train samples of them, leave these out"
        refuse_unlearnt(mine - used["train"], f"the split {name}", "train", remedy)
        yield from note_lacking(classes, mine, f"the split {name}", "train")


def _read(
    split: str, pairs: Pairs, spool: "_Spool", advance: Callable[[str, int | None], Callable[[int], None]]
) -> Iterator[tuple[Callable[[int], Sample], Any]]:
    """Yield for each sample a function that makes it of its number of a class, and its label."""
    expected = len(pairs) if hasattr(pairs, "__len__") else None
    done, count = advance(f"read {split}", expected), 0
    for count, pair in enumerate(_pairs(split, pairs), start=1):
        where = f"sample {count - 1} of {split}"
        try:
            image, label = None if isinstance(pair, Mapping | str) else pair
        except (TypeError, ValueError):
            hint = ', such as (row["image"], row["label"])' if isinstance(pair, Mapping) else ""
            raise DatasetError(
                f"{where}: expected a pair of image and label{hint}, got {type(pair).__name__}"
            ) from None
        yield _sample(where, split, count - 1, image, spool), _label(where, label)
        done(1)
    if expected not in (None, count):
        raise DatasetError(f"{split} gave {count} samples, but its len is {expected}")


def _pairs(split: str, pairs: Pairs) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of a split. Images of an ``ImageFolder``, or of parts of one, are not decoded here."""
    if any(map(_is_image_folder, _leaves(pairs))):
        yield from _pairs_of_folders(split, pairs)
    elif hasattr(pairs, "__iter__"):
        yield from pairs
    elif hasattr(pairs, "__getitem__") and hasattr(pairs, "__len__"):  # a data set of torch
        yield from (pairs[place] for place in range(len(pairs)))
    else:
        raise DatasetError(f"expected pairs of image and label for {split}, got {type(pairs).__name__}")


def _pairs_of_folders(split: str, pairs: Any) -> Iterator[tuple[Any, Any]]:
    home = os.path.commonpath([os.path.abspath(leaf.root) for leaf in _leaves(pairs) if _is_image_folder(leaf)])  # noqa: PTH100
    for place in range(len(pairs)):
        leaf, inner = _found_at(pairs, place)
        if _is_image_folder(leaf):
            path, label = leaf.samples[inner]
            number_of = leaf.target_transform or operator.index
            yield _Keyed(path, f"{split}/{PurePath(os.path.relpath(path, home)).as_posix()}"), number_of(label)
        else:
            yield leaf[inner]


def _is_image_folder(leaf: Any) -> bool:
    """Whether a data set gives what its files hold, so that they need not be decoded here."""
    loader, get = getattr(leaf, "loader", None), getattr(type(leaf), "__getitem__", None)
    usual = getattr(loader, "__name__", "") == "default_loader" and hasattr(leaf, "samples")
    return usual and getattr(get, "__module__", "") == loader.__module__  # no __getitem__ of a class of one's own


def _leaves(pairs: Any) -> Iterator[Any]:
    """Yield the data sets that a subset, or joined data sets, of torch consist of; of others the data set itself."""
    if _is_joined(pairs):
        for part in pairs.datasets:
            yield from _leaves(part)
    elif _is_subset(pairs):
        yield from _leaves(pairs.dataset)
    else:
        yield pairs


def _found_at(pairs: Any, place: int) -> tuple[Any, int]:
    """The one of :func:`_leaves` that holds a sample, and the place of the sample in it."""
    if _is_joined(pairs):
        ends = pairs.cumulative_sizes
        place += ends[-1] if place < 0 else 0
        number = bisect.bisect_right(ends, place)
        return _found_at(pairs.datasets[number], place - (ends[number - 1] if number else 0))
    if _is_subset(pairs):
        return _found_at(pairs.dataset, pairs.indices[place])
    return pairs, place


def _is_joined(pairs: Any) -> bool:
    return _is_of_torch(pairs) and hasattr(pairs, "datasets") and hasattr(pairs, "cumulative_sizes")


def _is_subset(pairs: Any) -> bool:
    return _is_of_torch(pairs) and hasattr(pairs, "dataset") and hasattr(pairs, "indices")


def _is_of_torch(pairs: Any) -> bool:
    """Whether torch itself says what a sample is: no __getitem__ of a class of one's own, which may change labels."""
    return getattr(getattr(type(pairs), "__getitem__", None), "__module__", "") == "torch.utils.data.dataset"


@dataclass(frozen=True)
class _Keyed:
    """A file with the key that it gets."""

    path: str
    key: str


def _sample(where: str, split: str, number: int, image: Any, spool: "_Spool") -> Callable[[int], Sample]:
    if isinstance(image, _Keyed):
        return lambda label: Sample(image.key, label, Path(image.path))
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        if ".." in path.parts:
            raise DatasetError(f"{where}: {path} is not below the working folder; make it absolute (Path.resolve)")
        key = path.relative_to(path.anchor).as_posix()
        return lambda label: Sample(key, label, path)
    offset, length = spool.add(*_pixels(where, image))
    key, path = f"{split}/{number:08d}", spool.path
    return lambda label: Packed(key, label, path, offset=offset, length=length)


def _pixels(where: str, image: Any) -> tuple[bytes, memoryview]:
    """Return an image that is no file as the header and the contents of an image file without loss."""
    if not isinstance(image, Image.Image):
        array = image if isinstance(image, np.ndarray) else None
        if array is None or array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] in ((1,), (3,), (4,))):
            what = type(image).__name__
            what += f" of {getattr(image, 'dtype', '')} {tuple(image.shape)}" if hasattr(image, "shape") else ""
            hint = "; leave out the transforms of the data set" if "Tensor" in what else ""
            raise DatasetError(f"{where}: expected {_EXPECTED}, got {what}{hint}")
        if 0 in array.shape:
            raise DatasetError(f"{where}: an array without pixels, {array.shape}")
        image = Image.fromarray(np.squeeze(array, 2) if array.shape[2:] == (1,) else array)
    try:
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):  # how they become 8 bits is said about files
            return b"", _tiff(image)
        pixels = np.ascontiguousarray(to_rgb(image))
        return f"P6\n{pixels.shape[1]} {pixels.shape[0]}\n255\n".encode(), pixels.data
    except ImageError as error:
        raise DatasetError(f"{where}: {error}") from None


def _tiff(image: Image.Image) -> memoryview:
    file = io.BytesIO()
    image.save(file, "TIFF")
    return file.getbuffer()


def _label(where: str, label: Any) -> str | int:
    if isinstance(label, str):
        return _composed(label)
    try:
        return operator.index(label.item() if hasattr(label, "item") else label)
    except (TypeError, ValueError, RuntimeError):
        raise DatasetError(f"{where}: expected the number or the name of a class, got {type(label).__name__}") from None


def _classes(labels: list[str | int], names: Sequence[str] | None) -> tuple[tuple[str, ...], dict[str | int, int]]:
    """Return the names of the classes, and the number of each label."""
    used = set(labels)
    texts = {label for label in used if isinstance(label, str)}
    if texts and texts != used:
        raise DatasetError("expected labels that are all names or all numbers, got both")
    if texts:
        names = tuple(map(str, sorted(texts) if names is None else names))
        numbers = {name: number for number, name in enumerate(names)}
        if odd := sorted(texts - numbers.keys()):
            raise DatasetError(f"the label {odd[0]!r} is none of the {len(names)} classes: {_shown(names)}")
        return names, numbers
    if min(used) < 0:
        raise DatasetError(f"expected numbers of classes from 0 on, got {min(used)}; leave out samples without a label")
    if names is None and max(used) >= _MOST_NUMBERS:
        raise DatasetError(f"expected numbers of classes, 0, 1, 2, ..., got {max(used)}; give names (text) as labels")
    names = tuple(map(str, range(max(used) + 1) if names is None else names))
    if odd := sorted(label for label in used if label >= len(names)):
        raise DatasetError(f"the label {odd[0]} is none of the {len(names)} classes, 0 to {len(names) - 1}")
    return names, {label: label for label in used}


class _Spool:
    """A scratch file of pixels, made when the first image comes."""

    def __init__(self, out: Path, stack: ExitStack) -> None:
        self.out, self.stack = out, stack
        self.path, self.end = out, 0
        self.file: BinaryIO | None = None

    def add(self, header: bytes, contents: memoryview) -> tuple[int, int]:
        """Write an image; return its offset and length."""
        if self.file is None:
            self.path, self.file = self.stack.enter_context(scratch(self.out))
        begin = self.end
        with named(self.out):
            self.file.write(header)
            self.file.write(contents)
        self.end += len(header) + contents.nbytes
        return begin, self.end - begin

    def flush(self) -> None:
        """Let other processes see what was written."""
        file: BinaryIO | None = self.file
        if file is not None:
            with named(self.out):
                file.flush()
