"""What can be refused before torch is imported, and before anything is written."""

from dataclasses import dataclass
from pathlib import Path

from lgcoamix.config import Settings
from lgcoamix.errors import RunError, SettingsError
from preprocess.store import Store


@dataclass(frozen=True)
class RunOptions:
    """What a run needs besides its recipe.

    Parameters
    ----------
    out : run folder; must not exist.
    recipe : name of the recipe that the settings started from.
    seed : of everything that is random.
    device : ``auto``, ``cpu``, ``cuda``, ``mps``.
    workers : loading processes.
    val_fraction : share of each training class that is held out for choosing the best epoch.
    """

    out: Path
    recipe: str
    seed: int = 0
    device: str = "auto"
    workers: int = 2
    val_fraction: float = 0.0


def check(store: Store, settings: Settings, options: RunOptions) -> None:
    """Refuse a run that cannot work.

    Raises
    ------
    SettingsError : settings that do not fit the store.
    RunError : the run folder exists, or the store lacks a split.
    """
    if options.out.exists():
        raise RunError(f"the run folder {options.out} exists; give another --out, or remove it")
    if "train" not in store.splits or len(store.splits["train"]) < 2:
        raise RunError(f"{store.path} has no split 'train' of at least 2 images; build it with that split")
    if options.val_fraction == 0 and not test_split(store):
        raise RunError(f"{store.path} has neither a test nor a val split; give --val-fraction 0.2")
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
