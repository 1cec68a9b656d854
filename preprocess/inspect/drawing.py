"""How plots look, and how they become files."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from math import inf
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from matplotlib import rc_context, rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

PAGE = 7.0  # inches, the width of a printed page's text: a wider figure would be shrunk, and its text with it
SMALL = 7  # points, of the text at a picture
GREY = "0.35"  # of lines that are no data
SCREEN = 110  # pixels per inch, for pictures that are looked at and not printed
_STYLE = Path(__file__).with_name("print.mplstyle")
# No dates: the same numbers give the same bytes.
_UNDATED: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
_MOST = 120  # characters of a text whose width is measured
_P = ParamSpec("_P")
_R = TypeVar("_R")


def styled(draw: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run a function that draws with the style of this project; a program that calls it keeps its own."""

    @wraps(draw)
    def drawing(*args: _P.args, **options: _P.kwargs) -> _R:
        with rc_context(_style()):
            return draw(*args, **options)

    return drawing


@styled
def rendered(figure: Figure, form: str = "png", dpi: int | None = None, **options: Any) -> bytes:
    """Draw a figure in memory: in a file, Pillow and Matplotlib hide a full disk.

    Parameters
    ----------
    form : ``png``, ``pdf``, ``svg`` or ``jpg``.
    dpi : pixels per inch; None: 300, for print.
    options : of ``Figure.savefig``.
    """
    data = io.BytesIO()
    if form == "png":  # half as long as with level 6, for files 3 % larger
        options["pil_kwargs"] = {"compress_level": 4, **options.get("pil_kwargs", {})}
    options["metadata"] = {**_UNDATED.get(form, {}), **options.get("metadata", {})} or None
    with _quiet():
        figure.savefig(data, format=form, **({} if dpi is None else {"dpi": dpi}), **options)
    return data.getvalue()


@styled
def new_figure(width: float, height: float, title: str = "") -> Figure:
    """Create a figure of a size in inches that makes room for its axes and title."""
    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, parse_math=False)  # a $ in a name is not math
    return figure


def legend_above(axis: Axes, columns: int = 3) -> None:
    """Put the legend over the axes, where it covers no data."""
    tight = {"borderaxespad": 0.2, "columnspacing": 0.9, "handlelength": 1.8, "handletextpad": 0.5}
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, **tight)


def fitted(text: str, inches: float, from_end: bool = False) -> str:
    """Shorten a line of ``SMALL`` text to a width; ``from_end`` keeps its end."""
    if _width(text) <= inches:
        return text
    shorter = (
        f"…{text[cut:]}" if from_end else f"{text[:-cut]}…" for cut in range(max(1, len(text) - _MOST), len(text))
    )
    return next((line for line in shorter if _width(line) <= inches), "…")


def _width(text: str) -> float:
    """In inches; on a screen, letters are up to 5 % wider."""
    if len(text) > _MOST + 1:
        return inf
    with _quiet():
        return 1.05 * text_to_path.get_text_width_height_descent(text, FontProperties(size=SMALL), ismath=False)[0] / 72


@contextmanager
def _quiet() -> Iterator[None]:
    """Names of classes may need glyphs that the font does not have. The tables have the names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


@cache
def _style() -> dict[str, Any]:
    return dict(rc_params_from_file(_STYLE, use_default_template=False))
