"""Command-line options: shared ones, and those generated from option dataclasses."""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import click

from lgcoamix.recipes import RECIPES
from lgcoamix.settings.options import EvaluationOptions
from lgcoamix.settings.text import suggest
from preprocess.parameters import Choice, FiniteRange, NamedPath

PATH = NamedPath()
FOLDER = NamedPath(exists=True, file_okay=False)
FILE = NamedPath(exists=True, dir_okay=False)
SHARDS = click.option("--shards", type=FILE, required=True, help="The store, for example data/cub.h5.")
CHECKPOINT = click.option(
    "--checkpoint",
    type=NamedPath(exists=True),
    required=True,
    help="last.pt or best.pt of a run, or a folder: of a run for its best.pt, or one that convert wrote.",
)
FORCE = click.option("--force", is_flag=True, help="Replace what is no earlier output of this command, but no input.")


class RecipeName(click.ParamType):
    """The name of a recipe."""

    name = "name"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> str:
        """Refuse a name that no recipe has."""
        if value not in RECIPES:
            raise click.UsageError(f"no recipe {value!r}; {suggest(value, RECIPES)}", context)
        return value


def options_of(kind: type, *names: str) -> Callable[[Callable], Callable]:
    """Add one option to a command for every field of a dataclass that ``option`` made, or for those named."""

    def decorate(command: Callable) -> Callable:
        types = get_type_hints(kind)
        for field in reversed(fields(kind)):
            if field.name in names or (not names and field.default is not MISSING):
                command = _option(field, types[field.name])(command)
        return command

    return decorate


def options_in(given: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Select the values of the options that :func:`options_of` added, by field."""
    return {field.name: given[field.name] for field in fields(kind) if field.default is not MISSING}


def _option(field: Field, wanted: Any) -> Callable[[Callable], Callable]:
    name, form = field.name.replace("_", "-"), field.metadata
    settings: dict[str, Any] = {"default": field.default, "help": form["help"], "metavar": form.get("metavar")}
    if isinstance(wanted, UnionType):
        wanted = get_args(wanted)[0]
    if wanted is bool:
        if field.default:
            return click.option(f"--{name}/--no-{name}", show_default=True, **settings)
        return click.option(f"--{name}", is_flag=True, **settings)
    if get_origin(wanted) is tuple:
        text = ",".join(f"{value:g}" for value in field.default) or "none"
        settings |= {"default": text, "callback": _numbers(form["high"], form["each"])}
        return click.option(f"--{name}", show_default=True, **settings)
    if "choices" in form:
        settings["type"] = Choice(form["choices"])
    elif wanted is int:
        settings["type"] = click.IntRange(form.get("low"), form.get("high"))
    elif wanted is float:
        settings["type"] = FiniteRange(form.get("low"), form.get("high"), max_open="high" in form)
    return click.option(f"--{name}", show_default=field.default is not None, **settings)


def _numbers(upper: float, each: str) -> Callable[[click.Context, click.Parameter, str], tuple[float, ...]]:
    """Parse comma-separated numbers in (0, upper]; ``none`` is the empty list."""

    def read(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[float, ...]:
        if text.strip().lower() == "none":
            return ()
        try:
            values = sorted({float(part) for part in text.split(",")})
        except ValueError:
            values = [math.nan]
        if not all(0 < value <= upper for value in values):
            raise click.BadParameter(f"expected {each} in (0, {upper:g}] separated by commas, or none, got {text!r}")
        return tuple(values)

    return read


PLOTS = options_of(EvaluationOptions, "plots")
