"""How this process was started: alone, or by torchrun as one of several. Works without torch."""

import os
import re

from lgcoamix.errors import SettingsError

_FORMS = {"RANK": r"\d{1,6}", "LOCAL_RANK": r"\d{1,6}|", "MASTER_ADDR": r"\S+", "MASTER_PORT": r"\d{1,5}"}


def launched() -> tuple[int, int]:
    """Rank and number of processes; (0, 1) for a single process.

    Raises
    ------
    SettingsError : the environment is half of what torchrun sets.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    if world == "1":
        return 0, 1
    found = {"WORLD_SIZE": world} | {name: os.environ.get(name, "") for name in _FORMS}
    fits = all(re.fullmatch(form, found[name]) for name, form in ({"WORLD_SIZE": r"[1-9]\d{0,5}"} | _FORMS).items())
    if not fits or int(found["RANK"]) >= int(world):
        shown = ", ".join(f"{name}={value!r}" for name, value in found.items())
        raise SettingsError(f"expected the environment of torchrun, got {shown}; use torchrun, or unset WORLD_SIZE")
    return int(found["RANK"]), int(world)
