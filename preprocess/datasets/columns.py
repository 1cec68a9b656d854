"""Which columns of a table hold images, labels and splits: by request, or by their names and by files that exist."""

import re
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from unicodedata import normalize

from preprocess.datasets.base import SPLITS, Request, split_name
from preprocess.datasets.lookup import Lookup, beside, end_of, look_up, may_look_beside
from preprocess.datasets.paths import Way, clean, find_way, names_folder
from preprocess.datasets.rows import FIRST, LAST, TABS, WORDS, Table
from preprocess.datasets.tree import suffix_of
from preprocess.errors import DatasetError
from preprocess.formats import suffixes
from preprocess.text import listed, near, shown_name

_PROBED = 10  # rows whose files are looked for
_WIDEST = 50  # columns that are looked at
_SHOWN = 12  # columns in a message
_LONGEST = 40  # characters of a cell in a message


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Names that people give to columns, in small letters and digits alone.
_IMAGES = _words(
    "path paths filepath filepaths file files filename filenames fname imagepath imagepaths imagefile imagefilename "
    "imagename image images img imgpath imgfile imgname imgs picture photo relativepath relpath fullpath"
)
_IDS = _words("id imageid imgid uuid")
_LABELS = _words(
    "label labels labelname class classes classname classlabel category categories categoryname species breed variety "
    "target targets"
)
_NUMBERS = _words("y classid labelid categoryid targetid classidx labelidx classindex labelindex classnumber")
SPLIT_NAMES = _words("split splits set subset dataset datasplit partition fold phase usage")
# Columns of yes and no: the split whose rows say yes.
FLAGS = {
    f"{start}{word}": split_name(word)
    for word in ("train", "training", "val", "valid", "validation", "test", "testing")
    for start in ("", "is")
} | dict.fromkeys(("istrainingimage", "traintestsplit"), "train")
FOLDERS = "and labels of folders are not read: write a row for each image in them"  # of a column
_TRUTH = {**dict.fromkeys(("1", "true", "t", "yes", "y"), True), **dict.fromkeys(("0", "false", "f", "no", "n"), False)}
# Those that tell a header line; words for splits may stand in the first row as well.
_KNOWN = _IMAGES | _IDS | _LABELS | _NUMBERS | SPLIT_NAMES | {name for name in FLAGS if split_name(name) not in SPLITS}


@dataclass(frozen=True)
class Columns:
    """Where a table has what.

    Parameters
    ----------
    table : in the form that fits.
    names : of all columns; their numbers from 1 if there is no header line.
    header : whether the first row holds the names.
    image : the place of the column.
    labels : the place of the column; or those of several of 0 and 1, one for each class.
    splits : the place of the column of words for splits, if there is one; or those of flags.
    flags : whether ``splits`` say yes and no.
    way : from a cell with an image to its file.
    notes : what was guessed.
    """

    table: Table
    names: tuple[str, ...]
    header: bool
    image: int
    labels: tuple[int, ...]
    splits: tuple[int, ...]
    flags: bool
    way: Way | Lookup
    notes: tuple[str, ...]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the columns of labels."""
        return tuple(normalize("NFC", self.names[place]) for place in self.labels)

    @property
    def split_names(self) -> tuple[str, ...]:
        """Names of the columns of splits."""
        return tuple(self.names[place] for place in self.splits)


@dataclass(frozen=True)
class _Probe:
    """A form of a table, and for each of its columns the way by which its cells name files, and how many do."""

    table: Table
    found: tuple[tuple[Way | Lookup, int], ...]

    @property
    def score(self) -> tuple[int, bool, bool, int]:
        best = max(hits for _, hits in self.found)
        direct = any(hits == best and not way.strip for way, hits in self.found)
        return best, direct, not _KNOWN.isdisjoint(map(squashed, self.table.first[0][1])), len(self.table.first)


def squashed(name: str) -> str:
    """Return a column's name in small letters and digits alone."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def choose_columns(tables: Sequence[Table], root: Path, request: Request) -> Columns:
    """Choose the form of a table and its columns.

    Raises
    ------
    DatasetError : a column cannot be told; the message lists the columns, and the option that names one.
    """
    folder = tables[0].path.parent
    probes = [_Probe(table, tuple(find_way(root, folder, cells) for cells in _cells(table))) for table in tables]
    if not any(hits for probe in probes for _, hits in probe.found):
        probes = _looked_up(tables, root, request)
    best = max(probes, key=lambda probe: probe.score)
    forms = {probe.table.form: probe for probe in probes}
    guess = _Guess(best, root, request)
    if best.table.form == WORDS and (form := guess.joining_form()):
        whole = _Guess(forms[form], root, request)
        whole.notes.append(guess.told_of_labels())
        return whole.columns()
    columns = guess.columns()
    if best.table.form == LAST and FIRST in forms:
        other = _Guess(forms[FIRST], root, request)
        return other.columns() if other.names_all(columns) else columns
    return columns


