"""Types of options, for both command lines."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A number in a range; click's lets NaN pass, which is neither below nor above anything."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """Read a number."""
        number = super().convert(value, parameter, context)
        if not math.isfinite(number):
            self.fail(f"expected a finite number, got {value!r}", parameter, context)
        return number
