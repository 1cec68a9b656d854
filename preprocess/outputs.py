"""The one rule for the outputs of both command lines: they replace earlier outputs of the same command, nothing else.

- A file or folder that is missing or empty is written, and an earlier output of the same command is replaced. What is
  in it tells, not its name.
- Any other file needs ``--force``. So does a folder that holds anything else, which then stays there.
- An input, what is inside an input, and a folder that holds an input are refused. A run is an input that takes results
  in folders of their own, but not among its files.
- A FIFO that somebody reads, a terminal and ``/dev/null`` are written to. Other devices and sockets are refused.
"""

import contextlib
import csv
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from preprocess import interrupt
from preprocess.errors import OutputError
from preprocess.files import exchange, leftovers_of, making_aside, named, sweep, writing_aside
from preprocess.inputs import open_regular
from preprocess.text import listed, shown

_READ = 1 << 26  # bytes in which a mark is searched
_MOST_LINKS = 40  # in a row
_ANOTHER = "choose another path"


@dataclass(frozen=True)
class Kind:
    """What a command writes, and how to tell an earlier one.

    Parameters
    ----------
    what : in words.
    mark : regular expression that the bytes of a file start with; or for a folder, one for some of its files.
    files : for a folder, regular expression of the paths of all its files; its group "key" must be one of ``keys``.
    streams : whether a FIFO or a device can take it.
    keys : reads the keys of an earlier one from its folder.
    """

    what: str
    mark: bytes | Mapping[str, bytes]
    files: str = ""
    streams: bool = True
    keys: Callable[[Path], Collection[str]] | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return bool(self.files)

    def recognises(self, path: Path) -> bool:
        """Whether this is an earlier one, perhaps with other files in its folder."""
        marks = {"": self.mark} if isinstance(self.mark, bytes) else self.mark
        return any(_starts(path / name, mark) for name, mark in marks.items())

    def others(self, folder: Path) -> Iterator[str]:
        """Yield what is in a folder, but no file of this kind; of what is not recognised, everything at its top."""
        if not self.recognises(folder):
            yield from sorted(path.name for path in folder.iterdir())
            return
        is_ours = self.telling(folder)
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_symlink() or not (path.is_dir() or is_ours(name)):
                yield name

    def telling(self, folder: Path) -> Callable[[str], bool]:
        """Return what tells whether a path in a folder, relative to it, is that of a file of this kind."""
        keys = self.keys(folder) if self.keys else ()

        def is_ours(name: str) -> bool:
            found = re.fullmatch(self.files, name)
            return found is not None and (found.groupdict().get("key") is None or found["key"] in keys)

        return is_ours


def _exported_keys(folder: Path) -> set[str]:
    """Keys of the images of an earlier export; none if its table cannot be read."""
    try:
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            keys = {row["key"] for row in csv.DictReader(file) if row["key"]}
    except (OSError, ValueError, KeyError, csv.Error):
        return set()
    return keys | {key[1:] for key in keys if key[0] == "'"}  # before what a spreadsheet would run as a formula


SHEET = Kind("a sheet of show", rb".*python -m preprocess show")
PAGE = Kind("a page of report", rb".*<meta name=\"generator\" content=\"python -m preprocess report\">")
COPIES = Kind("a list of duplicates", rb"# python -m preprocess duplicates")
PACK = Kind("a packed store", rb"LGCOAMix store pack\n", streams=False)
STORE = Kind("a store", rb"LGCOAMix store (index|pack)\n", streams=False)
PLAIN_FILES = Kind(
    "an export of a store",
    {"labels.csv": rb"split,key,label,class\r?\n"},
    r"(labels|boxes)\.csv|(images|[^/]+-\d+)/(?P<key>.+)\.png",
    keys=_exported_keys,
)
PREDICTIONS = Kind("a table of predict", rb"image,class_1,probability_1,")
EVALUATION = Kind(
    "an evaluation",
    {"evaluation.json": rb".*\"drop_grid\": "},
    r"evaluation\.json|(corruptions|predictions)\.csv|"
    r"(confusion|mistakes|per_class|reliability|robustness)\.(csv|png|pdf|svg)",
)
EXPLANATION = Kind(
    "an explanation",
    {"images.csv": rb"key,label,predicted,probability,"},
    r"(images|superpixels)\.csv|page-\d+\.(png|pdf|svg)",
)
COMPARISON = Kind(
    "a comparison",
    {"comparison.json": rb".*\"spread\": \"sample standard deviation"},
    r"comparison\.(csv|json)|(compare|curves)\.(csv|png|pdf|svg)|classes\.csv",
)
MODEL = Kind(
    "an exported model",
    {"config.json": rb".*\"lgcoamix\": \{"},
    r"config\.json|model\.safetensors|README\.md|model\.onnx(\.data)?|network\.pt",
)
REPLAY = Kind(
    "a replay",
    {"samples.csv": rb"rank,part,key,label,", "sample.safetensors": rb".{8}\{.*\"shown\":"},
    r"samples\.csv|(batch(-rank\d+-part\d+)?|sample)\.(png|pdf|svg|safetensors)",
)


