"""The parallel run: a listing and settings -> a plan -> shards -> the index.

One task is one range of samples: it stores the images of the range and their maps at every scale, and skips what is
already published and whole. The index is published last, so it exists when the store is complete and not before.
"""

import glob
import hashlib
import logging
import math
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from multiprocessing import resource_tracker
from pathlib import Path

import joblib
import numpy as np
from joblib.externals.loky import get_reusable_executor

from preprocess.datasets import Listing, Sample
from preprocess.errors import BuildError, ImageError, StoreError, ThreadsInterrupted
from preprocess.images import decode, encode_jpeg, load
from preprocess.store.format import canonical, check_file, key_of, sweep
from preprocess.store.reader import IMAGES, read_index, read_shard_images, read_sources, read_summary
from preprocess.store.writer import ImageRows, write_image_shard, write_index, write_map_shard
from preprocess.superpixels import ALGORITHMS, Scale

_MOST_THREADS = 4
_SHOWN_FAILURES = 10
_ANEW = "give another --out, or remove {out} and build it anew"
_NAMES = {"samples": "the image files (key of their names, labels and sizes)"}


@dataclass(frozen=True)
class BuildSettings:
    """What decides the content of a store, and how it is encoded.

    Parameters
    ----------
    dataset : name of the adapter.
    scales : segment counts and draw weights.
    size : side of the stored square, in pixels.
    resize : how images come to that size: ``squash`` gives up the aspect ratio.
    algorithm : name in ``ALGORITHMS``.
    compactness : as for :func:`preprocess.superpixels.slic`; None for an algorithm that has none.
    codec : ``raw`` pixels or ``jpeg``.
    quality : JPEG quality, 1 to 100; unused for raw.
    shard_size : samples in a shard; None chooses for each split. A worker holds the images of a shard and their maps at
        all scales in memory.
    """

    dataset: str
    scales: tuple[Scale, ...]
    size: int = 256
    resize: str = "squash"
    algorithm: str = "slic"
    compactness: float | None = 10.0
    codec: str = "raw"
    quality: int = 95
    shard_size: int | None = None

    def map_dtype(self, scale: Scale) -> str:
        """Dtype of all maps of one scale; its highest value is the sentinel and never an id."""
        bound = ALGORITHMS[self.algorithm].largest_id((self.size, self.size), scale.segments)
        if bound >= np.iinfo(np.uint16).max:
            raise BuildError(
                f"{scale.segments} segments may give ids up to {bound}, more than 16 bits hold; ask for fewer"
            )
        return "uint8" if bound < np.iinfo(np.uint8).max else "uint16"

    def image_recipe(self) -> dict:
        """All that decides the stored pixels, besides the source files."""
        jpeg = {"quality": self.quality} if self.codec == "jpeg" else {}
        return {
            "size": self.size,
            "resize": self.resize,
            "codec": self.codec,
            **jpeg,
            "pillow": version("pillow"),
        }

    def map_recipe(self) -> dict:
        """All that decides the maps, besides the stored pixels and the segment count."""
        return {
            "algorithm": self.algorithm,
            "compactness": self.compactness,
            "scikit-image": version("scikit-image"),
        }


@dataclass(frozen=True)
class Task:
    """One range of one split.

    Parameters
    ----------
    split, number : the range, counted within the split.
    samples : its samples.
    key : key of the image shard, if every image of the range is good.
    """

    split: str
    number: int
    samples: tuple[Sample, ...]
    key: str


@dataclass(frozen=True)
class Plan:
    """The whole build, decided before the first image is read.

    Parameters
    ----------
    home : folder of the index.
    stem : name of the store without ``.h5``.
    listing, settings : the data set and the settings.
    tasks : every range of every split.
    fingerprint : key of all keys, labels and file sizes, in order.
    """

    home: Path
    stem: str
    listing: Listing
    settings: BuildSettings
    tasks: tuple[Task, ...]
    fingerprint: str

    @cached_property
    def document(self) -> dict:
        """The part of the index that is known beforehand; equal documents mean equal stores."""
        settings = self.settings
        return {
            "dataset": settings.dataset,
            "splits": list(self.listing.splits),
            "samples": self.fingerprint,
            "images": settings.image_recipe(),
            "maps": settings.map_recipe(),
            "scales": [asdict(scale) for scale in settings.scales],
            "shard_size": {
                split: settings.shard_size or _shard_size(len(samples))
                for split, samples in self.listing.splits.items()
            },
        }


