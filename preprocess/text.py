"""Text formatting: shortened lists, names that may be meant, and CSV tables."""

import contextlib
import csv
import difflib
import io
import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

# What a terminal may obey instead of show: controls, separators of lines, turns of the writing direction; and halves of
# characters, which it cannot show.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MOST = 10_000  # names of a folder that are compared
_SHORTEST = 3  # letters of a name that is looked for inside a longer one
_RUN = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")  # a cell that a spreadsheet runs begins so


def listed(names: Sequence[object], shown: int = 3) -> str:
    """Join the first names and count the rest, as in "a, b, c and 4 more"."""
    rest = len(names) - shown
    return ", ".join(map(str, names[:shown])) + (f" and {rest} more" if rest > 0 else "")


def one_line(text: object, most: int | None = None) -> str:
    """A text or the message of an error without line breaks; its first ``most`` characters."""
    return " ".join(str(text).split())[:most]


def shortened(text: str, most: int) -> str:
    """The first ``most`` characters of a longer text; the last of them is an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def near(word: str, names: Iterable[str], parts: bool = False) -> list[str]:
    """Names that may be meant by ``word``: in another case, with other separators, misspelt; two at most.

    ``parts`` also finds the longest name inside the word, and names that begin with it.
    """
    bare = {name: _letters(name) for name in names}
    word = _letters(word)
    found = [name for name, letters in bare.items() if letters == word]
    if parts and not found:
        inside = [name for name, letters in bare.items() if len(letters) >= _SHORTEST and letters in word]
        found = sorted(inside, key=lambda name: len(bare[name]))[-1:]
        found += [name for name, letters in bare.items() if len(word) >= _SHORTEST and letters.startswith(word)]
    close = difflib.get_close_matches(word, bare.values(), n=2)
    return (found or [name for letters in close for name in bare if bare[name] == letters])[:2]


def did_you_mean(path: Path, fits: Callable[[Path], bool] = lambda path: True) -> str:
    """Say which existing path may be meant by one that is missing or of another kind; nothing if none is like it.

    Parameters
    ----------
    path : what was given.
    fits : whether an existing path may be given instead.
    """
    stores = (path.with_suffix(".h5"), Path("data") / path.name) if path.name else ()
    try:
        found = [other for other in stores if other != path and other.is_file() and fits(other)] or _near(path, fits)
    except OSError:  # names too long, no permission to look
        return ""
    return f"; did you mean {shown_name(found[0])}?" if found else ""


def looks_like(name: str, names: Iterable[str]) -> list[str]:
    """Names that are one but for the case, a plural, and what a second download or a copy adds, such as `` (1)``."""
    return [other for other in names if other != name and _without_copies(other) == _without_copies(name)]


def to_csv(rows: Sequence[Mapping[str, object]], header: bool = True, end: str = "\n") -> str:
    """Format rows as CSV with a column for every key, in order of appearance; ``end`` terminates lines."""
    text = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(text, lineterminator=end)
    if header:
        writer.writerow(cells(names))
    writer.writerows(cells(row.get(name, "") for name in names) for row in rows)
    return text.getvalue()


def cells(row: Iterable[object]) -> list[object]:
    """Values of a row of CSV: a text that a spreadsheet would run as a formula gets a leading ``'``.

    References
    ----------
    OWASP, CSV Injection.
    """
    return [f"'{value}" if isinstance(value, str) and _is_formula(value) else value for value in row]


def shown(text: str) -> str:
    """Lines of text that any terminal takes, and does not obey; ends of lines and tabs stay."""
    return CONTROLS.sub(lambda found: found[0] if found[0] in "\n\t" else "\ufffd", text)


def shown_name(path: Path | str) -> str:
    """A path or a class name on one line, as any terminal takes it, and does not obey."""
    return CONTROLS.sub("\ufffd", os.fspath(path))


def _without_copies(name: str) -> str:
    stem, dot, ending = re.sub(r"[ _]?\([0-9]+\)|[ _-]*\bcopy\b( of)?", "", name.casefold()).partition(".")
    return stem.strip(" _-").removesuffix("s") + dot + ending


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


def _is_formula(text: str) -> bool:
    if not text.startswith(_RUN):
        return False
    with contextlib.suppress(ValueError):
        float(text)
        return False
    return True


def _near(path: Path, fits: Callable[[Path], bool]) -> list[Path]:
    home = next((folder for folder in path.parents if folder.is_dir()), None)
    if home is None or path.exists():
        return []
    first, *rest = path.relative_to(home).parts
    entries = [each for each in itertools.islice(home.iterdir(), _MOST) if not each.name.startswith(".")]
    likely = {each.name: each for each in entries if (each.is_dir() if rest else each.exists() and fits(each))}
    found = [likely[name].joinpath(*rest) for name in near(first, likely)]
    return [each for each in found if each.exists() and fits(each)] or (_near(found[0], fits) if found else [])
