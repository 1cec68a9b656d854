"""What a run needs besides its recipe."""

from dataclasses import dataclass
from pathlib import Path


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
