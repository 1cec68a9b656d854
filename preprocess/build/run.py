"""Run a plan in parallel: tasks -> published shards -> index.

One task covers one range of samples. It stores the images and their maps at every scale, and skips intact shards that
are already published. The index is published last, so it exists only once the store is complete.
"""

import functools
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from preprocess.build.backends import QUIET, Watch, run_parallel
from preprocess.build.plan import Layout, Plan, Task, columns_of, with_others
from preprocess.build.settings import BuildSettings, MapColumn
from preprocess.build.task import Report, describe_warnings, regions_of, run_task
from preprocess.datasets import Listing, Sample
from preprocess.errors import BuildError
from preprocess.files import leftovers_of, sweep
from preprocess.raw.selection import left_out_of
from preprocess.store.content import column_keys, count_regions, sources_key
from preprocess.store.format import IMAGES
from preprocess.store.index import Index, replace_index
from preprocess.store.place import real_index, shard_path
from preprocess.store.shard import Shard
from preprocess.superpixels import ALGORITHMS
from preprocess.suspicious import summary

_SHOWN_FAILURES = 10
_Reports = dict[tuple[str, int], Report]


def prepare(settings: BuildSettings) -> None:
    """Segment a black image, so that the algorithm is compiled once here instead of in every worker."""
    side = settings.size or 64
    counts = tuple(scale.segments for scale in settings.scales)
    ALGORITHMS[settings.algorithm].segment(np.zeros((side, side, 3), np.uint8), counts, settings.compactness)


def tidy(out: Path) -> None:
    """Remove half-written files that killed builds of a store left behind."""
    out = real_index(out)
    stem = out.with_suffix("").name
    sweep(shard_path(out.parent, f"{stem}.shards").rglob(".*.tmp"))
    sweep(leftovers_of(out))


def build(
    plan: Plan,
    jobs: int,
    skip_bad: bool,
    advance: Callable[[int], None],
    backend: str = "loky",
    scheduler: str | None = None,
    watch: Watch = QUIET,
) -> list[Report] | None:
    """Run the plan and publish the index.

    Parameters
    ----------
    skip_bad : publish without the images that failed.
    advance : called with the number of images of each finished task.
    jobs, backend, scheduler, watch : as for :func:`preprocess.build.backends.run_parallel`.

    Returns
    -------
    The report of every task, or None if another build published an index in the meantime. The shards are kept; plan
    again from that index.

    Raises
    ------
    BuildError : a worker process died; or images failed and ``skip_bad`` is false, or none of a split is usable, in
        which case the shards are stored but no index is published.
    """
    reports = run_tasks(plan, jobs, advance, backend, scheduler, watch)
    new = [(task.split, task.number) for task in plan.tasks if IMAGES not in task.known]
    failed = [failure for task in new for failure in reports[task].failed]
    try:
        if failed and not skip_bad:
            total = sum(map(len, plan.listing.splits.values()))
            raise BuildError(_failure_text(failed, f"{total} images", ", or publish without them: --skip-bad"))
        index = assemble(plan, reports)
        _refuse_empty(plan, index)
    except BuildError:
        for line in describe_warnings(reports.values()):
            watch.say(line)
        raise
    replaced = replace_index(plan.home / f"{plan.stem}.h5", index, plan.base)
    return list(reports.values()) if replaced else None


def run_tasks(
    plan: Plan,
    jobs: int,
    advance: Callable[[int], None],
    backend: str,
    scheduler: str | None = None,
    watch: Watch = QUIET,
) -> _Reports:
    """Run the tasks of a plan in random order, so that concurrent builds of one store share the work.

    Each task first checks for finished shards, so two builds rarely compute the same one. If they do, only time is
    lost: both write the same bytes under the same name.
    """
    tasks: Iterable[Task] = random.sample(plan.tasks, len(plan.tasks))
    home, reports = plan.home, {}
    if backend != "threading":  # workers of a cluster, or of an earlier build, have other working directories
        tasks, home = map(_absolute, tasks), home.absolute()
    images = {(task.split, task.number): _images_in(plan, task) for task in plan.tasks}

    def done(report: Report) -> None:
        reports[report.task] = report
        advance(images[report.task])

    calls = ((task, home, plan.stem, plan.settings) for task in tasks)
    run_parallel(run_task, calls, done, jobs, backend, scheduler, watch)
    return {(task.split, task.number): reports[task.split, task.number] for task in plan.tasks}