@dataclass(frozen=True)
class Report:
    """What a finished task tells: plain data, small.

    Parameters
    ----------
    task : split and number of the range.
    columns : column name -> path, bytes, sha256 and summary of its shard.
    maps_computed : number of maps that this run computed, not kept from before.
    """

    task: tuple[str, int]
    columns: dict[str, dict]
    maps_computed: int


def make_plan(out: Path, listing: Listing, settings: BuildSettings) -> Plan:
    """Cut the splits into ranges and name every shard by the key of what it will hold.

    Parameters
    ----------
    out : path of the index; the shards go into the folder ``<stem>.shards`` beside it.
    """
    stem = out.with_suffix("").name
    tasks = []
    everything = hashlib.sha256()
    for split, samples in listing.splits.items():
        size = settings.shard_size or _shard_size(len(samples))
        for number, start in enumerate(range(0, len(samples), size)):
            part = samples[start : start + size]
            rows = [[_written(sample.key), sample.label, _bytes_of(sample.path)] for sample in part]
            everything.update(canonical([split, rows]).encode())
            key = key_of({"images": settings.image_recipe(), "samples": rows})
            tasks.append(Task(split, number, part, key))
    return Plan(out.parent, stem, listing, settings, tuple(tasks), everything.hexdigest()[:16])


def _shard_size(samples: int) -> int:
    """About 64 shards a split, for even work and a lively progress bar, but neither tiny nor large ones."""
    return min(512, max(32, 2 ** round(math.log2(max(1, samples / 64)))))


def column_name(settings: BuildSettings, scale: Scale) -> str:
    """Name of the column of one scale, for example ``slic-36``."""
    return f"{settings.algorithm}-{scale.segments}"


def find_complete(out: Path, plan: Plan) -> dict | None:
    """Look for a store under the final name.

    Returns
    -------
    Its index if it is the planned store with all its shards in place; None if there is none or shards are missing.

    Raises
    ------
    BuildError : there is a store of another plan; the message lists the differences.
    """
    if not out.exists():
        return None
    try:
        index = read_index(out)
    except StoreError as error:
        raise BuildError(f"{error}; remove {out} or give another --out") from None
    differences = list(_differences(index["plan"], plan.document))
    if differences:
        raise BuildError(f"{out} is another store:\n  " + "\n  ".join(differences) + f"\n{_ANEW.format(out=out)}")
    files = (
        file for split in index["splits"].values() for column in split["columns"].values() for file in column["files"]
    )
    if any(_bytes_of(out.parent / file["path"]) != file["bytes"] for file in files):
        return None
    edited = []
    for task in plan.tasks:
        file = index["splits"][task.split]["columns"][IMAGES]["files"][task.number]
        edited += _edited(task.samples, out.parent / file["path"])
    if edited:
        names = ", ".join(edited[:_SHOWN_FAILURES])
        raise BuildError(f"{len(edited)} images changed since {out} was built: {names}; {_ANEW.format(out=out)}")
    return index


def prepare(settings: BuildSettings) -> None:
    """Cut an empty image, so that a compiled algorithm is compiled once, here, and not by every worker."""
    image = np.zeros((settings.size, settings.size, 3), np.uint8)
    counts = tuple(scale.segments for scale in settings.scales)
    ALGORITHMS[settings.algorithm].segment(image, counts, settings.compactness)


def tidy(plan: Plan) -> None:
    """Remove the half-written files of builds that were killed."""
    sweep((plan.home / f"{plan.stem}.shards").rglob(".*.tmp"))
    sweep(plan.home.glob(f".{glob.escape(plan.stem)}.h5.*.tmp"))