def _looked_up(tables: Sequence[Table], root: Path, request: Request) -> list[_Probe]:
    """Take cells for ends of paths under the root, or if there are none, of paths beside a folder of tables."""
    columns = [_cells(table) for table in tables]
    lookup = Lookup(root, look_up(root, (cell for table in columns for cells in table for cell in cells)))
    hits = [[lookup.hits(cells) for cells in table] for table in columns]
    if not any(map(any, hits)) and may_look_beside(root, request):
        hits = [[len(cells) * bool(beside(root, map(end_of, cells[1:]))) for cells in table] for table in columns]
    return [
        _Probe(table, tuple((lookup, count) for count in counts)) for table, counts in zip(tables, hits, strict=True)
    ]


def _cells(table: Table) -> list[list[str]]:
    """The cells of the first columns in the first rows, clean."""
    width = len(table.first[0][1])
    rows = [cells for _, cells in table.first[: _PROBED + 1]]
    return [[clean(cells[place]) for cells in rows] for place in range(min(width, _WIDEST))]


class _Guess:
    """The columns of one form."""

    def __init__(self, probe: _Probe, root: Path, request: Request) -> None:
        self.table, self.found, self.root, self.request = probe.table, probe.found, root, request
        first = self.table.first[0][1]
        if self.table.folders:
            self.found = (self.found[0], (Way(root), 0))
        self.header = self.table.names is None and self._has_header(first)
        self.names = self.table.names or (
            tuple(first) if self.header else tuple(str(place + 1) for place in range(len(first)))
        )
        if self.table.folders:
            self.names = (self.names[0], "folder")
        self.rows = [cells for _, cells in self.table.first[int(self.header) :]]
        self.notes: list[str] = []
        if not self.rows:
            deque(self.table.read(()), maxlen=0)  # says what keeps the next row from being read
            raise DatasetError(f"{self.table.path} has a header line, but no rows below it")

    def columns(self) -> Columns:
        image = self._image()
        flags = self._flags(image)
        splits = self._splits(image, flags)
        labels = self._one_hot(image, splits, flags)
        if not labels:
            labels = (self._label({image, *splits}),)
        elif set(splits) & set(labels):
            splits = ()
        if len({image, *labels, *splits}) < 1 + len(labels) + len(splits):
            raise DatasetError(self._twice(image, labels, splits))
        way = self.found[image][0] if image < len(self.found) and self.found[image][1] else Way(self.root)
        is_flags = bool(splits) and splits == flags
        told = self._told(image, labels, splits, way)
        return Columns(self.table, self.names, self.header, image, labels, splits, is_flags, way, told)

    def joining_form(self) -> str:
        """Return the form that takes all words beside the path for the label; empty if they may be columns."""
        ends = (0, len(self.names) - 1)
        if self.header or self.request.label or self.request.split or (image := self._image()) not in ends:
            return ""
        others = [cells[place] for cells in self.rows for place in self._others({image})]
        if self._splits(image, ()) or any(_is_number(cell) or _is_image(cell) for cell in others):
            return ""
        return LAST if image else FIRST

    def told_of_labels(self) -> str:
        """Say that all words beside the path are taken for the label."""
        places = self._others({self._image()})
        return (
            f"{self.table.path.name}: all words beside the path are the label, such as "
            f"{shown_name(' '.join(self.rows[0][place] for place in places)[:_LONGEST])!r}; if they are several "
            f"columns, choose one with --label {listed([self.names[place] for place in places], _SHOWN)}"
        )

    def names_all(self, columns: Columns) -> bool:
        """Whether there are rows whose images are others than those of another form, and all of these exist."""
        way = columns.way
        rows = zip(*(each.table.read((columns.image,)) for each in (self, columns)), strict=True)
        cells = [clean(mine[0]) for (_, mine), (_, other) in islice(rows, int(columns.header), None) if mine != other]
        if isinstance(way, Lookup):
            way = Lookup(self.root, look_up(self.root, cells))
        return bool(cells) and all(map(way.exists, cells))

    def _twice(self, image: int, labels: tuple[int, ...], splits: tuple[int, ...]) -> str:
        """Say which options, or guesses, name one column."""
        taken = (("--image", self.request.image, (image,)), ("--label", self.request.label, labels))
        taken += (("--split", self.request.split, splits),)
        uses = [
            (option, asked is None, place)
            for option, asked, places in taken
            for place in places
            if sum(place in others for _, _, others in taken) > 1
        ]
        guessed = [option for option, is_guess, _ in uses if is_guess]
        if not guessed:
            return f"--image, --label and --split name one column twice; {self._listed()}"
        given = ", ".join(option for option, is_guess, _ in uses if not is_guess)
        return (
            f"{self.table.path}: {given} names column {self._name(uses[0][2])}, which is also guessed for "
            f"{', '.join(guessed)}; choose with {', '.join(f'{option} NAME' for option in guessed)}; {self._listed()}"
        )

    def _has_header(self, first: Sequence[str]) -> bool:
        cells = _cells(self.table)
        if any(
            _is_image(column[0]) or (way.exists(column[0]) and not (isinstance(way, Lookup) and _is_known(column[0])))
            for column, (way, _) in zip(cells, self.found, strict=True)
        ):
            return False
        numbers = {str(place + 1) for place in range(len(first))}  # they name columns without names
        asked = {name for name in (self.request.image, self.request.label, self.request.split) if name} - numbers
        if not asked.isdisjoint(first) or not _KNOWN.isdisjoint(map(squashed, first)):
            return True
        return self._is_new(first) and (
            any(len(column) > 1 and all(map(_is_image, column[1:])) for column in cells) or _names_numbers(cells)
        )

    def _is_new(self, first: Sequence[str]) -> bool:
        """Whether cells are as names of columns are: no paths, and no value that a column has."""
        below = [cells for _, cells in self.table.first[1:]]
        return not any(
            "/" in clean(name) or any(cells[place] == name for cells in below) for place, name in enumerate(first)
        )

    def _image(self) -> int:
        if self.request.image is not None:
            return self._asked(self.request.image, "--image")
        named = self._named(_IMAGES)
        hit = [place for place, (_, hits) in enumerate(self.found) if hits]
        both = [place for place in named if place in hit]
        ids = [place for place in self._named(_IDS) if place in hit or not hit]
        like = [place for place, cells in enumerate(self._columns()) if all(map(_is_image, cells))]
        if both:
            return self._one(both, "images", "--image")
        if named and hit:
            return self._one(sorted({*named, *hit}), "images", "--image")
        return self._one(named[:1] or (hit if len(hit) < 2 else ids or hit) or like or ids, "images", "--image")

    def _label(self, taken: Collection[int]) -> int:
        if self.request.label is not None:
            return self._asked(self.request.label, "--label")
        named = [place for place in self._named(_LABELS) if place not in taken]
        numbers = [place for place in self._named(_NUMBERS) if place not in taken]
        return self._one(named or numbers or self._others(taken), "labels", "--label")

    def _others(self, taken: Collection[int]) -> list[int]:
        return [
            place
            for place, name in enumerate(self.names)
            if place not in taken and squashed(name) not in _IDS | _IMAGES | {"", "unnamed0", "index"}
        ]

    def _one_hot(self, image: int, splits: tuple[int, ...], flags: tuple[int, ...]) -> tuple[int, ...]:
        """The columns of 0 and 1, one for each class, if all that are left are such; a class may be called train."""
        if self.request.label is not None or not (self.header or self.table.names) or self._named(_LABELS | _NUMBERS):
            return ()
        places = self._others({image, *splits})
        if places and splits == flags and self.request.split is None and self._are_classes(flags, places):
            places = sorted([*places, *flags])
        is_flags = all(truth(cells[place]) is not None for cells in self.rows for place in places)
        return tuple(places) if len(places) > 1 and is_flags else ()

    def _are_classes(self, flags: Collection[int], places: Collection[int]) -> bool:
        """Whether flags with names such as ``test`` are classes beside others: of each row, one of them all is yes.

        Rows of train or of one class may come first, so a yes of test, val or a lone class must be among them.
        """
        to_see = [place for place in flags if FLAGS[squashed(self.names[place])] != "train"]
        to_see += places if len(places) == 1 else ()
        return (
            all(split_name(self.names[place].strip()) in SPLITS for place in flags)
            and all(sum(truth(cells[place]) is True for place in (*places, *flags)) == 1 for cells in self.rows)
            and all(any(truth(cells[place]) for cells in self.rows) for place in to_see)
        )

    def _flags(self, image: int) -> tuple[int, ...]:
        """The columns that say yes and no of one split each."""
        return tuple(
            place
            for place in self._named(FLAGS)
            if place != image
            and self._is_free(place)
            and is_flag(self.names[place], (cells[place] for cells in self.rows))
        )

    def _splits(self, image: int, flags: tuple[int, ...]) -> tuple[int, ...]:
        """The column of words for splits, or all flags: one of several would put rows of others into train or test."""
        if self.request.split is not None:
            asked = self._asked(self.request.split, "--split")
            return flags if asked in flags else (asked,)
        named = [place for place in self._named(SPLIT_NAMES | FLAGS.keys()) if place not in (image, *flags)]
        fit = [place for place in named if self._share_of_splits(place) or self._has_splits_below(place)]
        for place in named:
            if place not in fit:
                values = listed(sorted({repr(cells[place][:_LONGEST]) for cells in self.rows}))
                self.notes.append(
                    f"{self.table.path.name}: column {self.names[place]!r} is not taken for the split, its values are "
                    f"no words for train, val or test: {values}"
                )
        if not fit and not flags and len(self.names) > 2:
            others = set(range(len(self.names))).difference(named, [image], self._named(_LABELS))
            fit = [place for place in sorted(others) if self._is_free(place) and self._share_of_splits(place) > 0.5]
        return (self._one([*fit, *flags], "splits", "--split"),) if fit else flags

    def _is_free(self, place: int) -> bool:
        return self.request.label is None or place != self._asked(self.request.label, "--label")

    def _share_of_splits(self, place: int) -> float:
        """How many of the first values are words for splits, of all."""
        words = [cells[place] for cells in self.rows]
        return sum(split_name(word) in SPLITS for word in words) / len(words)

    def _has_splits_below(self, place: int) -> bool:
        """Whether any row of the table has a word for a split; a table may be sorted by it."""
        rows = islice(self.table.read((place,)), int(self.header), None)
        return any(split_name(cells[0]) in SPLITS for _, cells in rows)

    def _named(self, known: Iterable[str]) -> list[int]:
        named = [(place, name, squashed(name)) for place, name in enumerate(self.names)]
        return [
            place for place, name, word in named if word in known and (len(word) > 1 or name.strip().lower() == word)
        ]

    def _columns(self) -> list[list[str]]:
        return [[clean(cells[place]) for cells in self.rows] for place in range(min(len(self.names), _WIDEST))]

    def _one(self, places: list[int], what: str, option: str) -> int:
        """The only place; several are one if all of them name the same files."""
        if not places:
            raise DatasetError(
                "; ".join(
                    (
                        f"{self.table.path}: no column is known to hold {what}{self._none_exist(option)}",
                        self._listed(),
                        self._folders(option),
                        *self.table.notes,
                    )
                )
            )
        if len(places) > 1 and not self._same_files(places):
            shown = " or ".join(self._name(place) for place in places[:_SHOWN])
            raise DatasetError(
                f"{self.table.path}: {what} may be in column {shown}; choose with {option} NAME; {self._listed()}"
                f"{f'; {TABS}' if self.table.form == WORDS and option == '--label' else ''}"
            )
        return places[0]

    def _folders(self, option: str) -> str:
        """Advise to name a column; or where cells are paths of folders, say so."""
        for place, column in enumerate(self._columns()):
            if option == "--image" and all("/" in cell and names_folder(self.root, cell) for cell in column):
                return f"column {self._name(place)} names folders, {FOLDERS}"
        if self._none_exist(option):
            return "say --image NAME, or add a column of their paths to the table"
        return f"say {option} NAME"

    def _none_exist(self, option: str) -> str:
        if option != "--image" or any(hits for _, hits in self.found) or self.table.names is not None:
            return ""  # images may be inside of Parquet
        return f", and none names files that exist under {shown_name(self.root)}"

    def _same_files(self, places: list[int]) -> bool:
        if any(place >= len(self.found) or not self.found[place][1] for place in places):
            return False
        keys = [[self.found[place][0].key(clean(cells[place])) for cells in self.rows] for place in places]
        return all(other == keys[0] for other in keys)

    def _asked(self, name: str, option: str) -> int:
        found = [place for place, each in enumerate(self.names) if each == name.strip()]
        if len(found) == 1:
            return found[0]
        if found:
            raise DatasetError(f"{self.table.path} has {len(found)} columns {name!r}; give them different names")
        meant = near(name, self.names)
        hint = f"; did you mean {meant[0]!r}?" if meant else ""
        if option == "--label" and len(self.request.table) > 1:
            hint += f"; if its images have no labels, leave out --table {shown_name(self.table.path)}"
        raise DatasetError(f"{self.table.path} has no column {name!r} for {option}{hint}; {self._listed()}")

    def _listed(self) -> str:
        if self.header or self.table.names is not None:
            return f"its columns are {listed([repr(name[:_LONGEST]) for name in self.names], _SHOWN)}"
        cells = [f"{name} ({cell[:_LONGEST]!r})" for name, cell in zip(self.names, self.rows[0], strict=False)]
        return f"it has no header line, its columns are {listed(cells, _SHOWN)}"

    def _name(self, place: int) -> str:
        named = self.header or self.table.names is not None
        return repr(self.names[place][:_LONGEST]) if named else self.names[place]

    def _told(self, image: int, labels: tuple[int, ...], splits: tuple[int, ...], way: Way | Lookup) -> tuple[str, ...]:
        cells = "one column" if self.table.folders else f"cells separated by {self.table.form}"
        form = f"{cells}, {'' if self.header else 'no '}header line; " if self.table.names is None else ""
        how = f" ({shown_name(str(way))})" if str(way) else ""
        divided = f"split from {', '.join(map(self._name, splits))}" if splits else "no split"
        named = listed([self._name(place) for place in labels], _SHOWN)
        label = named if len(labels) == 1 else f"the columns of 0 and 1 {named}"
        if self.table.folders and labels == (1,):
            label = "the folders of the paths"
        guessed = (
            f"{self.table.path.name}: {form}images from column {self._name(image)}{how}, labels from {label}, {divided}"
        )
        return (*self.table.notes, guessed, *self.notes)


