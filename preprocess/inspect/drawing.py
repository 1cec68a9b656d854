"""How plots look, and how they become files."""

import io
import warnings
from collections.abc import Callable
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from matplotlib import rc_context, rc_params_from_file
from matplotlib.axes import Axes
from matplotlib.figure import Figure

GREY = "0.35"  # of lines that are no data
SCREEN = 110  # pixels per inch, for pictures that are looked at and not printed
_STYLE = Path(__file__).with_name("print.mplstyle")
# No dates: the same numbers give the same bytes.
_UNDATED: dict[str, dict[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
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
    options["metadata"] = {**_UNDATED.get(form, {}), **options.get("metadata", {})} or None
    with warnings.catch_warnings():
        # Names of classes may need glyphs that the font does not have. The tables have the names.
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
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
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, borderaxespad=0.2, columnspacing=1.2)


@cache
def _style() -> dict[str, Any]:
    return dict(rc_params_from_file(_STYLE, use_default_template=False))
