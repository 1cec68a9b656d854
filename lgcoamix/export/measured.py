"""Results of a checkpoint: its own, those of its run, and those of ``evaluate``, from the files next to it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgcoamix.errors import RunError
from lgcoamix.evaluation.metrics import METRICS
from lgcoamix.runs.documents import CONFIG, RESULTS, images_named, read_document
from lgcoamix.runs.finished import LAST, MEDIAN
from lgcoamix.runs.load import Trained
from preprocess.files import digest_of

_RUN = ("recipe", "settings", "seed", "val_fraction", "test_split", "classes")  # identify a run
_IMAGES = "images"  # that were measured
_WITH_MID, _AS_EXPORTED = ", with the mid-level branch", ", without the mid-level branch: as exported"


@dataclass(frozen=True)
class Data:
    """The images on which the exported network itself was measured.

    Parameters
    ----------
    store : name of the store.
    dataset : how preprocess lists it (``cub``, ``folder``, ...); None if not known.
    split : name of the split.
    """

    store: str
    dataset: str | None
    split: str


@dataclass(frozen=True)
class Measured:
    """A result.

    Parameters
    ----------
    what : what was measured, and by what.
    values : by name in ``METRICS``; None if missing.
    images : number of images; None if not known.
    data : None for another network than the exported one, or another epoch.
    """

    what: str
    values: dict[str, float | None]
    images: int | None
    data: Data | None


def results_of(trained: Trained) -> list[Measured]:
    """Read all results of a checkpoint. Documents with missing or odd fields are passed over."""
    return [*_of_the_run(trained), *_of_evaluations(trained)]


def has_mid(trained: Trained) -> bool:
    """Whether the network has a mid-level branch, which is not exported."""
    return any(name.startswith("mid_branch.") for name in trained.state)


def _of_the_run(trained: Trained) -> Iterator[Measured]:
    """Yield results of the training: with these weights, and over the epochs."""
    for name, top1 in trained.figures.items():
        if name.endswith("_top1"):
            images, branch, data = _of_column(trained, name)
            what = f"{images}, this checkpoint ({trained.when}), measured by the training{branch}"
            yield from _measured(what, {"top1": top1}, data)
    results = _results_beside(trained)
    for name in results:
        found = _part(results, name)
        if not found or not name.endswith("_top1"):
            continue
        images, branch, _ = _of_column(trained, name)
        chosen_on = images_named(results["best_chosen_on"], trained.config)
        chosen = f"epoch {results['best_epoch'] + 1}, chosen on {chosen_on}"
        last = min(LAST, results["epochs"])
        yield from _measured(f"{images}, last of {results['epochs']} epochs{branch}", {"top1": found.get("last")})
        yield from _measured(f"{images}, best epoch ({chosen}){branch}", {"top1": found.get("best")})
        yield from _measured(f"{images}, median of the last {last}{branch}", {"top1": found.get(MEDIAN)})


def _of_column(trained: Trained, name: str) -> tuple[str, str, Data | None]:
    """Which images a column of the training's table is of, with which branch; and the data, of the exported network."""
    name = name.removesuffix("_top1")
    column = name.removesuffix("_backbone")
    is_whole = has_mid(trained) and column == name
    branch = (_WITH_MID if is_whole else _AS_EXPORTED) if has_mid(trained) else ""
    split = trained.config.get("test_split")
    data = _data(trained, trained.config["store"], split) if column == "test" and not is_whole else None
    return images_named(column, trained.config), branch, data


def _of_evaluations(trained: Trained) -> Iterator[Measured]:
    """Yield results of the command ``evaluate`` for exactly this file, from the folders next to it."""
    paths = sorted(trained.path.parent.glob("evaluation-*/evaluation.json"))
    documents = [document for document in map(_read_json, paths) if document]
    digest = digest_of(trained.path) if documents else ""
    for document in documents:
        if _part(document, "checkpoint").get("sha256") != digest:
            continue
        store, split = _part(document, "store"), document.get("split", "a split")
        data = _data(trained, store, split)
        what = f"{split} of {store.get('name', 'a store')}, this checkpoint, measured by evaluate"
        if document.get("tta", "none") != "none":  # the exported network sees one image
            what, data = f"{what}, probabilities averaged over image and mirror image", None
        full, backbone = _part(document, "figures"), _part(document, "backbone")
        if backbone:
            alone = {**backbone, _IMAGES: full.get(_IMAGES)}
            yield from _measured(what + _AS_EXPORTED, alone, data)
            what += _WITH_MID
        yield from _measured(what, full, None if has_mid(trained) else data)


def _data(trained: Trained, store: Mapping[str, Any], split: object) -> Data | None:
    """Tell on what a result was measured. How its images were listed is known of those of the training's store."""
    name, mine, key = store.get("name"), trained.config["store"], f"{split}/{_IMAGES}"
    if not isinstance(name, str) or not isinstance(split, str):
        return None
    same = store is mine or (key in mine["keys"] and _part(store, "keys").get(key) == mine["keys"][key])
    return Data(name, mine.get("dataset") if same else None, split)


def _measured(what: str, figures: Mapping[str, Any], data: Data | None = None) -> Iterator[Measured]:
    """Yield a result, unless top-1 is missing: files next to a checkpoint may contain anything."""
    values = {name: _number(figures.get(name), metric.is_accuracy) for name, metric in METRICS.items()}
    images = figures.get(_IMAGES)
    if values["top1"] is not None:
        yield Measured(what, values, images if isinstance(images, int) else None, data)


def _number(value: object, is_accuracy: bool) -> float | None:
    """Return a finite number, of an accuracy a percentage; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return value if not is_accuracy or 0 <= value <= 100 else None


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section of a document; empty if missing."""
    part = document.get(name)
    return part if isinstance(part, dict) else {}


def _results_beside(trained: Trained) -> dict[str, Any]:
    """Read ``results.json`` next to the checkpoint; empty if it belongs to another run or the run is unfinished."""
    folder = trained.path.parent
    config, results = _read_json(folder / CONFIG), _read_json(folder / RESULTS)
    mine = trained.config
    same = config and all(config.get(name) == mine.get(name) for name in _RUN)
    same = same and _part(config, "store").get("keys") == _part(mine, "store").get("keys")
    sound = all(isinstance(results.get(name), int) for name in ("best_epoch", "epochs")) and "best_chosen_on" in results
    return results if same and sound else {}


def _read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if missing or damaged."""
    try:
        return read_document(path)
    except (OSError, RunError):
        return {}
