"""The adapter of a data set by its name: one of ours, of an installed package, or a function of the user's own."""

import inspect
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from preprocess.datasets import DATASETS, Adapter, Listing, Request, Sample
from preprocess.errors import DatasetError
from preprocess.text import near, shown_name

GROUP = "lgcoamix.datasets"  # of entry points


def load_adapter(place: str) -> Adapter:
    """Import an adapter of somebody else.

    Parameters
    ----------
    place : ``module:name`` of an :class:`Adapter`, or of a function of the root folder that returns a
        :class:`Listing`. It may take a :class:`Request` as well. Modules in the working folder are found.

    Raises
    ------
    DatasetError : there is no such module or name, or it is no adapter. Errors inside of the module are raised as they
        are.
    """
    module, _, name = place.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise DatasetError(f"expected an adapter such as birds:find_birds, for a file birds.py, got {place!r}")
    here = os.getcwd()  # noqa: PTH109
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return _as_adapter(pkgutil.resolve_name(place), place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # it is there, but what it imports is not
        raise DatasetError(
            f"no module {module!r} is in the working folder ({here}) or installed, for the adapter {place}"
        ) from None
    except AttributeError as error:
        if not isinstance(error.obj, ModuleType):
            raise
        meant = near(name, (each for each in vars(error.obj) if not each.startswith("_")))
        raise DatasetError(f"{module} has no {name!r}" + (f"; did you mean {meant[0]!r}?" if meant else "")) from None


def adapter_of(name: str) -> Adapter | None:
    """Return the adapter of a name: of ``DATASETS``, or an entry point of ``GROUP``; None if there is none."""
    if name in DATASETS:
        return DATASETS[name]
    found: list[EntryPoint] = [*entry_points(group=GROUP, name=name)]
    return _as_adapter(found[0].load(), found[0].value) if found else None


def _as_adapter(given: Any, place: str) -> Adapter:
    if isinstance(given, Adapter):
        return given
    if not callable(given):
        raise DatasetError(f"{place} is neither an Adapter nor a function of a folder: {type(given).__name__}")
    summary = (inspect.getdoc(given) or place).splitlines()[0]
    return Adapter(summary, _checked(given, place), layout=f"as {place} expects it")


def _checked(find: Callable, place: str) -> Callable:
    """Wrap a function, so that it takes a request and what it returns is known to be a listing."""
    try:
        kinds = [each.kind for each in inspect.signature(find).parameters.values()]
        takes = sum(
            kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds
        )
    except (TypeError, ValueError):
        takes = 1

    def find_checked(root: Any, request: Request) -> Listing:
        listing = find(root, request) if takes > 1 else find(root)
        if not isinstance(listing, Listing):
            raise DatasetError(f"{place} returned a {type(listing).__name__}, expected a preprocess.datasets.Listing")
        if not isinstance(listing.splits, Mapping):
            raise DatasetError(f"{place}: expected a dictionary of splits, got {type(listing.splits).__name__}")
        found = {split: tuple(samples) for split, samples in listing.splits.items()}
        for sample in (sample for samples in found.values() for sample in samples):
            _check(sample, place)
        if not any(found.values()):
            raise DatasetError(f"{place} lists no images in {root}")
        return Listing(
            tuple(map(str, listing.classes)),
            {split: samples for split, samples in found.items() if request.wants(split)},
            undivided=listing.undivided,
            tables=listing.tables,
            notes=listing.notes,
            left_out=listing.left_out,
        )

    return find_checked


def _check(sample: Any, place: str) -> None:
    """Refuse what is no sample, and values of other types in it."""
    if not isinstance(sample, Sample):
        raise DatasetError(f"{place}: expected samples, got {type(sample).__name__}; make a Sample(key, label, path)")
    for name, kind in (("key", str), ("label", int), ("path", Path)):
        if not isinstance(given := getattr(sample, name), kind):
            raise DatasetError(
                f"{place}: the {name} of a sample is {type(given).__name__}, expected {kind.__name__}: "
                f"{shown_name(str(sample.key))}"
            )