def choose_backend(algorithm: str, jobs: int) -> str:
    """Choose threads for a few jobs of an algorithm that leaves Python's lock, processes for all else.

    Threads start at once, where a process first imports for two seconds; but about one fiftieth of their work waits
    for the lock: 1,360 photographs at four scales took two threads 0.51 of the time of one job, two processes 0.60.
    """
    return "threading" if jobs <= _MOST_THREADS and ALGORITHMS[algorithm].leaves_the_lock else "loky"


def build(
    plan: Plan, jobs: int, skip_bad: bool, advance: Callable[[int], None], backend: str = "loky"
) -> tuple[dict, list[Report]]:
    """Run the plan and publish the index.

    Parameters
    ----------
    plan : from :func:`make_plan`.
    jobs : number of workers.
    skip_bad : publish without the images that failed.
    advance : is called with the number of images that each finished task held.
    backend : joblib's name: ``loky`` for processes, ``threading`` for threads.

    Returns
    -------
    The index document and the report of every task.

    Raises
    ------
    BuildError : images failed and ``skip_bad`` is false: all shards are stored, only the index is withheld. Or a worker
        process died.
    ThreadsInterrupted : Ctrl-C came while threads were at work.
    """
    sizes = {(task.split, task.number): len(task.samples) for task in plan.tasks}

    def run_all() -> dict[tuple[str, int], Report]:
        run = joblib.Parallel(n_jobs=jobs, backend=backend, return_as="generator_unordered", pre_dispatch="2*n_jobs")
        reports = {}
        for report in run(joblib.delayed(run_task)(task, plan.home, plan.stem, plan.settings) for task in plan.tasks):
            reports[report.task] = report
            advance(sizes[report.task])
        return reports

    try:
        reports = _away_from_signals(run_all)
    except BrokenProcessPool:
        raise BuildError(
            "a worker process died: killed, or out of memory (fewer --jobs or a smaller --shard-size need less); "
            "finished shards are kept, run the same command to continue"
        ) from None
    except KeyboardInterrupt:
        if backend == "threading" or jobs == 1:
            raise ThreadsInterrupted from None
        logging.getLogger("concurrent.futures").disabled = True  # it would report what the killed workers left undone
        get_reusable_executor(reuse=True).shutdown(kill_workers=True)
        raise
    ordered = [reports[task.split, task.number] for task in plan.tasks]
    index = _index_document(plan, ordered)
    failed = [failure for split in index["splits"].values() for failure in split["failed"]]
    total = sum(sizes.values())
    if failed and (not skip_bad or len(failed) == total):
        raise BuildError(_failure_text(failed, total))
    write_index(plan.home / f"{plan.stem}.h5", index)
    return index, ordered


def _away_from_signals(work: Callable[[], dict]) -> dict:
    """Run ``work`` in a thread in which Ctrl-C is blocked, and so in the processes that it starts.

    The main thread only waits: there, and nowhere inside of joblib or of a worker, KeyboardInterrupt is raised.
    """

    def block() -> None:
        if hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()  # its start, by the first process, would lift the block
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    return ThreadPoolExecutor(1, initializer=block).submit(work).result()