def check_output(
    out: Path,
    kind: Kind,
    force: bool | None,
    inputs: Iterable[Path] = (),
    runs: Iterable[Path] = (),
    beside_others: bool = False,
) -> None:
    """Refuse an output that would replace what it must not, before the work begins.

    Parameters
    ----------
    out : file or folder to write.
    kind : what is written.
    force : whether files of others may be replaced; None if the command has no such option.
    inputs : files and folders that the command reads.
    runs : run folders that it reads.
    beside_others : whether the folder may hold other files, as that of a sweep.

    Raises
    ------
    OutputError : a usage error.
    """
    if out.is_symlink() and not out.exists():
        raise OutputError(f"{out} is a link to {out.readlink()}, which does not exist; remove the link, or {_ANOTHER}")
    refuse_inputs(out, inputs, runs)
    if not out.exists():
        above = next(folder for folder in out.absolute().parents if folder.exists())
        if not above.is_dir():
            raise OutputError(f"{out} cannot be written: {above} is a file, not a folder; {_ANOTHER}")
        return
    mode = out.stat().st_mode
    remedy = (
        _ANOTHER
        if force is None
        else f"{_ANOTHER}, or pass --force to {'write into' if kind.is_folder else 'replace'} it"
    )
    if _is_special(mode):
        _refuse_special(out, mode, kind)
    elif stat.S_ISDIR(mode) != kind.is_folder:
        expected, found = ("folder", "file") if kind.is_folder else ("file", "folder")
        raise OutputError(f"expected a {expected} to write, {out} is a {found}; {_ANOTHER}")
    elif kind.is_folder:
        others = [name for name in kind.others(out) if not beside_others or re.fullmatch(kind.files, name)]
        if others and not force:
            raise OutputError(f"{out} holds {listed(others)}, which is no part of {kind.what}; {remedy}")
    elif any(os.path.samestat(out.stat(), os.fstat(stream)) for stream in (1, 2) if _is_open(stream)):
        raise OutputError(f"{out} takes what the command prints; {_ANOTHER}")
    elif not force and out.stat().st_size and not kind.recognises(out):
        raise OutputError(f"{out} exists and is not {kind.what}; {remedy}")


def refuse_inputs(out: Path, inputs: Iterable[Path], runs: Iterable[Path] = ()) -> None:
    """Refuse an output that is an input, holds one, or lies inside of one; parameters as in :func:`check_output`."""
    inputs = tuple(inputs)
    mine, above_mine = _lineage(out)
    for path in (*inputs, *runs):
        other, above_other = _lineage(path)
        if mine == other:
            raise OutputError(f"{out} is an input of this command, {path}; {_ANOTHER}")
        if path in inputs and other in above_mine:
            raise OutputError(f"{out} is inside of an input of this command, {path}; {_ANOTHER}")
        if path in inputs and mine in above_other:
            raise OutputError(f"{out} holds an input of this command, {path}; {_ANOTHER}")


