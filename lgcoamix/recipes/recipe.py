"""A recipe: settings with their source."""

from collections.abc import Iterable
from dataclasses import dataclass

from lgcoamix.settings.sections import Settings, to_plain

_LOCAL = ("model.width", "model.skip", "model.pool_stem")


@dataclass(frozen=True)
class Recipe:
    """Settings, where they come from, and what they reach.

    Parameters
    ----------
    summary : one line.
    dataset : name of the data set; None for any.
    source : the publication: name and year, details in brackets.
    protocol : how test images are shown, and what is known about how the reported figure was measured.
    settings : the settings.
    reported : the published figure, or None.
    measured : the figure measured with this code, or None.
    inferred : settings that were never published, as ``section.key``; ``store.key`` is an option of the build.
    store : options of ``preprocess build`` that differ from the data set's defaults, or None.
    notes : the reasons for these values, or None.
    """

    summary: str
    dataset: str | None
    source: str
    protocol: str
    settings: Settings
    reported: str | None = None
    measured: str | None = None
    inferred: tuple[str, ...] = ()
    store: str | None = None
    notes: str | None = None


def in_effect(names: Iterable[str], settings: Settings) -> tuple[str, ...]:
    """Keep the settings that have an effect with this method and crop, without repetitions."""
    crop = settings.data.crop
    idle = {
        *(_LOCAL if not settings.mixer.needs_local else ()),
        *(("data.padding",) if crop != "pad" else ()),
        *(("data.scale", "data.ratio") if crop != "resized" else ()),
    }

    def counts(name: str) -> bool:
        section, _, key = name.partition(".")
        if section == "store":
            return settings.mixer.needs_maps
        return name not in idle and (section != "mixer" or key in to_plain(settings)["mixer"])

    return tuple(name for name in dict.fromkeys(names) if counts(name))
