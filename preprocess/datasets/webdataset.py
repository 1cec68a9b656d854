"""WebDataset: images and labels as members of tar files, read in place."""

import glob
import itertools
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from preprocess.datasets.base import EVERYTHING, Adapter, Listing, Packed, Request
from preprocess.datasets.metadata import read_lines
from preprocess.datasets.shards import LABELS, Label, by_split, note_gaps, number_labels, refuse_missing_parts
from preprocess.datasets.tars import Member, members
from preprocess.datasets.tree import suffix_of, walk
from preprocess.errors import DatasetError, MissingDataError
from preprocess.formats import HEAD, format_of, is_readable, suffixes
from preprocess.inputs import open_regular
from preprocess.schema import SchemaError, parse_json
from preprocess.text import shown_name

_LABELS = ("cls", "cls.txt", "label", "label.txt", "class", "class.txt", "txt", "json")  # members, the first wins
_NAMES = ("classes.txt", "classnames.txt", "labels.txt")  # beside the tar files, or one folder above
_REMOTE = re.compile(r"(pipe|https?|s3|gs|hf|ftp|azure):")
_PACKED = {  # how compressed files begin -> the program that unpacks them, and the suffix that it wants
    b"\x1f\x8b": ("gunzip", "gz"),
    b"\x28\xb5\x2f\xfd": ("zstd -d --rm", "zst"),
    b"BZh": ("bunzip2", "bz2"),
    b"\xfd7zXZ": ("unxz", "xz"),
}
_PACKED_NAME = re.compile(r"\.(tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
_LARGEST_LABEL = 1 << 20  # bytes of a member
_MOST_FILES, _MOST_BRACES = 100_000, 50  # that braces may stand for; of a pattern
_LONGEST_NAME = 300  # characters of a class name


class _Group(NamedTuple):
    """The members of a sample."""

    name: str  # path of all of them up to the first dot of the file name
    parts: dict[str, Member]  # by the rest of the name, in lower case


class _Found(NamedTuple):
    name: str
    sample: Packed
    label: Label


@dataclass
class _Lost:
    """What is left out: how often, and the first."""

    reasons: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        count, first = self.reasons.get(reason, (0, example))
        self.reasons[reason] = count + 1, first

    def merge(self, other: "_Lost") -> None:
        for reason, (count, first) in other.reasons.items():
            before, example = self.reasons.get(reason, (0, first))
            self.reasons[reason] = before + count, example

    def texts(self) -> list[str]:
        return [f"{count:,} {reason}, such as {first}" for reason, (count, first) in self.reasons.items()]


def find_webdataset(root: Path, request: Request = EVERYTHING) -> Listing:
    """List the images of tar files as the library webdataset writes them.

    The members of a sample share their path up to the first dot of the file name. The image is the member with the
    suffix of an image, or else the one whose first bytes say so; the label is a number or a name in a member such as
    ``cls``, or a field of ``json``. Class names are the lines of ``classes.txt``, ``classnames.txt`` or ``labels.txt``
    beside the tar files or one folder above, or else the labels. Splits are words in the names of the tar files, or
    of their folders below the root (below the folder that all have in common, if the root is a pattern). Samples are
    in the order of the files by name and of their members; keys are the paths of the images in the tar files.

    Parameters
    ----------
    root : a tar file, a folder with tar files, or a pattern with ``{000..007}``, ``{a,b}``, ``*``, ``?`` and ``[...]``.
    request : ``image`` is the rest of the name of the image (``jpg``); ``label`` that of the label, or a field of json.

    Raises
    ------
    MissingDataError : there are no tar files.
    DatasetError : a tar file is damaged or compressed, no image or label can be told, a key is there twice, or a
        file of a folder is missing: one of those called number N of M.
    """
    home, files = _files(root)
    _refuse_packed(files)
    splits, undivided = by_split(home, files, request)
    used = [path for split, mine in splits.items() if undivided or request.wants(split) for path in mine]
    whole = used if root.is_dir() else []  # a pattern says which are meant
    refuse_missing_parts(whole)
    names, table = _class_names(home, files)
    lost, chooser = _Lost(), _Chooser(request)
    found = {
        split: _list(paths, chooser, lost if request.wants(split) else _Lost())
        for split, paths in splits.items()
        if undivided or request.wants(split) or (split == "train" and names is None)
    }
    wanted = replace(request, splits=None) if undivided else request
    numbered = number_labels({split: [each.label for each in mine] for split, mine in found.items()}, names, wanted)
    listed = {
        split: tuple(
            replace(each.sample, label=number)
            for each, number in zip(found[split], numbers, strict=True)
            if number is not None
        )
        for split, numbers in numbered.labels.items()
    }
    said = (*chooser.notes(), _say_names(table, numbered.classes), *_say_splits(splits, undivided), *note_gaps(whole))
    tables = (*(path for mine in splits.values() for path in mine), *([table] if table else ()))
    lost.merge(_Lost(numbered.left_out))
    return Listing(
        numbered.classes,
        listed,
        undivided=undivided,
        tables=tables,
        notes=(*said, *numbered.notes),
        left_out=lost.reasons,
    )


def expand(pattern: str) -> list[str]:
    """Write out braces, as a shell does: ``{000..007}``, ``{0..10..2}`` and ``{a,b}``, also inside each other.

    Raises
    ------
    DatasetError : they stand for too many files.
    """
    few = pattern.count("{") <= _MOST_BRACES
    found = list(itertools.islice(_expanded(pattern), _MOST_FILES + 1)) if few else []
    if not 0 < len(found) <= _MOST_FILES:
        raise DatasetError(f"{pattern[:_LONGEST_NAME]} stands for more than {_MOST_FILES:,} files")
    return found


def _expanded(text: str) -> Iterator[str]:
    for start, letter in enumerate(text):
        end = _closing(text, start) if letter == "{" else -1
        choices = _choices(text[start + 1 : end]) if end > 0 else []
        if choices:
            for choice in choices:
                for middle in _expanded(choice):
                    yield from (f"{text[:start]}{middle}{rest}" for rest in _expanded(text[end + 1 :]))
            return
    yield text


def _closing(text: str, start: int) -> int:
    """Return where the brace closes that opens at ``start``; -1 if it does not."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    return -1


def _choices(text: str) -> Sequence[str]:
    """What braces around a text stand for; nothing if they are no pattern."""
    span = re.fullmatch(r"(-?\d{1,9})\.\.(-?\d{1,9})(?:\.\.(-?\d{1,9}))?", text)
    if span is None:
        parts = _split(text)
        return parts if len(parts) > 1 else ()
    first, last, step = int(span[1]), int(span[2]), abs(int(span[3] or 1)) or 1
    padded = any(re.match(r"-?0\d", end) for end in span.groups()[:2])
    width = max(len(span[1]), len(span[2])) if padded else 0
    numbers = range(first, last + 1, step) if first <= last else range(first, last - 1, -step)
    return [f"{number:0{width}d}" for number in itertools.islice(numbers, _MOST_FILES + 1)]


def _split(text: str) -> list[str]:
    """Split at commas outside of braces."""
    parts, depth = [""], 0
    for letter in text:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _files(root: Path) -> tuple[Path, list[Path]]:
    """The tar files that a root means, and the folder below which their paths name splits."""
    text = os.fspath(root)
    if _REMOTE.match(text):
        raise DatasetError(f"{text} is not on this machine; fetch the tar files and give their folder")
    if root.is_dir():
        files = [Path(level.path, name) for level in walk(root) for name in level.files if _is_tar(name)]
        if not files:
            raise MissingDataError(f"{root} has no .tar files")
        return root, sorted(files)
    if root.exists():
        return root.parent, [root]
    expanded = expand(text)
    found = {name: _matches(name) for name in expanded}
    missing = [name for name, paths in found.items() if not (paths and Path(paths[0]).exists())]
    if missing:
        of = f"{len(missing):,} of {len(expanded):,} files, the first is " if len(expanded) > 1 else ""
        raise MissingDataError(f"missing: {of}{missing[0]}")
    files = list(dict.fromkeys(Path(path) for paths in found.values() for path in paths))
    return Path(os.path.commonpath([path.parent for path in files])), files


def _matches(name: str) -> list[str]:
    return sorted(glob.glob(name)) if glob.has_magic(name) else [name]  # noqa: PTH207 - it may be absolute


def _is_tar(name: str) -> bool:
    return suffix_of(name) == ".tar" or _PACKED_NAME.search(name) is not None


def _refuse_packed(files: list[Path]) -> None:
    """Refuse compressed files: to read one image of them, all that stands before it is unpacked."""
    for path in files:
        with open_regular(path) as file:
            head = file.read(HEAD)
        for magic, (program, suffix) in _PACKED.items():
            if head.startswith(magic):
                named, before = path, ""
                if path.suffix == ".tar":  # a name that these programs refuse
                    named = path.with_name(f"{path.name}.{suffix}")
                    before = f"mv {shlex.quote(str(path))} {shlex.quote(str(named))}; "
                raise DatasetError(
                    f"{path} is compressed, so that no image can be read without all before it; unpack this file and "
                    f"all like it, and name {_PACKED_NAME.sub('.tar', path.name)}: {before}{program} "
                    f"{shlex.quote(str(named))}"
                )


def _list(paths: list[Path], chooser: "_Chooser", told: _Lost) -> list[_Found]:
    """List the samples of a split."""
    found: list[_Found] = []
    homes: dict[str, Path] = {}
    samples, lost = 0, _Lost()
    for path in paths:
        with open_regular(path) as file:
            for group in _groups(path, file, lost):
                samples += 1
                if each := chooser.choose(path, file, group, lost):
                    if other := homes.get(each.sample.key):
                        raise DatasetError(
                            f"{other} and {path} both hold {each.sample.key}; if one is a copy, move it away, else "
                            "write the samples again with keys that are unique within a split"
                        )
                    homes[each.sample.key] = path
                    found.append(each)
    if len(found) <= samples // 2:
        why = "; ".join(lost.texts())
        raise DatasetError(
            f"{len(paths):,} tar files, from {paths[0]} on, have {len(found):,} images with labels: {why or 'empty'}; "
            f"expected a label in {', '.join(_LABELS[:-2])}, a number in txt, or a field of json; choose members with "
            "--image and --label"
        )
    told.merge(lost)
    return found


def _groups(path: Path, file: BinaryIO, lost: _Lost) -> list[_Group]:
    """The samples of a tar file."""
    found: dict[str, _Group] = {}
    for member in members(path, file):
        if isinstance(member, str):
            lost.add("links, devices or sparse files in tar files", f"{path.name}: {shown_name(member)}")
            continue
        name = member.name.removeprefix("./")
        folder, slash, base = name.rpartition("/")
        stem, dot, rest = base.partition(".")
        if not (stem and dot) or (stem.startswith("__") and stem.endswith("__")):
            lost.add("files in tar files that belong to no sample", f"{path.name}: {shown_name(name)}")
            continue
        group = found.setdefault(f"{folder}{slash}{stem}", _Group(f"{folder}{slash}{stem}", {}))
        if rest.lower() in group.parts:
            raise DatasetError(f"{path} holds {name} twice; remove one, or write the tar file again with unique keys")
        group.parts[rest.lower()] = member._replace(name=name)
    return list(found.values())


@dataclass
class _Chooser:
    """Choose the image and the label of samples; how labels are stored is told from the first one that has one."""

    request: Request
    place: str = ""  # member of the label
    entry: str = ""  # its entry, if it is json
    images: Counter = field(default_factory=Counter)
    unread: Counter = field(default_factory=Counter)

    def choose(self, path: Path, file: BinaryIO, group: _Group, lost: _Lost) -> _Found | None:
        """The image and the label of a sample; None if one is missing."""
        rest = self._image(path, file, group)
        if rest is None:
            lost.add("samples without an image", f"{path.name}: {shown_name(group.name)}")
            return None
        if not self.place:
            self._settle(path, file, group)
        member = group.parts.get(self.place)
        if member is None:
            lost.add(
                "images without a label",
                f"{path.name}: {shown_name(group.name)} ({shown_name(', '.join(group.parts))})",
            )
            return None
        self.images[rest] += 1
        self.unread.update(group.parts.keys() - {rest, self.place})
        image = group.parts[rest]
        sample = Packed(image.name, 0, path, offset=image.offset, length=image.size)
        return _Found(group.name, sample, self._label(path, file, member))

    def notes(self) -> Iterator[str]:
        kinds = ", ".join(f".{rest} ({count:,})" for rest, count in self.images.most_common())
        label = f"{self.place}, field {self.entry!r}" if self.entry else self.place
        yield f"images: {kinds}; labels: .{label}"
        if self.unread:
            kinds = ", ".join(f".{rest} ({count:,})" for rest, count in self.unread.most_common(8))
            yield f"not stored: the members {shown_name(kinds)}; the store has no place for masks and texts"

    def _image(self, path: Path, file: BinaryIO, group: _Group) -> str | None:
        if self.request.image is not None:
            rest = self.request.image.removeprefix(".").lower()
            return rest if rest in group.parts else None
        named = [rest for rest in group.parts if suffix_of(f"x.{rest}") in suffixes()]
        named = [rest for rest in named if "." not in rest] or named  # jpg before mask.png
        if len(named) > 1:
            raise DatasetError(
                f"{path}: {group.name} has several images: {', '.join(named)}; choose one with --image {named[0]}"
            )
        if named:
            return named[0]
        others = (rest for rest in group.parts if rest not in _LABELS)
        return next((rest for rest in others if is_readable(format_of(_bytes(file, group.parts[rest], HEAD)))), None)

    def _settle(self, path: Path, file: BinaryIO, group: _Group) -> None:
        """Decide where labels are, if this sample has one."""
        wanted = self.request.label
        if wanted is None:
            places = (rest for rest in _LABELS if rest in group.parts)
            self.place = next((rest for rest in places if self._is_label(path, file, rest, group.parts[rest])), "")
        elif wanted.removeprefix(".").lower() in group.parts:
            self.place = wanted.removeprefix(".").lower()
        elif "json" in group.parts:
            self.place, self.entry = "json", wanted

    def _is_label(self, path: Path, file: BinaryIO, rest: str, member: Member) -> bool:
        """Whether a member is a label; a text that is no number may be a caption."""
        if rest == "json":
            document = _document(path, file, member)
            self.entry = next((name for name in LABELS if name in document), "")
            return bool(self.entry)
        return rest != "txt" or re.fullmatch(r"-?\d{1,9}", _text(path, file, member).strip()) is not None

    def _label(self, path: Path, file: BinaryIO, member: Member) -> Label:
        if self.entry:
            value = _document(path, file, member).get(self.entry)
            if isinstance(value, bool) or not isinstance(value, int | str | None):
                raise DatasetError(
                    f"{path}: {member.name}: expected a number or a name in {self.entry!r}, got {str(value)[:60]!r}"
                )
            return value
        text = _text(path, file, member).strip()
        if not text or len(text) > _LONGEST_NAME:
            raise DatasetError(f"{path}: {member.name}: expected the number or the name of a class, got {text[:60]!r}")
        return text


def _document(path: Path, file: BinaryIO, member: Member) -> dict[str, Any]:
    try:
        found = parse_json(_text(path, file, member))
    except SchemaError as error:
        raise DatasetError(f"{path}: {member.name}: {error}") from None
    if not isinstance(found, dict):
        raise DatasetError(f"{path}: {member.name}: expected fields by name, got {type(found).__name__}")
    return found


def _text(path: Path, file: BinaryIO, member: Member) -> str:
    if member.size > _LARGEST_LABEL:
        raise DatasetError(f"{path}: {member.name} has {member.size:,} bytes, too many for a label")
    try:
        return _bytes(file, member, member.size).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{path}: {member.name} is not UTF-8 text") from None


def _bytes(file: BinaryIO, member: Member, most: int) -> bytes:
    file.seek(member.offset)
    return file.read(min(most, member.size))


def _class_names(home: Path, files: list[Path]) -> tuple[list[str] | None, Path | None]:
    """Class names, one per line, or after their numbers; and their file."""
    folders = dict.fromkeys([files[0].parent, *([home] if home in files[0].parents else ()), files[0].parent.parent])
    for folder in folders:
        for name in _NAMES:
            if (folder / name).is_file():
                lines = _whole_lines(folder / name)
                return _numbered(lines) or lines, folder / name
    return None, None


def _whole_lines(table: Path) -> list[str]:
    """The lines of a table, of which only the last may be empty: the number of a class is that of its line."""
    lines = list(read_lines(table))
    for place, (number, _) in enumerate(lines, start=1):
        if number != place:
            raise DatasetError(
                f"{table}, line {place}: expected the name of class {place - 1}, got an empty line; write it, or "
                "delete the line"
            )
    return [line for _, line in lines]


def _numbered(lines: Sequence[str]) -> list[str] | None:
    """Names in the order of their numbers, if all lines are such as ``2 dog``, and the numbers those of all classes."""
    found = [match for line in lines if (match := re.fullmatch(r"(0|[1-9]\d{0,8})[\s:,]+(.+)", line))]
    names = {int(match[1]): match[2] for match in found}
    return [names[number] for number in range(len(lines))] if names.keys() == {*range(len(lines))} else None


def _say_names(table: Path | None, classes: tuple[str, ...]) -> str:
    if table is None:
        return f"classes: {len(classes):,}, named as their labels are"
    how = ", after their numbers" if _numbered(_whole_lines(table)) else ""
    return f"classes: {len(classes):,}, named in {table}{how}"


def _say_splits(splits: dict[str, list[Path]], undivided: bool) -> Iterator[str]:
    if not undivided:
        yield "splits by the names of the tar files: " + ", ".join(
            f"{name} ({len(mine):,})" for name, mine in splits.items()
        )


WEBDATASET = Adapter(
    summary="tar files of images and labels, as the library webdataset writes them",
    find=find_webdataset,
    layout="train-{000..007}.tar and val-{000..001}.tar, with members like a/1.jpg and a/1.cls",
    takes=frozenset({"image", "label"}),
    pattern=True,
)