def run_task(task: Task, home: Path, stem: str, settings: BuildSettings) -> Report:
    """Store what is missing of one range. Runs in a worker; depends on nothing but its arguments."""

    def place(column: str, key: str) -> str:
        return f"{stem}.shards/{task.split}/{column}/{task.number:05d}-{key}.h5"

    key, pixels = task.key, None
    images = _kept(home, place(IMAGES, key))
    edited = images is not None and bool(_edited(task.samples, home / images["path"]))
    if images is None or edited:
        rows, codes, failed = _read_sources(task.samples, settings)
        pixels = rows.pixels
        if failed or edited:
            # Other content than the plain key promises, so another shard: it must not be taken for the planned one.
            without = [failure["key"] for failure in failed]
            key = key_of({"of": key, "without": without, "sources": [digest.hex() for digest in rows.sources]})
        path = place(IMAGES, key)
        images = _kept(home, path)
        if images is None:
            summary = _image_summary(rows, failed)
            images = _stored(path, write_image_shard(home / path, rows, codes, summary), summary)
    columns: dict[str, dict | None] = {IMAGES: images}
    paths = {}
    for scale in settings.scales:
        column = column_name(settings, scale)
        paths[column] = place(
            column, key_of({"maps": settings.map_recipe(), "segments": scale.segments, "images": key})
        )
        columns[column] = _kept(home, paths[column])
    missing = [scale for scale in settings.scales if columns[column_name(settings, scale)] is None]
    if missing:
        if pixels is None:
            pixels = read_shard_images(home / images["path"], settings.size)
        for scale, maps in zip(missing, _segment(pixels, missing, settings), strict=True):
            column, summary = column_name(settings, scale), _map_summary(maps)
            written = write_map_shard(home / paths[column], maps, summary)
            columns[column] = _stored(paths[column], written, summary)
    return Report((task.split, task.number), columns, len(missing) * images["summary"]["rows"])


def _kept(home: Path, path: str) -> dict | None:
    """Return the record of a shard that an earlier run published, if it is whole."""
    try:
        written = check_file(home / path, "shard")
    except StoreError:
        return None
    return _stored(path, written, read_summary(home / path))


def _stored(path: str, written: tuple[int, str], summary: dict) -> dict:
    size, digest = written
    return {"path": path, "bytes": size, "sha256": digest, "summary": summary}


def _read_sources(
    samples: Iterable[Sample], settings: BuildSettings
) -> tuple[ImageRows, list[bytes] | None, list[dict[str, str]]]:
    """Decode the images of a range: the good rows, their JPEG codes if asked for, and the failures."""
    pixels, codes, good, sources, failed = [], [], [], [], []
    for sample in samples:
        try:
            data = sample.path.read_bytes()
            image = load(data, settings.size)
        except OSError as error:
            failed.append({"key": sample.key, "reason": f"cannot be read: {error.strerror}"})
            continue
        except ImageError as error:
            failed.append({"key": sample.key, "reason": str(error)})
            continue
        if settings.codec == "jpeg":
            codes.append(encode_jpeg(image, settings.quality))
            image = np.asarray(decode(codes[-1]))  # maps belong to the pixels that training will see
        pixels.append(image)
        good.append(sample)
        sources.append(hashlib.sha256(data).digest())
    stacked = np.stack(pixels) if pixels else np.empty((0, settings.size, settings.size, 3), np.uint8)
    labels = np.asarray([sample.label for sample in good], dtype=np.int32)
    rows = ImageRows(stacked, labels, [sample.key for sample in good], sources)
    return rows, codes if settings.codec == "jpeg" else None, failed


def _image_summary(rows: ImageRows, failed: list[dict[str, str]]) -> dict:
    sources = hashlib.sha256(b"".join(rows.sources)).hexdigest()[:16]
    return {"rows": len(rows.keys), "failed": failed, "sources": sources}


def _segment(pixels: np.ndarray, scales: list[Scale], settings: BuildSettings) -> list[np.ndarray]:
    """Cut every image at every scale: one (n, H, W) array for each scale."""
    counts = tuple(scale.segments for scale in scales)
    columns = [np.empty(pixels.shape[:3], settings.map_dtype(scale)) for scale in scales]
    for row, image in enumerate(pixels):
        found = ALGORITHMS[settings.algorithm].segment(image, counts, settings.compactness)
        for maps, ids in zip(columns, found, strict=True):
            if not 0 <= ids.min() <= ids.max() < np.iinfo(maps.dtype).max:
                raise BuildError(
                    f"{settings.algorithm} gave ids {ids.min()} to {ids.max()}, which {maps.dtype} cannot hold"
                )
            maps[row] = ids
    return columns