def truth(cell: str) -> bool | None:
    """Read yes or no as people write them; None for anything else."""
    return _TRUTH.get(re.sub(r"\.0+$", "", cell.lower()))


def _names_numbers(columns: Sequence[Sequence[str]]) -> bool:
    """Whether the first cells are words, and below most of them are only numbers."""
    numbers = [len(column) > 1 and all(map(_is_number, column[1:])) for column in columns]
    return 2 * sum(numbers) > len(numbers) and not any(_is_number(column[0]) for column in columns)


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?", cell) is not None


def is_flag(name: str, values: Iterable[str]) -> bool:
    """Whether a column says yes and no of one split: by its name, and by most of its values that are not empty."""
    told = set(values) - {""}
    return squashed(name) in FLAGS and 2 * sum(truth(value) is not None for value in told) > len(told)


def flagged(names: Sequence[str], cells: Sequence[str]) -> str:
    """Return the split that the flags of a row say; empty if that is not one split.

    A row whose flags all say no is of train if none of them is of train, and of test if all are.
    """
    said = [(FLAGS[squashed(name)], truth(cell)) for name, cell in zip(names, cells, strict=True)]
    yes = {split for split, flag in said if flag}
    no = {split for split, flag in said if flag is False}
    if len(yes) > 1 or yes & no or any(flag is None for _, flag in said):
        return ""
    if yes:
        return yes.pop()
    return "train" if "train" not in no else "test" if no == {"train"} else ""


def _is_known(name: str) -> bool:
    return squashed(name) in _KNOWN


def _is_image(cell: str) -> bool:
    return suffix_of(cell) in suffixes()
