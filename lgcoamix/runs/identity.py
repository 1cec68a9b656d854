"""What identifies a run: recipe, settings, seed and data."""

import json
from pathlib import Path
from typing import Any

from lgcoamix.errors import RunError
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.sections import Settings, to_plain
from lgcoamix.settings.text import flatten
from preprocess.store.format import IMAGES
from preprocess.store.reader import Store

_NONE = "not set"


def identity(store: Store, settings: Settings, options: RunOptions) -> dict[str, Any]:
    """Return everything that determines the outcome of a run. Equal identities mean the same run."""
    superpixels, keys = store.superpixels.name, store.content_keys
    if options.maps == "live":  # no stored maps are read
        superpixels += ", live"
        keys = {name: key for name, key in keys.items() if name.endswith(f"/{IMAGES}")}
    return {
        "recipe": options.recipe,
        "settings": to_plain(settings),
        "seed": options.seed,
        "val_fraction": options.val_fraction,
        "test_split": store.test_split,  # called "test" in the tables
        "store": {"superpixels": superpixels, "keys": keys},
        "classes": list(store.classes),
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
    mine, config = json.loads(json.dumps([mine, config]))  # turns tuples into lists
    here = flatten(mine)
    store = config.get("store") or {}
    there = flatten({key: config.get(key) for key in mine} | {"store": {key: store.get(key) for key in mine["store"]}})
    differ = [name for name in here | there if here.get(name, _NONE) != there.get(name, _NONE)]
    lines = [f"{name} is {here.get(name, _NONE)} here, {there.get(name, _NONE)} in the run" for name in differ[:5]]
    return "; ".join(lines) + (f" (and {len(differ) - 5} more)" if len(differ) > 5 else "")
