"""List the samples of a Python program: paths, arrays and images of Pillow, or a data set of torchvision."""

import io
import operator
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from preprocess.datasets.base import Listing, Packed, Sample, split_name
from preprocess.datasets.classes import note_lacking, refuse_unlearnt
from preprocess.errors import DatasetError, ImageError
from preprocess.files import named, scratch
from preprocess.images import to_rgb

_DEEP = ("I", "I;16", "F")  # modes of more than 8 bits
_EXPECTED = "a path, an image of Pillow, or an (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 array"
Pairs = Iterable[tuple[Any, Any]]


def list_samples(
    samples: Pairs | Mapping[str, Pairs],
    classes: Sequence[str] | None,
    out: Path,
    stack: ExitStack,
    advance: Callable[[str, int | None], Callable[[int], None]],
) -> Listing:
    """List pairs of an image and a label.

    Images that are no files are written, upright and in RGB, into a scratch file beside ``out``, which lasts as long as
    ``stack``. Keys are relative paths as given; absolute paths without their root; paths of an ``ImageFolder`` are
    relative to its folder and begin with the split; other images have the key ``SPLIT/NUMBER``.

    Parameters
    ----------
    samples : a mapping of split names to pairs, or the pairs of ``train``. Pairs may be a data set of torch.
    classes : names by label; None for ``samples.classes``, the sorted labels if they are text, else numbers.
    advance : called with a description and the number of samples (None if unknown); returns a counter.

    Raises
    ------
    DatasetError : a sample is no pair, an image or a label is of another kind, or there are not as many as ``len``
        says.
    """
    given = dict(samples) if isinstance(samples, Mapping) else {"train": samples}
    names = [split_name(name) for name in given]
    if len(set(names)) != len(names) or not all(name.isidentifier() for name in names):
        raise DatasetError(f"expected different names of splits, such as train and test, got {', '.join(given)}")
    spool = _Spool(out, stack)
    found = {}
    for name, pairs in zip(names, given.values(), strict=True):
        found[name] = list(_read(name, pairs, spool, advance))
    if not any(found.values()):
        raise DatasetError("expected samples, got none")
    names_of = classes or next((each.classes for each in map(_base, given.values()) if hasattr(each, "classes")), None)
    labels = [label for rows in found.values() for _, label in rows]
    classes, numbers = _classes(labels, names_of)
    spool.flush()
    splits = {name: tuple(make(numbers[label]) for make, label in rows) for name, rows in found.items()}
    return Listing(classes, splits, notes=tuple(_compare(classes, splits)) if "train" in splits else ())


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
            image, label = pair
        except (TypeError, ValueError):
            raise DatasetError(f"{where}: expected a pair of image and label, got {type(pair).__name__}") from None
        yield _sample(where, split, count - 1, image, spool), _label(where, label)
        done(1)
    if expected not in (None, count):
        raise DatasetError(f"{split} gave {count} samples, but its len is {expected}")


def _pairs(split: str, pairs: Pairs) -> Iterator[tuple[Any, Any]]:
    """Yield the pairs of a split. Images of an ``ImageFolder``, or of a subset of one, are not decoded here."""
    base = _base(pairs)
    if getattr(getattr(base, "loader", None), "__name__", "") == "default_loader" and hasattr(base, "samples"):
        places = pairs.indices if base is not pairs else range(len(base.samples))
        for place in places:
            path, label = base.samples[place]
            yield _Keyed(path, f"{split}/{PurePath(os.path.relpath(path, base.root)).as_posix()}"), label
    elif hasattr(pairs, "__iter__"):
        yield from pairs
    elif hasattr(pairs, "__getitem__") and hasattr(pairs, "__len__"):  # a data set of torch
        yield from (pairs[place] for place in range(len(pairs)))
    else:
        raise DatasetError(f"expected pairs of image and label for {split}, got {type(pairs).__name__}")


def _base(pairs: Any) -> Any:
    """The data set of a subset of torch, or the data set itself."""
    return pairs.dataset if hasattr(pairs, "dataset") and hasattr(pairs, "indices") else pairs


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
        if image.mode in _DEEP:  # how they become 8 bits is said about files
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
        return label
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
        names = tuple(map(str, names or sorted(texts)))
        numbers = {name: number for number, name in enumerate(names)}
        if odd := sorted(texts - numbers.keys()):
            raise DatasetError(f"the label {odd[0]!r} is none of the {len(names)} classes")
        return names, numbers
    if min(used) < 0:
        raise DatasetError(f"expected numbers of classes from 0 on, got {min(used)}; leave out samples without a label")
    names = tuple(map(str, names if names is not None else range(max(used) + 1)))
    if odd := sorted(label for label in used if label >= len(names)):
        raise DatasetError(f"the label {odd[0]} is none of the {len(names)} classes, 0 to {len(names) - 1}")
    return names, {label: label for label in used}


class _Spool:
    """A scratch file of pixels, made when the first image comes."""

    def __init__(self, out: Path, stack: ExitStack) -> None:
        self.out, self.stack = out, stack
        self.path, self.file, self.end = out, None, 0

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
