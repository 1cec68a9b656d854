"""What decoders warn of, kept for the thread that decodes instead of printed.

Filters of the module ``warnings`` belong to all threads and to the program around us, so they are left alone. Pillow's
modules get a stand-in for ``warnings``: it keeps what is said in a thread that listens, and passes on all else.
"""

import contextlib
import re
import sys
import threading
import warnings
from collections.abc import Iterator

from preprocess.text import shown_name

_MOST = 20  # kinds per image: the texts may quote the file
_LONGEST = 100
_THREAD = threading.local()


@contextlib.contextmanager
def listening() -> Iterator[dict[str, None]]:
    """Collect the kinds of warnings that Pillow gives in this thread, each once, in order."""
    before = getattr(_THREAD, "said", None)
    _THREAD.said = said = {}
    try:
        yield said
    finally:
        _THREAD.said = before


def listen() -> None:
    """Hear the modules of Pillow and its plugins that are loaded; call it again when more are."""
    for name, module in tuple(sys.modules.items()):
        # What is deprecated concerns programs, not files.
        if (
            name.startswith(("PIL.", "pillow_jxl."))
            and name != "PIL._deprecate"
            and getattr(module, "warnings", None) is warnings
        ):
            module.warnings = _STAND_IN


def kind_of(text: str) -> str:
    """The first sentence of a warning without its numbers: alike for all files of one fault."""
    first = re.split(r"\.\s|\n", text.strip(), maxsplit=1)[0].rstrip(".")
    return shown_name(re.sub(r"\d+", "N", first)[:_LONGEST])


def warn(text: str) -> None:
    """Warn of a file as Pillow does."""
    _STAND_IN.warn(text, stacklevel=2)


class _StandIn:
    def __getattr__(self, name: str) -> object:
        return getattr(warnings, name)

    def warn(
        self, message: str | Warning, category: type[Warning] | None = None, stacklevel: int = 1, **options: object
    ) -> None:
        said = getattr(_THREAD, "said", None)
        if said is None:
            warnings.warn(message, category, stacklevel + 1, **options)
        elif len(said) < _MOST:
            said[kind_of(str(message))] = None


_STAND_IN = _StandIn()
