"""Plan a build: compare the listing and settings with the existing store, and list the missing tasks."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from preprocess.build.settings import BuildSettings, MapColumn
from preprocess.build.sources import built_at, source_of, stored_images, touched_at
from preprocess.datasets import Listing, Sample
from preprocess.errors import BuildError
from preprocess.raw.division import parts_of
from preprocess.raw.selection import describe_selection, left_out_of, same_selection
from preprocess.store.format import IMAGES, canonical, key_of
from preprocess.store.index import Index
from preprocess.store.place import is_whole, real_index
from preprocess.text import listed

_SHOWN = 10


@dataclass(frozen=True)
class Task:
    """The work on one range of one split."""

    split: str
    number: int  # index of the shard in the split
    samples: tuple[Sample, ...]  # sources of its images; empty if the images are already stored
    key: str  # key of the image shard if every image is usable
    columns: tuple[MapColumn, ...]  # the maps to compute
    known: dict[str, dict] = field(default_factory=dict)  # column name -> its record, for published columns


@dataclass(frozen=True)
class Layout:
    """The shards of one split, existing and planned."""

    samples: str  # key of the names, labels and file sizes of its images, in order
    shard_size: int  # number of samples in a full shard
    known: tuple[dict[str, dict], ...]  # for each shard, column name -> record; empty for a planned shard
    rows: tuple[int, ...]  # for each shard, its number of samples; -1 for a planned shard
    failed: tuple[dict[str, str], ...] = ()  # images known to be unusable: key, reason, SHA-256
    # (n, 2) int array, shard and row of every listed sample; -1 for an unusable one. None if every shard holds a
    # contiguous range of the listing
    homes: np.ndarray | None = None


@dataclass(frozen=True)
class Plan:
    """The complete build, decided before the first image is read."""

    home: Path  # folder of the index
    stem: str  # name of the store without ``.h5``
    listing: Listing
    settings: BuildSettings
    base: Index | None  # the existing index; None for a new store
    layouts: dict[str, Layout]  # by split
    tasks: tuple[Task, ...]  # the missing work
    gone: tuple[str, ...] = ()  # splits of the existing index that an update removes from it

    @property
    def complete(self) -> bool:
        """Whether the existing store already holds everything requested."""
        if self.base is None or self.tasks or self.gone:
            return False
        document = self.base.document
        same = document["classes"] == list(self.listing.classes) and all(
            split in document["splits"]
            and layout.samples == document["splits"][split]["samples"]
            and same_selection(left_out_of(self.listing, split), document["splits"][split])
            for split, layout in self.layouts.items()
        )
        sets = [entry["name"] for entry in document["superpixels"]]
        return same and self.settings.superpixel_set()["name"] in sets


def make_plan(
    out: Path, listing: Listing, settings: BuildSettings, base: Index | None = None, whole: bool = False
) -> Plan:
    """Compare the request with the existing store and list the missing work.

    ``out`` is the path of the index; the shards go into the folder ``<stem>.shards`` beside it. If the listing is of
    all splits that there are (``whole``), the existing store may have no others; else its others stay.

    Raises
    ------
    BuildError : the existing store has other images or splits; the message lists the differences.
    """
    out = real_index(out)
    home, stem = out.parent, out.with_suffix("").name
    layouts, tasks = {}, []
    if base is not None:
        refuse_differences(out, listing, settings, base, whole)
    for split, samples in listing.splits.items():
        if base is not None and split in base.document["splits"]:
            layout = layout_in_place(base, split)
            _refuse_edited(out, layout, samples, settings)
            tasks += list(_missing(home, split, samples, layout, settings, base, split in base.places))
        else:
            if base is not None:
                refuse_other_pillow(base, settings)
            size = settings.shard_size or default_shard_size(len(samples))
            fresh = list(cut(split, samples, size, settings))
            layout = Layout(fingerprint(split, samples), size, ({},) * len(fresh), (-1,) * len(fresh))
            tasks += fresh
        layouts[split] = layout
    return Plan(home, stem, listing, settings, base, layouts, tuple(tasks))


def cut(split: str, samples: tuple[Sample, ...], size: int, settings: BuildSettings) -> Iterator[Task]:
    """Cut samples into ranges; the key of each image shard derives from its content."""
    for number, start in enumerate(range(0, len(samples), size)):
        part = samples[start : start + size]
        yield Task(split, number, part, _range_key(part, settings), settings.columns)


def layout_in_place(base: Index, split: str) -> Layout:
    """Return the shards of a split as the index lists them."""
    entry = base.document["splits"][split]
    known = tuple(
        {name: column["files"][number] for name, column in entry["columns"].items()}
        for number in range(len(entry["rows"]))
    )
    rows, failed = tuple(entry["rows"]), tuple(entry["failed"])
    return Layout(entry["samples"], entry["shard_size"], known, rows, failed, base.places.get(split))


def columns_of(base: Index, split: str) -> tuple[MapColumn, ...]:
    """Return the map columns of a split."""
    columns = base.document["splits"][split]["columns"].values()
    return tuple(
        MapColumn(recipe["algorithm"], recipe["compactness"], recipe["segments"], column["dtype"])
        for column in columns
        if (recipe := column.get("recipe")) is not None
    )


def with_others(wanted: Iterable[MapColumn], others: Iterable[MapColumn]) -> tuple[MapColumn, ...]:
    """Merge columns of maps without repeats; ``wanted`` wins."""
    return tuple({column.name: column for column in (*others, *wanted)}.values())


def fingerprint(split: str, samples: Iterable[Sample]) -> str:
    """Return a key of names, labels, file sizes and boxes, in order."""
    everything = hashlib.sha256()
    for sample in samples:
        everything.update(canonical([split, *_identity(sample)]).encode())
    return everything.hexdigest()[:16]


def default_shard_size(samples: int) -> int:
    """Choose 32 to 512 samples: about 64 shards per split balance the work and keep the progress bar moving."""
    return min(512, max(32, 2 ** round(math.log2(max(1, samples / 64)))))


def not_listed(listing: Listing, base: Index) -> tuple[str, ...]:
    """Return the splits of a store that a listing lacks."""
    return tuple(split for split in base.document["splits"] if split not in listing.splits)


def refuse_differences(
    out: Path, listing: Listing, settings: BuildSettings, base: Index, whole: bool, update: bool = False
) -> None:
    """Raise a BuildError that lists how the existing store differs; an update may change images, classes and splits."""
    lines = list(_differences(listing, settings, base, whole, update))
    if lines:
        remedies = [f"choose another --out, or remove {out} and rebuild"]
        others = listed(not_listed(listing, base), _SHOWN)
        if len(lines) == 1 and lines[0].startswith("splits: "):
            remedies.insert(0, f"keep {others}: --splits {','.join(listing.splits)}")
        if not update and all(line.startswith(("images of ", "classes: ", "splits: ")) for line in lines):
            removes = f", which removes {others}" if whole and others else ""
            remedies.insert(0, f"apply the changes with --update{removes}")
        raise BuildError(
            f"{out} was built with other settings or images:\n  " + "\n  ".join(lines) + "\n" + ", or ".join(remedies)
        )


def _differences(listing: Listing, settings: BuildSettings, base: Index, whole: bool, update: bool) -> Iterator[str]:
    document, others = base.document, not_listed(listing, base)
    yield from _line("data set", document["dataset"], settings.dataset)
    stored, asked = document["images"], settings.image_recipe()
    for name in sorted((stored.keys() | asked.keys()) - {"pillow"}):
        yield from _line(f"--{name}", stored.get(name), asked.get(name))
    wanted = settings.superpixel_set()
    for entry in document["superpixels"]:
        if entry["name"] == wanted["name"] and entry != wanted:
            yield f"superpixels {entry['name']}: the stored draw weights differ from those requested"
    if whole and others and not update:
        yield from _line("splits", ", ".join(document["splits"]), ", ".join(listing.splits))
    if not update or (others and not whole):
        yield from _line("classes", ", ".join(document["classes"]), ", ".join(listing.classes))
    yield from _other_divisions(listing, document)
    for split in listing.splits.keys() & document["splits"].keys():
        entry = document["splits"][split]
        if settings.shard_size is not None:
            yield from _line(f"--shard-size of {split}", entry["shard_size"], settings.shard_size)
        if not update and fingerprint(split, listing.splits[split]) != entry["samples"]:
            yield f"images of {split}: {_how_they_differ(left_out_of(listing, split), entry)}"


def _line(what: str, stored: object, asked: object) -> Iterator[str]:
    if stored != asked:
        yield f"{what}: stored {stored}, requested {asked}"


def _other_divisions(listing: Listing, document: dict) -> Iterator[str]:
    """Yield lines of stored splits that stay, and were divided otherwise: their images may be in the new ones too."""
    for split in sorted(document["splits"].keys() - listing.splits.keys()):
        stored = document["splits"][split].get("divided", "")
        parts = {*parts_of(stored), *parts_of(listing.rule)}
        if stored != listing.rule and split in parts and parts & listing.splits.keys():
            yield f"--split of {split}: stored {stored or 'not divided'}, requested {listing.rule or 'not divided'}"


def _how_they_differ(left_out: dict, entry: dict) -> str:
    if same_selection(left_out, entry):
        return "names, labels, file sizes or boxes differ from those stored"
    return (
        f"stored {describe_selection(entry)}, requested {describe_selection(left_out)} "
        "(repeat --split, --exclude and --limit-per-class for this store)"
    )


def refuse_other_pillow(base: Index, settings: BuildSettings) -> None:
    """Refuse to mix images decoded by different versions of Pillow."""
    stored, installed = base.document["images"]["pillow"], settings.image_recipe()["pillow"]
    if stored != installed:
        raise BuildError(
            f"the images were stored with Pillow {stored}, but {installed} is installed and may decode differently; "
            f"install pillow=={stored}, or rebuild the store"
        )


def refuse_other_scikit_image(base: Index, split: str, columns: Iterable[MapColumn]) -> None:
    """Refuse to mix maps computed by different versions of scikit-image in one column."""
    for column in columns:
        stored = base.document["splits"][split]["columns"][column.name]["recipe"]["scikit-image"]
        installed = column.recipe()["scikit-image"]
        if stored != installed:
            raise BuildError(
                f"{split}/{column.name} was computed with scikit-image {stored}, but {installed} is installed and may "
                f"return other labels; install scikit-image=={stored}"
            )


def _missing(
    home: Path,
    split: str,
    samples: tuple[Sample, ...],
    layout: Layout,
    settings: BuildSettings,
    base: Index,
    updated: bool,
) -> Iterator[Task]:
    """List the tasks for columns and files that an existing split lacks."""
    present = {column.name: column for column in columns_of(base, split)}
    wanted = [column for column in settings.columns if column.name not in present]
    size = layout.shard_size
    for number, known in enumerate(layout.known):
        lost = {name for name, record in known.items() if not is_whole(home, record)}
        if lost or wanted:
            if IMAGES in lost and updated:
                raise BuildError(f"{home / known[IMAGES]['path']} is missing; rebuild its images with --update")
            part = samples[number * size : (number + 1) * size] if IMAGES in lost else ()
            again = [column for name, column in present.items() if name in lost]
            refuse_other_scikit_image(base, split, again)
            yield Task(split, number, part, shard_key(known[IMAGES]["path"]), (*again, *wanted), known)


def _refuse_edited(out: Path, layout: Layout, samples: tuple[Sample, ...], settings: BuildSettings) -> None:
    """Refuse a store whose source files were edited since, even if names and sizes are unchanged."""
    oldest = min((built_at(out.parent / known[IMAGES]["path"]) for known in layout.known), default=0)
    touched = [sample for sample in samples if touched_at(sample.path) >= oldest]
    known = stored_images(out.parent, layout.known, layout.homes, settings.form()) if touched else {}
    edited = [sample.key for sample in touched if sample.key in known and known[sample.key].source != source_of(sample)]
    if edited:
        raise BuildError(
            f"{len(edited)} images changed since {out} was built: {listed(edited, _SHOWN)}; "
            "apply the changes with --update, or choose another --out"
        )


def shard_key(path: str) -> str:
    """Return the key in the name of a shard."""
    return Path(path).stem.split("-", 1)[1]


def _range_key(samples: Iterable[Sample], settings: BuildSettings) -> str:
    return key_of({"images": settings.image_recipe(), "samples": [_identity(sample) for sample in samples]})


def _identity(sample: Sample) -> list:
    try:
        sample.key.encode()
    except UnicodeEncodeError:
        raise BuildError(f"the file name {sample.key!a} is not UTF-8; rename the file") from None
    boxes = [sample.boxes] if sample.boxes else []
    return [sample.key, sample.label, sample.size(), *boxes]
