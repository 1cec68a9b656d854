"""Types of options, for both command lines."""

import math
import os
import re
from pathlib import Path
from typing import Any

import click

from preprocess.text import CONTROLS, did_you_mean, near


class Choice(click.Choice):
    """One of some names; an unknown one is met with all of them, and with the one that may be meant."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Say what is wrong with a value."""
        meant = " or ".join(map(repr, near(str(value), map(str, self.choices), parts=True)))
        names = ", ".join(map(repr, self.choices))
        return f"{value!r} is not one of {names}" + (f"; did you mean {meant}?" if meant else ".")


class Duration(click.ParamType):
    """A time such as 30s, 30m or 2h, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a time."""
        found = re.fullmatch("([0-9]{1,5})([smh])", str(value))
        if found is None:
            self.fail(f"expected a time such as 30s, 30m or 2h, got {value!r}", param, ctx)
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]


class FiniteRange(click.FloatRange):
    """A number in a range; click's lets NaN pass, which is neither below nor above anything."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """Read a number."""
        number = super().convert(value, parameter, context)
        if not math.isfinite(number):
            self.fail(f"expected a finite number, got {value!r}", parameter, context)
        return number


class NamedPath(click.Path):
    """A path as click checks it, of which every part can be shown in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        """Read a path."""
        odd = [found[0] for found in CONTROLS.finditer(str(value)) if not "\ud800" <= found[0] <= "\udfff"]
        if odd:  # halves of characters are bytes of names that are not UTF-8
            self.fail(f"expected a path without control characters, got {value!r}; rename the file", parameter, context)
        value = os.path.expanduser(value)  # noqa: PTH111 - never raises; a shell leaves the ~ of --root=~/birds
        try:
            return super().convert(value, parameter, context)
        except click.BadParameter as error:
            if meant := did_you_mean(Path(value), self._fits):
                # pyrefly: ignore[read-only] - click fixes the type, and reads the value when it prints
                error.message = error.message.removesuffix(".") + meant
            raise

    def _fits(self, path: Path) -> bool:
        return (self.file_okay or not path.is_file()) and (self.dir_okay or not path.is_dir())
