"""How this process was started: alone, or by torchrun as one of several. Works without torch."""

import os


def launched() -> tuple[int, int]:
    """Rank and number of processes; (0, 1) for a single process."""
    world = int(os.environ.get("WORLD_SIZE", 1))
    return (int(os.environ.get("RANK", 0)) if world > 1 else 0), world
