"""A table of texts, as Markdown and as LaTeX."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from preprocess.text import one_line

_MARKDOWN = re.compile(r"[\\|`*<]|\](?=[(\[:])")  # what makes a link, a cell or a style; not the _ inside of a name
_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "λ": r"$\lambda$",
    "γ": r"$\gamma$",
    **{letter: f"${letter}$" for letter in "<>|"},
    "[": "{[}",  # after \\ it would begin an optional argument
}


@dataclass(frozen=True)
class Table:
    """Cells of text.

    Parameters
    ----------
    title : one line.
    columns : headings. The first column is of words, the others of figures.
    rows : as many cells each.
    notes : lines that explain the figures.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def to_markdown(table: Table) -> str:
    """Write a table as in a README, between its title and its notes."""
    head, *rows = ([_markdown(cell) for cell in row] for row in (table.columns, *table.rows))
    body = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    notes = "".join(f"\n- {_markdown(note)}" for note in table.notes)
    return f"{_markdown(table.title)}\n\n" + "\n".join(body) + ("\n" + notes if notes else "")


def to_latex(table: Table) -> str:
    """Write a table as a ``tabular`` of the package booktabs, below its title and notes as comments.

    Notes
    -----
    ±, λ, γ and signs of numbers become mathematics; any other character outside of ASCII stays: pdfLaTeX takes
    letters with accents, XeLaTeX and LuaLaTeX what the font has.
    """
    body = [*(_line(map(_latex, table.columns)), r"\midrule"), *(_line(_numbers(row)) for row in table.rows)]
    lines = [
        *(f"% {one_line(text)}" for text in (table.title, *table.notes, r"\usepackage{booktabs}")),
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        *(r"\toprule", *body, r"\bottomrule"),
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _numbers(row: tuple[str, ...]) -> list[str]:
    """Escape a row; in columns of figures a sign is no hyphen."""
    first, *others = map(_latex, row)
    return [first, *(re.sub(r"(?<![\w.])[+-](?=\d)", lambda found: f"${found[0]}$", cell) for cell in others)]


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in one_line(text))


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(lambda found: f"\\{found[0]}", one_line(text))