def images_to_do(plan: Plan) -> int:
    """Return the number of images in all tasks."""
    return sum(_images_in(plan, task) for task in plan.tasks)


def assemble(plan: Plan, reports: _Reports) -> Index:
    """Merge the existing index with the reports of the new tasks."""
    settings, base = plan.settings, plan.base
    document = base.document if base else {"superpixels": [], "splits": {}}
    splits = dict(document["splits"])
    places, labels = (dict(base.places), dict(base.labels)) if base else ({}, {})
    for split in plan.gone:
        for held in (splits, places, labels):
            held.pop(split, None)
    for split, layout in plan.layouts.items():
        places.pop(split, None)
        mine = [reports.get((split, number)) for number in range(len(layout.known))]
        where = _places(layout, mine, plan.listing.splits[split])
        if where is not None:
            places[split] = where
        splits[split], labels[split] = _entry(plan, split, mine, where)
    wanted, sets = settings.superpixel_set(), _sets_held(document["superpixels"], splits)
    document = {
        "name": document.get("name", plan.stem),
        "dataset": settings.dataset,
        "classes": list(plan.listing.classes),
        "images": document.get("images", settings.image_recipe()),
        "superpixels": sets if wanted in sets else [*sets, wanted],
        "splits": splits,
        **_left_out(plan.listing),
    }
    return Index(document, places, labels)


def _sets_held(sets: list[dict], splits: dict[str, dict]) -> list[dict]:
    """Return the superpixel sets that a split has maps of: a split that is gone may have been the only one."""
    held = {column for entry in splits.values() for column in entry["columns"]}
    return [each for each in sets if all(scale["column"] in held for scale in each["scales"])]


def _left_out(listing: Listing) -> dict[str, dict]:
    found = {reason: {"count": count, "example": example} for reason, (count, example) in listing.left_out.items()}
    return {"left_out": found} if found else {}


def _places(layout: Layout, reports: list[Report | None], samples: tuple[Sample, ...]) -> np.ndarray | None:
    """Return shard and row of every usable sample. Failed samples of a new shard move the later ones up."""
    if layout.homes is None:
        return None
    failed = {failure["key"] for failure in _new_failures(layout, reports)}
    lost = dict.fromkeys((number for number, rows in enumerate(layout.rows) if rows < 0), 0)
    places = []
    for sample, (shard, place) in zip(samples, layout.homes.tolist(), strict=True):
        if shard in lost and sample.key in failed:
            lost[shard] += 1
        elif shard >= 0:
            places.append((shard, place - lost.get(shard, 0)))
    return np.asarray(places, np.int32).reshape(-1, 2)


def _entry(plan: Plan, split: str, reports: list[Report | None], places: np.ndarray | None) -> tuple[dict, np.ndarray]:
    """Return the index entry of one split, and its labels."""
    layout, settings = plan.layouts[split], plan.settings
    before = plan.base.document["splits"].get(split) if plan.base else None
    rows = [report.rows if report else known for report, known in zip(reports, layout.rows, strict=True)]
    records = [known | (report.records if report else {}) for known, report in zip(layout.known, reports, strict=True)]
    images = [record[IMAGES] for record in records]
    same = before is not None and _same_images(plan, split, images, places)
    image_recipe = plan.base.document["images"] if plan.base else settings.image_recipe()
    chosen = left_out_of(plan.listing, split)
    same = same and before.get("divided") == chosen.get("divided")
    keys = functools.partial(column_keys, divided=chosen.get("divided"))
    kept = plan.base.labels.get(split) if same else None  # an older version may have built the base
    of_images, labels = _of_images(plan, images, rows, places) if kept is None else (_kept_of(before), kept)
    sources = of_images["sources"]
    columns = {IMAGES: keys(sources, image_recipe, layout.shard_size, None) | {"files": images}}
    for column in with_others(settings.columns, columns_of(plan.base, split) if before else ()):
        files = [record[column.name] for record in records]
        if same and column.name in before["columns"]:
            columns[column.name] = before["columns"][column.name] | {"files": files}
            continue
        stored = before["columns"].get(column.name) if before else None
        recipe = stored["recipe"] if stored else column.recipe()
        columns[column.name] = keys(sources, image_recipe, layout.shard_size, recipe) | {
            "files": files,
            "recipe": recipe,
            "dtype": column.dtype,
            **_count(_regions(plan, column, files, reports), rows, places),
        }
    entry = {
        "samples": layout.samples,
        "sources": sources,
        "shard_size": layout.shard_size,
        "rows": rows,
        "failed": [*layout.failed, *_new_failures(layout, reports)],
        **chosen,
        **of_images,
        "columns": columns,
    }
    return entry, labels


