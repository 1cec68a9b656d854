"""What identifies a run: recipe, settings, seed and data."""

import json
from pathlib import Path
from typing import Any

from lgcoamix.errors import RunError
from lgcoamix.runs.documents import short_pipeline, with_digests
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.sections import Settings, to_plain
from lgcoamix.settings.text import flatten
from lgcoamix.settings.weights import names_file
from preprocess.files import digest_of
from preprocess.store.format import IMAGES
from preprocess.store.reader import Store

LIVE = ", live"  # suffix of the superpixel name, if the run segmented every crop

_NONE = "not set"


def identity(store: Store, settings: Settings, options: RunOptions, home: Path = Path()) -> dict[str, Any]:
    """Return everything that determines the outcome of a run. Equal identities mean the same run.

    Parameters
    ----------
    home : folder in which relative paths of the settings start.

    Notes
    -----
    A file of weights counts by its bytes, not by its path. Weights from the hub count by their name; ``config.json``
    records the version of timm, which decides what that name means. An augmentation counts by its pipeline, every
    parameter of it, not by its name or path.

    Raises
    ------
    SettingsError : the augmentation cannot be used.
    """
    superpixels, keys = store.superpixels.name, store.content_keys
    if options.maps == "live":  # no stored maps are read
        superpixels += LIVE
        keys = {name: key for name, key in keys.items() if name.endswith(f"/{IMAGES}")}
    return {
        "recipe": options.recipe,
        "settings": to_plain(settings),
        "seed": options.seed,
        "val_fraction": options.val_fraction,
        "test_split": store.test_split,  # called "test" in the tables
        "store": {"superpixels": superpixels, "keys": keys},
        "classes": list(store.classes),
        "digests": _digests(settings, home),
        **_augment(settings, options),
    }


def refuse_other_run(mine: dict[str, Any], config: dict[str, Any], folder: Path) -> None:
    """Refuse to resume a run that was started with other settings.

    Raises
    ------
    RunError : the identities differ; the message names the differences.
    """
    differences = compare_runs(mine, config)
    if differences:
        raise RunError(
            f"{folder} contains another run: {differences}. Use the options it was started with, or another --out"
        )


def compare_runs(mine: dict[str, Any], config: dict[str, Any]) -> str:
    """Describe how this run's identity differs from the configuration of another; empty if equal."""
    mine = json.loads(json.dumps(mine))  # turns tuples into lists
    known = mine["digests"].keys() & config.get("digests", {}).keys()
    store = config.get("store") or {}
    mine.setdefault("augment", None)  # as in runs of earlier versions
    theirs = {key: config.get(key) for key in mine} | {"store": {key: store.get(key) for key in mine["store"]}}
    here, there = (
        flatten(
            {
                **document,
                "settings": with_digests(document, known),
                "digests": {},
                "augment": short_pipeline(document["augment"]),
            }
        )
        for document in (mine, theirs)
    )
    differ = [name for name in here | there if here.get(name, _NONE) != there.get(name, _NONE)]
    lines = [f"{name} is {here.get(name, _NONE)} here, {there.get(name, _NONE)} in the run" for name in differ[:5]]
    return "; ".join(lines) + (f" (and {len(differ) - 5} more)" if len(differ) > 5 else "")


def refuse_changed_files(settings: Settings, mine: dict[str, Any]) -> None:
    """Refuse to start from a file of weights that has changed since its digest was taken, as that of another run.

    Raises
    ------
    RunError : names the settings.
    """
    changed = [name for name, digest in _digests(settings, Path()).items() if digest != mine["digests"].get(name)]
    if changed:
        raise RunError(f"the file in {', '.join(changed)} changed while it was read; copy it, and start from the copy")


def unknown_digests(mine: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """Notes about files that an earlier version recorded by their paths alone."""
    return [
        f"note: the run does not record the digest of the file in {name}; it may have started from other bytes"
        for name in mine["digests"].keys() - config.get("digests", {}).keys()
    ]


def outside_files(settings: Settings, home: Path) -> dict[str, str]:
    """The files of weights that settings name, by setting; such as ``model.weights``. Relative ones start in home."""
    named = {
        "model.weights": settings.model.weights,
        "mixer.extractor_weights": getattr(settings.mixer, "extractor_weights", "none"),
    }
    return {name: path for name, path in named.items() if names_file(path, home)}


def _augment(settings: Settings, options: RunOptions) -> dict[str, Any]:
    if options.augment is None:  # no field at all: as earlier versions wrote it
        return {}
    from lgcoamix.data.augment import as_augment  # with torch, which albumentations imports as well

    return {"augment": as_augment(options.augment, settings.data.image_size).pipeline}


def _digests(settings: Settings, home: Path) -> dict[str, str]:
    # Without a file there is no digest, and no training either: building the network reports it.
    paths = {name: home / path for name, path in outside_files(settings, home).items()}
    return {name: digest_of(path) for name, path in paths.items() if path.is_file()}
