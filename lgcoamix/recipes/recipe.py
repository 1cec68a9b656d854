"""A recipe: settings with their source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lgcoamix.recipes.protocol import protocol_line, stored_text
from lgcoamix.settings.sections import Settings, to_plain

_OFF = {"optim.warmup": None, "optim.clip": 0, "optim.accumulate": 1, "optim.ema": 0, "optim.plain_epochs": 0}
_LOCAL = ("model.width", "model.skip", "model.pool_stem")


@dataclass(frozen=True)
class StoreSettings:
    """What a recipe needs of a store: options of ``preprocess build``.

    Parameters
    ----------
    size, resize : of the stored images; None with ``none``.
    segments, compactness, algorithm : of the superpixels, for methods that need them.
    """

    size: int | None = 256
    resize: str = "squash"
    segments: str = "39:52"
    compactness: float = 10.0
    algorithm: str = "slic"


@dataclass(frozen=True)
class Departure:
    """Where this project does not do what was published, or what was released does.

    Parameters
    ----------
    what : a setting, as ``section.key``, or a few words.
    published : what the source does.
    ours : what is done here; for a setting, its value is put before it.
    """

    what: str
    published: str
    ours: str = ""


@dataclass(frozen=True)
class Recipe:
    """Settings, where they come from, and what they reach.

    Parameters
    ----------
    summary : one line.
    dataset : name of the data set; None for any.
    source : the publication: name and year, details in brackets.
    settings : the settings.
    store : the store that the settings were made for; None for any.
    reported : the published figure, or None.
    split, best : what the reported figure was measured on, and how its epoch was chosen.
    measured : the figure measured with this code, or None.
    inferred : settings that were never published, as ``section.key``, and why they have their values; ``store.key``
        is an option of the build.
    departures : where this project does something else than the source.
    notes : what else there is to know, or None.
    """

    summary: str
    dataset: str | None
    source: str
    settings: Settings
    store: StoreSettings | None = None
    reported: str | None = None
    split: str = "not known"
    best: str = "not known"
    measured: str | None = None
    inferred: Mapping[str, str] = field(default_factory=dict)
    departures: tuple[Departure, ...] = ()
    notes: str | None = None

    @property
    def protocol(self) -> str:
        """Under which conditions its figures stand: one line."""
        told = {"split": self.split, "best": self.best} if self.reported else {}
        stored = stored_text(self.store.size, self.store.resize) if self.store else None
        return protocol_line(to_plain(self.settings), stored, **told)


def in_effect(reasons: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Keep the settings that have an effect with this method, crop and start."""
    return {name: why for name, why in reasons.items() if has_effect(name, settings)}


def has_effect(name: str, settings: Settings) -> bool:
    """Whether a setting, as ``section.key``, has an effect with this method, crop and start."""
    section, _, key = name.partition(".")
    if section == "store":
        return settings.mixer.needs_maps or key in ("size", "resize")
    if section == "mixer":
        return key in vars(settings.mixer)
    crop = settings.data.crop
    idle = {
        *(_LOCAL if not settings.mixer.needs_local else ()),
        *(("data.padding",) if crop != "pad" else ()),
        *(("data.scale", "data.ratio") if crop != "resized" else ()),
        *(("model.init",) if settings.model.weights != "none" else ()),
    }
    return name not in idle


def because(why: str, *names: str) -> dict[str, str]:
    """Give several settings one reason."""
    return dict.fromkeys(names, why)


def values_of(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that have an effect, by ``section.key``, and what it needs of a store.

    What is switched off, and how a step is computed (``compute``), is left out.
    """
    plain = to_plain(recipe.settings)
    found = {
        f"{section}.{key}": value
        for section in ("mixer", "data", "model", "optim")
        for key, value in plain[section].items()
    }
    if recipe.store:
        found |= {f"store.{key}": value for key, value in vars(recipe.store).items()}
    return {
        name: value
        for name, value in found.items()
        if has_effect(name, recipe.settings) and not (name in _OFF and value == _OFF[name])
    }