def _map_summary(maps: np.ndarray) -> dict:
    # ids are dense from 0, so the largest one counts the regions of a map
    counts = maps.reshape(len(maps), -1).max(axis=1).astype(int) + 1 if len(maps) else np.zeros(0, int)
    return {
        "regions": int(counts.sum()),
        "least": int(counts.min(initial=np.iinfo(np.int64).max)),
        "most": int(counts.max(initial=0)),
    }


def _index_document(plan: Plan, reports: list[Report]) -> dict:
    splits = {}
    for split in plan.listing.splits:
        mine = [report.columns for report in reports if report.task[0] == split]
        images = [columns[IMAGES] for columns in mine]
        source_key = key_of([image["summary"]["sources"] for image in images])
        recipe = {"source": source_key, "images": plan.settings.image_recipe()}
        packing = {"codec": plan.settings.codec, "shard_size": plan.document["shard_size"][split]}
        columns = {IMAGES: _column(images, recipe, packing)}
        for scale in plan.settings.scales:
            name = column_name(plan.settings, scale)
            maps = [columns[name] for columns in mine]
            map_recipe = {"of": recipe, "maps": plan.settings.map_recipe(), "segments": scale.segments}
            counts = [shard["summary"] for shard in maps]
            columns[name] = _column(maps, map_recipe, {**packing, "codec": "gzip"}) | {
                "segments": scale.segments,
                "dtype": plan.settings.map_dtype(scale),
                "largest_id": max((count["most"] for count in counts), default=0) - 1,
                "least_regions": min((count["least"] for count in counts), default=0),
                "regions": sum(count["regions"] for count in counts),
            }
        splits[split] = {
            "rows": [image["summary"]["rows"] for image in images],
            "failed": [failure for image in images for failure in image["summary"]["failed"]],
            "columns": columns,
        }
    return {"name": plan.stem, "plan": plan.document, "classes": list(plan.listing.classes), "splits": splits}


def _column(shards: list[dict], recipe: dict, packing: dict) -> dict:
    files = [{name: shard[name] for name in ("path", "bytes", "sha256")} for shard in shards]
    return {"content_key": key_of(recipe), "encoding_key": key_of(packing), "files": files}


def _differences(there: dict, wanted: dict, prefix: str = "") -> Iterator[str]:
    for name in sorted(there.keys() | wanted.keys()):
        old, new = there.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            what = _NAMES.get(f"{prefix}{name}", f"{prefix}{name}")
            yield f"{what}: stored {_short(old)}, asked for {_short(new)}"


def _short(value: object) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(str(item.get("segments", item)) for item in value)
    return str(value)


def _failure_text(failed: Iterable[dict], total: int) -> str:
    failed = list(failed)
    lines = [f"  {failure['key']}: {failure['reason']}" for failure in failed[:_SHOWN_FAILURES]]
    if len(failed) > _SHOWN_FAILURES:
        lines.append(f"  ... and {len(failed) - _SHOWN_FAILURES} more")
    return (
        f"{len(failed)} of {total} images could not be used; the others are stored, the index is not published:\n"
        + "\n".join(lines)
        + "\nmend or remove these files and run the same command, or publish without them: --skip-bad"
    )


def _written(key: str) -> str:
    try:
        key.encode()
    except UnicodeEncodeError:
        raise BuildError(f"the file name {key!a} is not UTF-8; rename the file") from None
    return key


def _edited(samples: Iterable[Sample], shard: Path) -> list[str]:
    """Keys of the images whose files no longer hold what an image shard was made from.

    Only files that were touched since the shard was published are read: a change of content always moves ctime, which
    no copying tool sets back.
    """
    published = shard.stat().st_mtime_ns
    touched = [sample for sample in samples if _touched(sample.path) >= published]
    known = read_sources(shard) if touched else {}
    return [sample.key for sample in touched if sample.key in known and known[sample.key] != _digest_of(sample.path)]


def _digest_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _touched(path: Path) -> int:
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return -1


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
