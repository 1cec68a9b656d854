"""Read finished runs from ``config.json`` and ``results.json``: settings, results and protocol.

Does not import torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgcoamix.errors import RunError
from lgcoamix.runs.documents import (
    CONFIG,
    RESULTS,
    images_named,
    protocol_of,
    read_config,
    read_results,
    short_pipeline,
    stored_as,
    with_digests,
)
from lgcoamix.settings.text import flatten

MEDIAN = "median_of_last_10"
SUMMARIES = ("last", "best", MEDIAN)
LAST = 10  # epochs that the median is of
_SECTIONS = ("data", "model", "optim", "compute")  # of the settings, without those under comparison: method and mixer


@dataclass(frozen=True)
class Run:
    """One finished run.

    Parameters
    ----------
    folder : run folder.
    recipe, method : names.
    options : options of the method, by name.
    superpixels : name of the maps used in training.
    seed : random seed.
    protocol : settings that must match for a fair comparison, by path.
    surroundings : versions, device type, number of ranks and commit. Differences only cause a warning.
    maps : content keys of the superpixel maps, by split and column.
    results : ``results.json``, nested keys joined by dots; of a run of fewer than ten epochs, without their median.
    stored : how the images were stored, in words, under one name; empty if that is not recorded.
    conditions : the protocol in one line of words.
    """

    folder: Path
    recipe: str
    method: str
    options: Mapping[str, Any]
    superpixels: str | None
    seed: int
    protocol: Mapping[str, Any]
    surroundings: Mapping[str, Any]
    maps: Mapping[str, str]
    results: Mapping[str, Any]
    stored: Mapping[str, str]
    conditions: str

    def figure(self, split: str, metric: str) -> float | None:
        """Return top-1 in percent; None if the run was not evaluated on the split, or had fewer than ten epochs."""
        return self.results.get(f"{split}_top1.{metric}")


def read_runs(paths: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """Read the finished runs among run folders.

    Parameters
    ----------
    paths : run folders, or folders of run folders. Files are ignored.

    Returns
    -------
    The runs, and a line for each kind of folder that was left out.

    Raises
    ------
    RunError : there is no finished run.
    """
    runs, unfinished, unreadable = [], [], []
    for folder in run_folders(paths):
        if not (folder / CONFIG).is_file():
            unreadable.append(f"{folder} (no config.json)")
        elif not (folder / RESULTS).is_file():
            unfinished.append(str(folder))
        else:
            try:
                runs.append(_read(folder))
            except (RunError, KeyError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else str(error)
                unreadable.append(f"{folder} ({reason})")
    warnings = [f"left out, not finished: {', '.join(unfinished)}"] if unfinished else []
    if unreadable:
        warnings.append(f"left out, not a run: {', '.join(unreadable)}")
    if not runs:
        raise RunError(
            "expected folders of finished runs (with config.json and results.json), found none"
            + "".join(f"; {line}" for line in warnings)
        )
    return runs, warnings


def run_folders(paths: Iterable[Path]) -> list[Path]:
    """List the given folders once each; a folder of runs stands for its children."""
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            continue
        children = sorted(child for child in path.iterdir() if child.is_dir())
        is_parent = not (path / CONFIG).exists() and any((child / CONFIG).exists() for child in children)
        for folder in children if is_parent else [path]:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def _read(folder: Path) -> Run:
    config, results = read_config(folder), read_results(folder, whole=False)
    settings, store = with_digests(config, config.get("digests", ())), config["store"]
    chosen_on = images_named(results["best_chosen_on"], config)
    return Run(
        folder,
        config["recipe"],
        settings["method"],
        settings["mixer"],
        store.get("superpixels"),
        config["seed"],
        _protocol(config, settings, results),
        _surroundings(config),
        {name: key for name, key in store["keys"].items() if not name.endswith("/images")},
        _figures(results, settings),
        {"stored images": stored} if (stored := stored_as(config)) else {},
        protocol_of(config, config.get("test_split") or chosen_on, chosen_on),
    )


def _figures(results: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten the results; a run of fewer epochs wrote the median of all that it had under the same name."""
    epochs = results.get("epochs", settings.get("optim", {}).get("epochs", 0))
    few = not isinstance(epochs, int) or epochs < LAST
    return {name: value for name, value in flatten(results).items() if not (few and name.endswith(f".{MEDIAN}"))}


def _protocol(config: Mapping[str, Any], settings: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    keys, test_split = config["store"]["keys"], config["test_split"]
    protocol = {
        "training images": keys["train/images"],
        "test images": keys[f"{test_split}/images"] if test_split else None,
        "test_split": test_split,
        "classes": config["classes"],
        "val_fraction": config["val_fraction"],
        "augment": short_pipeline(config.get("augment")),
        "best_chosen_on": results["best_chosen_on"],
    }
    for section in _SECTIONS:
        protocol |= flatten(settings.get(section, {}), f"{section}.")
    return protocol


def _surroundings(config: Mapping[str, Any]) -> dict[str, Any]:
    versions = config.get("versions", {})
    return {
        "torch": versions.get("torch"),
        "timm": versions.get("timm"),
        "device": config["device"].partition(":")[0],
        "processes": ", then ".join(map(str, config.get("worlds") or [config.get("world", 1)])),
        "commit": config.get("commit"),
    }
