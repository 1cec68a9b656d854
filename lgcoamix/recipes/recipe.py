"""What a recipe is."""

from collections.abc import Iterable
from dataclasses import dataclass

from lgcoamix.settings.sections import Settings, to_plain

_LOCAL = ("model.width", "model.skip", "model.pool_stem")


@dataclass(frozen=True)
class Recipe:
    """Settings with their story.

    Parameters
    ----------
    summary : one line.
    dataset : name of its adapter; None for any.
    source : the publication: name and year, the rest of it in brackets.
    protocol : how images are shown in the test, and what is known of how the reported figure was measured.
    settings : the settings.
    reported : the reported figure, or None.
    measured : what we measured with it, or None.
    inferred : the settings that were never published, as ``section.key``; ``store.key`` is an option of the build.
    store : options of ``preprocess build`` that it needs beside the data set's defaults, or None.
    notes : why these values, or None.
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
    """Keep of these settings, each once, those that have an effect: the method's own, and what method and crop use."""
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
