"""``preprocess.build_store``: a store from the samples of a Python program."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from preprocess.build.backends import CLUSTERS
from preprocess.build.limits import CHOICES, RANGES
from preprocess.build.settings import choose_settings, settle_codec
from preprocess.build.store import Builder, Workers, index_in_place
from preprocess.datasets import DATASETS
from preprocess.datasets.base import split_name
from preprocess.datasets.python import Pairs, list_samples
from preprocess.errors import BuildError, PreprocessError, SettingError
from preprocess.machine import cores
from preprocess.outputs import STORE, check_output
from preprocess.raw.division import divide, parse_rule
from preprocess.raw.selection import check_names, look_alikes
from preprocess.store import Store
from preprocess.store.index import Index
from preprocess.store.schema import is_word
from preprocess.terminal import progress_bars, tell
from preprocess.text import listed

NAME = "samples"
_RANGES = RANGES | {"jobs": (1, 10_000)}


@contextmanager
def _in_python() -> Iterator[None]:
    """Say of errors that name options how they are written here; also a decorator."""
    try:
        yield
    except PreprocessError as error:
        if "--" in str(error):
            error.add_note("options of the command are arguments of build_store: --skip-bad is skip_bad=True")
        raise


@_in_python()
def build_store(
    samples: Pairs | Mapping[str, Pairs],
    out: str | os.PathLike,
    *,
    classes: Sequence[str] | None = None,
    name: str = NAME,
    split: str = "",
    size: int | None = None,
    resize: str | None = None,
    segments: str | int | Sequence[int] | None = None,
    scales: str | int = "4",
    compactness: float | None = None,
    algorithm: str = "slic",
    codec: str | None = None,
    quality: int = 95,
    shard_size: int | None = None,
    jobs: int | None = None,
    backend: str | None = None,
    scheduler: str | None = None,
    skip_bad: bool = False,
    update: bool = False,
) -> Store:
    """Build a store of images and superpixel maps, or go on with one; as ``python -m preprocess build``.

    Run it again to resume an interrupted build. A finished store is left unchanged, but other superpixels or another
    split can be added to it; ``update`` applies changes of the samples, and rebuilds damaged shards. Samples with a
    split ``train`` are all that there are: an update removes other splits, whose images may be in these now.

    Parameters
    ----------
    samples : a mapping of split names to pairs of image and label, or the pairs of ``train``. An image is a path, an
        image of Pillow, or an (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 array in RGB or RGBA, not the BGR of
        OpenCV; a label is a number from 0, or a name. The pairs are a list, a generator, or a data set of torch or
        torchvision without transforms to tensors. They are read once, in this process. What is no file is written
        without loss into a scratch file beside the store, which takes 3 bytes per pixel until the store is built. Keys
        of files are the paths as given, of absolute ones with all of their folders; relative paths hold elsewhere too.
    out : the store, a name that ends in .h5.
    classes : names by label; None for those of the data set, the sorted labels if they are names, else numbers. Data
        sets that have some of these names are matched by name; of none, the numbers of ``train`` get these names.
        Needed where the data set of ``train`` has no names and another one has: their numbers may mean other classes.
        Splits that are added to a store without ``train`` have its classes.
    name : name of the data set in the store.
    split : how to divide ``train`` by the keys of its images, such as ``val=0.1,test=0.2``; empty for not at all.
    size, resize, segments, scales, compactness, algorithm, codec, quality, shard_size : as the options of the command;
        None for the defaults of ``folder``.
    jobs, backend, scheduler : the workers; by default one for each core.
    skip_bad : publish without unusable images.

    Raises
    ------
    PreprocessError : a sample, a setting or an image cannot be used, or the store in place is another one.

    Examples
    --------
    >>> import tempfile, numpy, preprocess
    >>> pictures = [(numpy.full((32, 32, 3), shade, numpy.uint8), shade // 128) for shade in range(0, 256, 8)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     out = f"{folder}/shades.h5"
    ...     store = preprocess.build_store(pictures, out, classes=("dark", "light"), size=32, algorithm="grid")
    ...     print(store.classes, len(store.splits["train"]))
    ('dark', 'light') 32
    """
    out = Path(out)
    if out.suffix != ".h5" or not is_word(name):
        raise BuildError(f"expected a file name ending in .h5 and the name of a data set, got {out} and {name!r}")
    check_output(out, STORE, True, [])
    try:
        rule = parse_rule(split) if split else ""
    except ValueError as error:
        raise SettingError("split", str(error)) from None
    asked = {
        "size": size, "resize": resize, "segments": _joined(segments), "scales": str(scales),
        "compactness": compactness, "algorithm": algorithm, "codec": codec, "quality": quality,
        "shard_size": shard_size,
    }  # fmt: skip
    _refuse_impossible(asked | {"jobs": jobs, "backend": backend})
    if scheduler is not None and backend not in CLUSTERS:
        raise SettingError("scheduler", "requires the backend dask or ray")
    settings = choose_settings(name, DATASETS["folder"], **asked)
    base = index_in_place(out)
    with ExitStack() as stack:
        with progress_bars("samples") as add_bar:
            stored = _classes_in_place(base, samples) if classes is None else ()
            listing = divide(list_samples(samples, classes, out, stack, add_bar, stored), rule)
        check_names(listing)
        for line in (*listing.notes, *look_alikes(listing)):
            tell(line)
        images = sum(map(len, listing.splits.values()))
        settings, why = settle_codec(settings, images, base and base.document["images"]["codec"])
        if why:
            tell(why)
        workers = Workers(jobs or cores(), backend, scheduler)
        whole = update and "train" in listing.splits
        built = Builder(out, listing, settings, workers, skip_bad, update, tell, whole).run()
    for note in built.notes:
        tell(note)
    name = settings.superpixel_set()["name"]
    store = Store(out, name)
    others = [split for split in store.splits if split not in listing.splits]
    if others and "train" in listing.splits:
        tell(f"{out} still has {listed(others)}, which the samples lack; update=True removes what they lack")
    if built.added_to is not None:
        tell(f"{out} has the superpixels {name} now, which this store reads; the default is still {built.added_to}")
    if failed := [failure for split in listing.splits for failure in store.document["splits"][split]["failed"]]:
        first = failed[0]
        tell(f"{out} is without {len(failed)} unusable images, such as {first['key']}: {first['reason']}")
    return store


def _joined(segments: str | int | Sequence[int] | None) -> str | None:
    """Write counts as the command takes them."""
    if segments is None or isinstance(segments, str):
        return segments
    return ",".join(map(str, segments if isinstance(segments, Sequence) else [segments]))


def _classes_in_place(base: Index | None, samples: Pairs | Mapping[str, Pairs]) -> tuple[str, ...]:
    """The classes of a store whose other splits stay; none if the samples say them: if ``train`` or no split stays."""
    given = set(map(split_name, map(str, samples))) if isinstance(samples, Mapping) else {"train"}
    if base is None or "train" in given or base.document["splits"].keys() <= given:
        return ()
    return tuple(base.document["classes"])


def _refuse_impossible(asked: Mapping[str, object]) -> None:
    """Raise a SettingError for a value that the command does not take; None stands for a default."""
    for name, (least, most) in _RANGES.items():
        value, kinds = asked[name], (int, float) if name == "compactness" else int
        if value is not None and not (isinstance(value, kinds) and least <= value <= most):
            raise SettingError(name, f"expected a number from {least} to {most:,}, got {value!r}")
    for name, choices in CHOICES.items():
        if asked[name] is not None and asked[name] not in choices:
            raise SettingError(name, f"expected {', '.join(choices)}, got {asked[name]!r}")