def _new_failures(layout: Layout, reports: list[Report | None]) -> list[dict[str, str]]:
    """Return the unusable images of new shards; those of older shards are already listed."""
    pairs = zip(reports, layout.rows, strict=True)
    return [failure for report, rows in pairs if report and rows < 0 for failure in report.failed]


def _same_images(plan: Plan, split: str, images: list[dict], places: np.ndarray | None) -> bool:
    entry, before = plan.base.document["splits"][split], plan.base.places.get(split)
    if (places is None) != (before is None) or images != entry["columns"][IMAGES]["files"]:
        return False
    return places is None or np.array_equal(places, before)


def _kept_of(before: dict) -> dict:
    return {name: before[name] for name in ("sources", "suspicious") if name in before}


def _of_images(plan: Plan, images: list[dict], rows: list[int], places: np.ndarray | None) -> tuple[dict, np.ndarray]:
    """Return what the index says of all samples in order: a key of their sources, what is suspicious; and labels."""
    everything = []
    for record in images:
        with closing(Shard.open(shard_path(plan.home, record["path"]), plan.settings.form())) as shard:
            everything += zip(shard.keys, shard.labels.tolist(), shard.sources, shard.suspicious.tolist(), strict=True)
    if places is not None:
        starts = np.cumsum([0, *rows])
        everything = [everything[starts[shard] + row] for shard, row in places.tolist()]
    keys, labels, sources, bits = zip(*everything, strict=True) if everything else ((), (), (), ())
    odd = summary(np.asarray(bits, np.uint8), keys)
    said = {"sources": sources_key(keys, labels, sources)} | ({"suspicious": odd} if odd else {})
    return said, np.asarray(labels, np.int32)


def _regions(plan: Plan, column: MapColumn, files: list[dict], reports: list[Report | None]) -> Iterator[np.ndarray]:
    for file, report in zip(files, reports, strict=True):
        known = report.regions.get(column.name) if report else None
        yield regions_of(plan.home, file["path"], plan.settings.form(column)) if known is None else known


def _count(regions: Iterable[np.ndarray], rows: list[int], places: np.ndarray | None) -> dict[str, int]:
    """Return the superpixel statistics of a column for the index."""
    counts = np.concatenate([np.empty(0, np.int64), *regions]).astype(np.int64)
    if places is not None:
        counts = counts[np.cumsum([0, *rows])[places[:, 0]] + places[:, 1]]
    return count_regions(counts)


def _images_in(plan: Plan, task: Task) -> int:
    return len(task.samples) or plan.layouts[task.split].rows[task.number]


def _absolute(task: Task) -> Task:
    return replace(task, samples=tuple(replace(sample, path=sample.path.absolute()) for sample in task.samples))


def _refuse_empty(plan: Plan, index: Index) -> None:
    for split, samples in plan.listing.splits.items():
        if samples and not len(index.labels[split]):
            others = ",".join(name for name in plan.listing.splits if len(index.labels[name]))
            otherwise = f", or leave {split} out: --splits {others}" if others and split != "train" else ""
            failed = index.document["splits"][split]["failed"]
            raise BuildError(_failure_text(failed, f"{len(samples)} images of {split}", otherwise))


def _failure_text(failed: list[dict], total: str, otherwise: str) -> str:
    lines = [f"  {failure['key']}: {failure['reason']}" for failure in failed[:_SHOWN_FAILURES]]
    lines += [f"  ... and {len(failed) - _SHOWN_FAILURES} more"] if len(failed) > _SHOWN_FAILURES else []
    return (
        f"{len(failed)} of {total} are unusable; the others are stored, but no index was published:\n"
        + "\n".join(lines)
        + f"\nfix or remove these files and rerun the command{otherwise}"
    )
