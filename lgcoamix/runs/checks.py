"""Checks that run before torch is imported and before anything is written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgcoamix.errors import RunError, SettingsError
from lgcoamix.runs.documents import CONFIG, RESULTS, read_config, read_results
from lgcoamix.runs.identity import identity, refuse_other_run
from lgcoamix.settings.launch import launched
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.sections import Settings
from preprocess.errors import OutputError
from preprocess.files import is_leftover
from preprocess.outputs import refuse_inputs
from preprocess.store import Store
from preprocess.store.shard import VERIFY
from preprocess.text import did_you_mean

_FAR_ABOVE = 4  # times the requested number; SLIC gives at most twice as many


@dataclass(frozen=True)
class Checked:
    """A run that can start.

    Parameters
    ----------
    identity : everything that determines its outcome, see :func:`lgcoamix.runs.identity.identity`.
    results : results of the run to resume if it is already finished, else None.
    """

    identity: dict[str, Any]
    results: dict[str, Any] | None


def preflight(store: Store, settings: Settings, options: RunOptions) -> Checked:
    """Refuse a run that cannot work, and detect one that is already finished.

    Raises
    ------
    SettingsError : settings contradict each other or the store.
    RunError : the run folder exists or contains another run, or the store lacks a split.
    """
    if options.maps == "live" and options.loader == "resident":
        raise SettingsError("--maps live segments in the DataLoader workers: use --loader streaming or auto")
    if options.augment is not None and options.loader == "resident":
        raise SettingsError("--augment runs in the DataLoader workers: use --loader streaming or auto")
    _refuse_resume(options)
    refuse_inputs(options.out, store.files)
    if launched()[0] == 0:  # other ranks would see the folder made by rank 0
        _refuse_folder(options)
    check_training(store, settings)
    if options.val_fraction == 0 and not store.test_split:
        raise RunError(f"{store.path} has neither a test nor a val split; give --val-fraction 0.2")
    decisive = identity(store, settings, options)
    if options.resume != "auto" or not (options.out / RESULTS).exists():
        return Checked(decisive, None)
    refuse_other_run(decisive, read_config(options.out), options.out)
    return Checked(decisive, read_results(options.out))


def check_training(store: Store, settings: Settings) -> None:
    """Refuse a store that does not support training with these settings.

    Raises
    ------
    SettingsError : settings do not match the store.
    RunError : the store is incomplete, or has no training split.
    """
    if "train" not in store.splits or len(store.splits["train"]) < 2:
        raise RunError(f"{store.path} has no split 'train' of at least 2 images; build it with that split")
    refuse_incomplete(store)
    _refuse_false_counts(store)
    size, data = store.size, settings.data
    if size is None:
        if data.crop != "resized" or data.test != "resize":
            raise SettingsError(
                f"the images of {store.path} have various sizes; add --set data.crop=resized --set data.test=resize"
            )
        return
    if data.crop != "resized" and data.image_size > size + 2 * data.border:
        raise SettingsError(
            f"--image-size {data.image_size} is larger than the stored {size} pixels; "
            "use a smaller one, add --set data.crop=resized, or build the store with a larger --size"
        )
    if data.test == "center" and data.image_size > size:
        raise SettingsError(f"data.test=center needs an image size of at most the stored {size}, got {data.image_size}")


def refuse_incomplete(store: Store) -> None:
    """Refuse a store whose shards are not all present.

    Raises
    ------
    RunError : shards are missing or have the wrong size.
    """
    missing = store.missing()
    if missing:
        raise RunError(
            f"{store.path} is not complete: {len(missing)} shards are missing or have the wrong size, the first is "
            f"{missing[0]}; run the build command again, or copy the missing files"
        )


def _refuse_false_counts(store: Store) -> None:
    """Compare numbers of superpixels far above those asked for with the maps: memory grows with their square."""
    if store.region_count <= _FAR_ABOVE * max(scale.segments for scale in store.scales):
        return
    for split in filter(store.has_maps, store.splits):
        for column in store.superpixels.columns:
            stated = store.document["splits"][split]["columns"][column]["largest_id"] + 1
            found = int(store.regions(split, column).max(initial=0))
            if found != stated:
                raise RunError(
                    f"{split}/{column} of {store.path}: expected {found} superpixels, as in its largest map, the index "
                    f"says {stated}; {VERIFY}"
                )


def _refuse_resume(options: RunOptions) -> None:
    """Refuse a file to resume that does not exist, or is of another folder."""
    out, resume = options.out, options.resume
    if resume in (None, "auto"):
        return
    if Path(resume).is_dir():
        raise SettingsError(f"--resume takes auto or a checkpoint, not a folder: --resume auto --out {resume}")
    if not Path(resume).is_file():
        meant = did_you_mean(Path(resume))
        raise SettingsError(f"--resume takes auto or a checkpoint of the run; there is no file {resume!r}{meant}")
    if Path(resume).resolve().parent != out.resolve():
        raise SettingsError(f"--resume {resume!r} continues the run in {Path(resume).parent}; leave out --out")


def _refuse_folder(options: RunOptions) -> None:
    """Refuse a folder that would be overwritten, or that contains something else."""
    out, resume = options.out, options.resume
    # A run that was killed at its start leaves only the lock and temporary files.
    held = out.iterdir() if out.is_dir() else ()
    names = {path.name for path in held if path.name != ".lock" and not is_leftover(path)}
    if out.exists() and resume is None:
        remedy = "; to continue the run in it, add --resume auto" if CONFIG in names else ""
        raise OutputError(f"the run folder {out} exists; choose another --out, or remove it{remedy}")
    if resume and names and CONFIG not in names:
        raise OutputError(f"{out} is not a run folder (it has no config.json); choose another --out")
