"""The documents of a run: what they must hold, and the one way to read them. Does not import torch."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict

from lgcoamix.errors import RunError, SettingsError
from lgcoamix.recipes.protocol import protocol_line, stored_text
from lgcoamix.settings.sections import Settings, from_plain, with_earlier
from preprocess.inputs import open_regular
from preprocess.schema import Form, Length, Pattern, Range, SchemaError, check, parse_json
from preprocess.text import listed, shown_name

CONFIG, RESULTS = "config.json", "results.json"
BEST, NETWORK = "best.pt", "network.pt"  # of a run; of a converted checkpoint, beside the exported model
_LARGEST = 32 * 2**20  # bytes; the configuration of a run with 100,000 classes has 2 MB


def _printable(text: str) -> None:
    if shown_name(text) != text:
        raise ValueError("expected no control characters")


def _unique(names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError("expected different names")


Name = Annotated[str, Length(least=1, most=10_000), _printable]
Classes = Annotated[list[Name], Length(least=1, most=1_000_000), _unique]
Count = Annotated[int, Range(least=0, below=2**53)]
Figure = Annotated[float, Range(finite=True)]
Percent = Annotated[float, Range(least=0, most=100)]
Digest = Annotated[str, Pattern(r"[0-9a-f]{64}")]
Keys = dict[Name, Annotated[str, Length(most=200)]]


def _simple(value: Any) -> None:
    parts = value if isinstance(value, list) and len(value) <= 10 else [value]
    if not all(part is None or isinstance(part, str | int | float) for part in parts):
        raise ValueError("expected a number, a text or a few of them")


Values = dict[Name, Annotated[Any, _simple]]


class SettingsConfig(TypedDict, total=False):
    """Settings of a run, perhaps of another version; :func:`settings_of` checks them for this one."""

    method: Required[Name]
    mixer: Required[Values]
    data: Values
    model: Values
    optim: Values
    compute: Values


class Images(TypedDict, total=False):
    """How the images of a store were made, as in its index (``preprocess.store.schema``, which needs HDF5)."""

    size: Required[Annotated[int, Range(least=1, most=16_384)] | None]
    resize: Required[Literal["squash", "short", "none"]]
    codec: Required[Literal["raw", "jpeg", "png"]]
    quality: Annotated[int, Range(least=1, most=100)] | None
    banner: Annotated[int, Range(least=0, most=100_000)]
    pillow: Required[Name]


def _consistent(images: Images) -> None:
    if (images["size"] is None) != (images["resize"] == "none"):
        raise ValueError("expected a size, or null for resize none")
    if images["codec"] == "jpeg" and images.get("quality") is None:
        raise ValueError("expected the quality of JPEG")


StoredImages = Annotated[Images, _consistent]


class StoreConfig(TypedDict, total=False):
    """The store of a run."""

    path: str
    name: Name
    dataset: Name | None
    images: StoredImages
    samples: dict[Name, Count]
    superpixels: Name | None
    keys: Required[Keys]


class SourceConfig(TypedDict):
    """Where a converted checkpoint comes from."""

    file: Name
    sha256: Digest
    layout: Name
    protocol: Name
    notes: list[Name]


class Config(TypedDict, total=False):
    """``config.json``, and ``config`` of a checkpoint. Earlier versions wrote fewer fields."""

    recipe: Name
    settings: Required[SettingsConfig]
    seed: Count
    val_fraction: Annotated[float, Range(least=0, below=1)]
    test_split: Name | None
    augment: dict[Name, Any]  # lgcoamix.data.pipelines checks it
    store: Required[StoreConfig]
    classes: Required[Classes]
    digests: dict[Literal["model.weights", "mixer.extractor_weights"], Digest]  # of files outside of the run
    starting_weights: Name | None  # timm's full name of those from the hub
    folder: str
    workers: Count
    device: Name
    hardware: str
    world: Annotated[int, Range(least=1, most=100_000)]
    worlds: list[Annotated[int, Range(least=1, most=100_000)]]  # of a run that went on with other numbers of processes
    threads: Annotated[int, Range(least=1, most=1024)]  # replay starts as many
    versions: dict[Name, str | None]
    commit: str | None
    source: SourceConfig


class _Results(TypedDict, total=False):
    best_chosen_on: Required[Name]


class _WholeResults(TypedDict):
    best_epoch: Count
    best_chosen_on: Name
    epochs: Annotated[int, Range(least=1)]
    images_per_second: Figure
    waiting: Figure


class _Summaries(TypedDict):
    last: Percent
    best: Percent
    median_of_last_10: Percent


class _EvaluatedCheckpoint(TypedDict, total=False):
    name: Required[Name]
    sha256: Required[Digest]


class _EvaluatedStore(TypedDict, total=False):
    keys: Required[Keys]


class Evaluation(TypedDict, total=False):
    """What every ``evaluation.json`` holds; who reads its figures extends this by them."""

    checkpoint: Required[_EvaluatedCheckpoint]
    store: Required[_EvaluatedStore]
    split: Required[Name]
    tta: Name  # since there is test-time augmentation


CONFIG_FORM = Form(Config)
_OBJECT, _RESULTS, _WHOLE_RESULTS = Form(dict[str, Any]), Form(_Results), Form(_WholeResults)
_TOPS, _VALUES = Form(Annotated[dict[Name, _Summaries], Length(least=1)]), Form(Values)


def checkpoint_file(path: Path) -> Path:
    """Resolve a run folder to its ``best.pt``, and a converted checkpoint to its ``network.pt``."""
    if not path.is_dir():
        return path
    return path / (NETWORK if (path / NETWORK).is_file() and not (path / BEST).exists() else BEST)


def read_document(path: Path, form: Form = _OBJECT) -> dict[str, Any]:
    """Read a JSON file of a run.

    Raises
    ------
    OSError : the file cannot be opened, or is a folder, FIFO, device or socket.
    RunError : it is too large, damaged, or does not fit its form.
    """
    with open_regular(path) as file:
        data = file.read(_LARGEST + 1)
    try:
        if len(data) > _LARGEST:
            raise SchemaError(f"it has more than {_LARGEST:,} bytes")
        document = parse_json(data)
        check(form, document)
        return document
    except SchemaError as error:
        raise RunError(f"{path} is damaged: {error}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``config.json`` of a run folder; see :func:`read_document`."""
    return read_document(folder / CONFIG, CONFIG_FORM)