@contextlib.contextmanager
def writing(out: Path) -> Iterator[BinaryIO]:
    """Open an output of a command: a file is written aside; a FIFO or a device directly. A link stays a link.

    Raises
    ------
    OutputError : a FIFO that nobody reads.
    OSError : it cannot be written.
    """
    if out.exists() and _is_special(out.stat().st_mode):
        with named(out), _open_special(out) as file:
            yield file
        return
    target = _target(out)
    sweep(leftovers_of(target))
    with _telling(out), writing_aside(target) as file:
        yield file


@contextlib.contextmanager
def making(out: Path, kind: Kind) -> Iterator[Path]:
    """Make the folder of a command aside; once complete, it takes the place of an earlier one.

    In a folder that holds anything else, files of the kind are replaced one by one, and others stay.

    Raises
    ------
    OSError : it cannot be written.
    """
    target = _target(out)
    stays = target.is_dir() and (target.samefile(Path.cwd()) or target.is_mount())  # what lies beside is not ours
    place = target / "output" if stays else target
    sweep(leftovers_of(place))

    def name(aside: Path, _: Path) -> None:
        folder = target
        if not folder.exists():
            aside.replace(folder)
        elif stays or any(kind.others(folder)):
            _merge(aside, folder, kind)
        else:
            exchange(aside, folder)

    with _telling(out), making_aside(place, name) as aside:
        yield aside


def _lineage(path: Path) -> tuple[object, set[object]]:
    """A path, and all folders above it: by inode where they exist, so that links and spelling do not matter."""
    target = _target(path)
    above = {_identity(folder) for folder in Path(os.path.realpath(path)).parents}
    whole = target.absolute()  # / has nothing above it
    folder = next(each for each in (*whole.parents, whole) if os.path.exists(each))  # noqa: PTH110 - never raises
    while (here := _identity(folder)) not in above:  # the path cannot be followed in words, as below /proc/PID/root
        above.add(here)
        folder = folder / ".."
    return _identity(target), above


def _target(out: Path) -> Path:
    """Follow links from a path, but not in the folders above: links of ``/proc`` lead to where no path does."""
    for _ in range(_MOST_LINKS):
        if os.path.islink(out):  # noqa: PTH114 - never raises, as for an input whose name is too long
            out = out.parent / out.readlink()
    return out if out.name not in ("", "..") else Path(os.path.realpath(out))


def _identity(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return path
    return found.st_dev, found.st_ino


def _refuse_special(out: Path, mode: int, kind: Kind) -> None:
    if kind.is_folder or not kind.streams or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        found = "a FIFO" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise OutputError(f"{out} is {found}, which cannot take {kind.what}; {_ANOTHER}")


def _is_special(mode: int) -> bool:
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _open_special(out: Path) -> BinaryIO:
    """Open a FIFO or device at once, without waiting for a reader."""
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        if stat.S_ISFIFO(out.stat().st_mode):
            raise OutputError(f"{out} is a FIFO that nobody reads; start its reader first, or {_ANOTHER}") from None
        raise
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")


def _is_open(stream: int) -> bool:
    try:
        os.fstat(stream)
    except OSError:
        return False
    return True


def _starts(path: Path, mark: bytes) -> bool:
    try:
        with open_regular(path) as file:
            return re.match(mark, file.read(_READ), re.DOTALL) is not None
    except OSError:
        return False


def _merge(aside: Path, folder: Path, kind: Kind) -> None:
    """Move files into a folder that holds others; earlier ones of the kind go."""
    new = [path.relative_to(aside) for path in aside.rglob("*") if not path.is_dir()]
    new.sort(key=lambda name: name.as_posix() in kind.mark)  # what tells an earlier one comes last
    for name in new:
        target = folder / name
        if target.exists() and not target.is_file():
            raise OutputError(f"{target} is in the way: expected a file that can be replaced; move it, or {_ANOTHER}")
    if kind.recognises(folder):
        is_ours = kind.telling(folder)
        for path in list(folder.rglob("*")):
            name = path.relative_to(folder)
            if name not in new and name.parts[0] != aside.name and path.is_file() and is_ours(name.as_posix()):
                path.unlink()
    for name in new:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (aside / name).replace(folder / name)


def _telling(out: Path) -> interrupt.undoing:
    return interrupt.undoing(lambda: interrupt.explain(shown(f"interrupted; {out} was not written")))
