"""How this process was started: alone, or by torchrun as one of several. No torch in here."""

import os


def launched() -> tuple[int, int]:
    """Rank and number of processes; (0, 1) for a process alone."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    return (int(os.environ.get("RANK", 0)) if world > 1 else 0), world