def read_results(folder: Path, whole: bool = True) -> dict[str, Any]:
    """Read ``results.json`` of a run folder; see :func:`read_document`. The accuracies suffice if not ``whole``."""
    results = read_document(folder / RESULTS, _WHOLE_RESULTS if whole else _RESULTS)
    try:
        tops = {name: value for name, value in results.items() if name.endswith("_top1")}
        check(_TOPS, tops)
        check(_VALUES, {name: value for name, value in results.items() if name not in tops})
    except SchemaError as error:
        raise RunError(f"{folder / RESULTS} is damaged: {error}") from None
    return results


def with_digests(config: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Return the settings in a configuration, with the digests of outside files in the place of their paths.

    Parameters
    ----------
    known : the settings that name these files, such as ``model.weights``.
    """
    settings = with_earlier(config["settings"])
    for path in known:
        section, name = path.split(".")
        settings[section] = {**settings.get(section, {}), name: f"sha256 {config['digests'][path]}"}
    return settings


def short_pipeline(pipeline: Mapping[str, Any] | None) -> str | None:
    """Say which augmentation a configuration records: the outer transforms, and a digest of all parameters."""
    if pipeline is None:
        return None
    try:
        text = json.dumps(pipeline, sort_keys=True)
        steps = [str(step["__class_fullname__"]) for step in pipeline["transform"]["transforms"]]
    except (LookupError, TypeError, RecursionError):
        return "no pipeline"
    return f"{listed(steps)} ({hashlib.sha256(text.encode()).hexdigest()[:8]})"


def stored_as(config: Mapping[str, Any]) -> str | None:
    """Say how the images of a run were stored; None if it does not record that."""
    images = config.get("store", {}).get("images")
    return images and stored_text(images["size"], images["resize"])


def images_named(name: str, config: Mapping[str, Any]) -> str:
    """What the figures of a run call ``val`` and ``test``: images held out of training, and a split of its store."""
    if name == "val":
        return "images held out of train"
    return config.get("test_split") or name if name == "test" else name


def protocol_of(config: Mapping[str, Any], split: str | None = None, chosen_on: str | None = None) -> str:
    """Describe the conditions of a run's figures in one line.

    Parameters
    ----------
    split : what they were measured on.
    chosen_on : images on which the best epoch was chosen; None if nothing was chosen.
    """
    settings, source = with_digests(config, config.get("digests", ())), config.get("source")
    converted = source and f"converted from {source['file']} ({source['layout']})"
    return protocol_line(settings, stored_as(config), split, chosen_on and f"chosen on {chosen_on}", converted)


def settings_of(config: Mapping[str, Any], path: Path) -> Settings:
    """Return the settings in a configuration.

    Raises
    ------
    RunError : they are not valid in this version; the message names ``path`` and the setting.
    """
    try:
        return from_plain(config["settings"])
    except SettingsError as error:
        raise RunError(
            f"{path} was written by another version of this program, or is damaged: settings.{error}"
        ) from None
