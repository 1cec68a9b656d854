"""The options that say where images come from, shared by ``build`` and ``verify --repair``."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from preprocess.cli.common import FILE
from preprocess.datasets import DATASETS, Adapter, Listing, Request, split_name
from preprocess.datasets.paths import common_folder
from preprocess.errors import DatasetError
from preprocess.parameters import Choice, NamedPath
from preprocess.terminal import tell
from preprocess.text import did_you_mean, listed, shown_name

if TYPE_CHECKING:
    from preprocess.raw.find import Source

_OPTIONS = (
    click.option(
        "--root",
        type=NamedPath(),
        help="Folder of the raw data; for webdataset also a pattern.  [default: data/raw/DATASET]",
    ),
    click.option(
        "--split",
        metavar="SHARES|train|COLUMN",
        help="How to divide images without a split: val=0.1,test=0.2 by their keys, or all for train; "
        "or the column of a table.",
    ),
    click.option(
        "--table",
        type=FILE,
        multiple=True,
        metavar="FILE",
        help="The table of images: CSV, TSV, Parquet or text. Once for each split if these are in files of their own.",
    ),
    click.option("--image", metavar="COLUMN", help="Column of the images.  [default: guessed and shown]"),
    click.option("--label", metavar="COLUMN", help="Column of the labels.  [default: guessed and shown]"),
    click.option(
        "--adapter",
        metavar="MODULE:FUNCTION",
        is_eager=True,  # DATASET may be any name then
        help="List the images with a function of your own.",
    ),
)


class DatasetName(Choice):
    """The name of a data set: of ours, of an entry point, or any word beside ``--adapter``."""

    def __init__(self) -> None:
        super().__init__(tuple(DATASETS))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check a name."""
        given = ctx is not None and isinstance(ctx.params.get("adapter"), str)
        if value in DATASETS and not given:
            return value
        from preprocess.raw.adapters import adapter_of
        from preprocess.store.schema import is_word

        if given and value not in DATASETS and is_word(value):
            return value
        if given:
            raise click.BadParameter(f"expected a name of your own beside --adapter, got {value!r}", ctx, param)
        return value if adapter_of(value) is not None else super().convert(value, param, ctx)


@dataclass(frozen=True)
class Given:
    """The options as they were given; None, or no table, where one was not."""

    root: Path | None
    split: str | None
    table: tuple[Path, ...]
    image: str | None
    label: str | None
    adapter: str | None


def source_options(command: Callable) -> Callable:
    """Add the options, which the command takes as one argument ``given``."""

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> Any:
        given = Given(**{field.name: arguments.pop(field.name) for field in fields(Given)})
        return command(given=given, **arguments)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def source_of(dataset: str, given: Given, splits: str | None = None) -> "Source":
    """Make a source of the options, or raise a usage error."""
    from preprocess.raw.adapters import adapter_of, load_adapter
    from preprocess.raw.find import RAW, Source

    adapter = load_adapter(given.adapter) if given.adapter is not None else adapter_of(dataset)
    if adapter is None:
        raise DatasetError(
            f"this program does not know the data set {dataset!r}; say with --adapter who lists it, or, if "
            "preprocess.build_store made the store, call it again with update=True"
        )
    for name in ("table", "image", "label"):
        if getattr(given, name) not in (None, ()) and name not in adapter.takes:
            raise click.BadParameter(f"{dataset} has no such thing", param_hint=f"--{name}")
    if "table" in adapter.takes and not given.table:
        raise click.BadParameter("build table needs the file: --table list.csv", param_hint="--table")
    rule, column = _rule(adapter, given.split)
    chosen = _splits(adapter, splits, rule)
    root = given.root or (common_folder(given.table) if given.table else RAW / dataset)
    if given.root is not None and not root.is_dir() and adapter.create is None and not adapter.pattern:
        what = "is a file" if root.exists() else "does not exist"
        raise click.BadParameter(
            f"folder {shown_name(root)} {what}{did_you_mean(root, Path.is_dir)}", param_hint="--root"
        )
    request = Request(chosen, given.table, given.image, given.label, column, given.root is not None)
    return Source(dataset, adapter, root, request, rule)


def find_listing(source: "Source", download: bool, partial: bool, max_unpacked: int | None = None) -> Listing:
    """List a data set for a command: download it if needed, say what is odd, and compare with the official counts."""
    from preprocess.datasets.census import describe
    from preprocess.raw.find import choose_splits, find_raw_data
    from preprocess.raw.selection import check_counts, check_names, look_alikes

    complete = find_raw_data(source, download, max_unpacked)
    counts = ", ".join(f"{split} {len(samples):,}" for split, samples in complete.splits.items())
    if complete.undivided:
        counts = f"{len(complete.splits['train']):,} without a split"
    tell(f"{len(complete.classes):,} classes ({listed(complete.classes)}); images: {counts}")
    for line in complete.notes:
        tell(line)
    if complete.left_out:
        tell(f"left out of {shown_name(source.root)}: {describe(complete.left_out)}")
    listing = choose_splits(source, complete)
    check_names(listing)
    for line in (*listing.notes[len(complete.notes) :], *look_alikes(listing)):
        tell(line)
    if not partial:
        wanted = {split: count for split, count in source.adapter.counts.items() if source.needed.wants(split)}
        check_counts(source.name, replace(source.adapter, counts=wanted), complete)
    return listing


def _splits(adapter: Adapter, text: str | None, rule: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    from preprocess.raw.division import parts_of

    names = tuple(dict.fromkeys(split_name(name.strip()) for name in text.split(",")))
    known = {*adapter.counts, *parts_of(rule)} if adapter.counts else None
    if odd := [name for name in names if not name or (known and name not in known)]:
        expected = " or ".join(known) if known else "names such as train,test"
        raise click.BadParameter(f"expected {expected}, got {shown_name(odd[0])!r}", param_hint="--splits")
    return names


def _rule(adapter: Adapter, text: str | None) -> tuple[str, str | None]:
    """Return the rule and the column that ``--split`` names; at most one of them."""
    from preprocess.raw.division import WHOLE, parse_rule

    if text is None:
        return "", None
    if "split" in adapter.takes and "=" not in text and text != WHOLE:
        return "", text
    try:
        return parse_rule(text), None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--split") from None
