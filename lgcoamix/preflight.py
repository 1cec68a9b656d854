"""What can be refused before torch is imported, and before anything is written."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgcoamix.config import Settings, flatten, to_plain
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.launch import launched
from preprocess.files import is_leftover
from preprocess.store import Store
from preprocess.store.index import IMAGES

_NONE = "not set"


@dataclass(frozen=True)
class RunOptions:
    """What a run needs besides its recipe.

    Parameters
    ----------
    out : run folder.
    recipe : name of the recipe that the settings started from.
    seed : of everything that is random.
    device : ``auto``, ``cpu``, ``cuda``, ``mps``.
    workers : loading processes, of each rank.
    val_fraction : share of each training class that is held out for choosing the best epoch.
    loader : ``streaming``, ``resident``, or ``auto``: resident on a GPU whose memory has room for it.
    maps : ``stored``, or ``live``: loading processes segment every crop, as the published code does.
    resume : None starts in a new folder; ``auto`` continues what the folder holds; or the path of a checkpoint in it.
    checkpoint_every : steps between checkpoints; there is one after every epoch as well.
    keep : checkpoints that stay, besides the best.
    tensorboard : write scalars and mixed batches for TensorBoard.
    wandb : project of Weights & Biases, or None.
    """

    out: Path
    recipe: str
    seed: int = 0
    device: str = "auto"
    workers: int = 2
    val_fraction: float = 0.0
    loader: str = "auto"
    maps: str = "stored"
    resume: str | None = None
    checkpoint_every: int = 500
    keep: int = 2
    tensorboard: bool = True
    wandb: str | None = None


def identity(store: Store, settings: Settings, options: RunOptions) -> dict[str, Any]:
    """What decides the outcome of a run: two runs that agree here are the same run."""
    superpixels, keys = store.superpixels.name, store.content_keys
    if options.maps == "live":  # no stored map is read
        superpixels += ", live"
        keys = {name: key for name, key in keys.items() if name.endswith(f"/{IMAGES}")}
    return {
        "recipe": options.recipe,
        "settings": to_plain(settings),
        "seed": options.seed,
        "val_fraction": options.val_fraction,
        "test_split": test_split(store),  # what the tables call "test"
        "store": {"superpixels": superpixels, "keys": keys},
        "classes": list(store.classes),
    }


def refuse_other_run(mine: dict[str, Any], config: dict[str, Any], folder: Path) -> None:
    """Compare this run's identity with what a folder's run was started with.

    Raises
    ------
    RunError : they differ; the message names each difference.
    """
    differences = compare_runs(mine, config)
    if differences:
        raise RunError(
            f"{folder} holds another run: {differences}. Give the options that it was started with, or another --out"
        )


def compare_runs(mine: dict[str, Any], config: dict[str, Any]) -> str:
    """Name what differs between this run's identity and what another was started with; empty: nothing."""
    mine, config = json.loads(json.dumps([mine, config]))  # lists and tuples alike
    here = flatten(mine)
    store = config.get("store") or {}
    there = flatten({key: config.get(key) for key in mine} | {"store": {key: store.get(key) for key in mine["store"]}})
    differ = [name for name in here | there if here.get(name, _NONE) != there.get(name, _NONE)]
    lines = [f"{name} is {here.get(name, _NONE)} here, {there.get(name, _NONE)} in the run" for name in differ[:5]]
    return "; ".join(lines) + (f" (and {len(differ) - 5} more)" if len(differ) > 5 else "")


def finished_results(store: Store, settings: Settings, options: RunOptions) -> dict[str, Any] | None:
    """Results of a run that is to be resumed and was finished already; None for any other.

    Raises
    ------
    RunError : the folder holds another run.
    """
    finished = options.out / "results.json"
    if options.resume is None or not finished.exists():
        return None
    config = json.loads((options.out / "config.json").read_text())
    refuse_other_run(identity(store, settings, options), config, options.out)
    return json.loads(finished.read_text())


def _refuse_folder(options: RunOptions) -> None:
    """Refuse a folder that would be overwritten, or that holds something else."""
    out, resume = options.out, options.resume
    if resume not in (None, "auto"):
        if not Path(resume).is_file():
            raise SettingsError(f"--resume takes auto or a checkpoint of the run, there is no file {resume}")
        if Path(resume).resolve().parent != out.resolve():
            raise SettingsError(f"--resume {resume} continues the run in {Path(resume).parent}; leave out --out")
    # A run that was killed at its very start leaves the lock, and what it was writing.
    held = out.iterdir() if out.is_dir() else ()
    names = {path.name for path in held if path.name != ".lock" and not is_leftover(path)}
    if out.exists() and resume is None:
        remedy = "; to continue what it holds, add --resume auto" if "config.json" in names else ""
        raise RunError(f"the run folder {out} exists; give another --out, or remove it{remedy}")
    if resume and names and "config.json" not in names:
        raise RunError(f"{out} holds something else than a run (it has no config.json); give another --out")


def check(store: Store, settings: Settings, options: RunOptions) -> None:
    """Refuse a run that cannot work.

    Raises
    ------
    SettingsError : settings that do not fit each other or the store.
    RunError : the run folder exists, or the store lacks a split.
    """
    if options.maps not in ("stored", "live"):
        raise SettingsError(f"maps are stored or live, got {options.maps!r}")
    if options.maps == "live" and options.loader == "resident":
        raise SettingsError("--maps live segments in the loading processes: take --loader streaming, or auto")
    if launched()[0] == 0:  # the others would see the folder that the first has made
        _refuse_folder(options)
    if options.val_fraction == 0 and not test_split(store):
        raise RunError(f"{store.path} has neither a test nor a val split; give --val-fraction 0.2")
    check_training(store, settings)


def check_training(store: Store, settings: Settings) -> None:
    """Refuse a store that cannot be trained from with these settings.

    Raises
    ------
    SettingsError : settings that do not fit the store.
    RunError : the store is incomplete, or has no training split.
    """
    if "train" not in store.splits or len(store.splits["train"]) < 2:
        raise RunError(f"{store.path} has no split 'train' of at least 2 images; build it with that split")
    missing = store.missing()
    if missing:
        raise RunError(
            f"{store.path} is not complete: {len(missing)} shards are missing or have another size, the first is "
            f"{missing[0]}; run the build command again, or copy the rest"
        )
    size, data = store.size, settings.data
    if size is None:
        if data.crop != "resized" or data.test != "resize":
            raise SettingsError(
                f"the images of {store.path} have their own sizes: --set data.crop=resized --set data.test=resize"
            )
        return
    room = size + 2 * data.padding if data.crop == "pad" else size
    if data.crop != "resized" and data.image_size > room:
        raise SettingsError(
            f"--image-size {data.image_size} is larger than the stored {size} pixels; "
            "take a smaller one, or --set data.crop=resized, or build the store with a larger --size"
        )
    if data.test == "center" and data.image_size > size:
        raise SettingsError(f"data.test=center needs an image size up to the stored {size}, got {data.image_size}")


def test_split(store: Store) -> str | None:
    """Name of the stored split that is tested on; sets like ImageNet publish only a val split."""
    return next((split for split in ("test", "val") if split in store.splits and len(store.splits[split])), None)
