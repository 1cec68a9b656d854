"""Scalars and pictures of a run for TensorBoard and Weights & Biases."""

import io
import secrets
import sys
import threading
from pathlib import Path
from typing import Any

from PIL import Image

from lgcoamix.errors import RunError
from lgcoamix.settings.options import RunOptions
from preprocess.files import named, write_whole


class Logs:
    """Logs besides the tables of the run folder.

    Parameters
    ----------
    options : which logs to write, and the run folder.
    config : of the run.
    epoch : first epoch to be added; older entries for it and later epochs are replaced.

    Raises
    ------
    RunError : Weights & Biases does not start.
    """

    def __init__(self, options: RunOptions, config: dict[str, Any], epoch: int) -> None:
        self._board, self._wandb, self._pictures = None, None, options.pictures
        if options.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._folder = options.out / "tensorboard"
            _silence_writer()
            with named(self._folder):
                self._board = SummaryWriter(str(self._folder), purge_step=epoch)
        if options.wandb:
            self._wandb = _start_wandb(options.wandb, options.out, config)

    @property
    def wants_pictures(self) -> bool:
        """Whether any log takes pictures."""
        return self._pictures and (self._board is not None or self._wandb is not None)

    def add_epoch(self, row: dict[str, float], timing: dict[str, float]) -> None:
        """Log the metrics of one epoch."""
        epoch = int(row["epoch"])
        values = {name: value for name, value in {**row, **timing}.items() if name != "epoch"}
        if self._board is not None:
            with named(self._folder):
                for name, value in values.items():
                    self._board.add_scalar(name, value, epoch)
                self._board.flush()
        if self._wandb is not None:
            self._wandb.log(values, step=epoch)

    def add_picture(self, name: str, data: bytes, epoch: int) -> None:
        """Log one picture, a PNG: drawn once for all logs."""
        picture = Image.open(io.BytesIO(data))
        if self._board is not None:
            from tensorboard.compat.proto.summary_pb2 import Summary  # pyrefly: ignore[missing-module-attribute]

            # Not add_image, which takes pixels and compresses them again.
            image = Summary.Image(height=picture.height, width=picture.width, colorspace=4, encoded_image_string=data)
            with named(self._folder):
                self._board.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), epoch)
        if self._wandb is not None:
            self._wandb.log({name: sys.modules["wandb"].Image(picture)}, step=epoch)

    def close(self, results: dict[str, Any]) -> None:
        """Flush the logs, and add the results."""
        if self._board is not None:
            with named(self._folder):
                self._board.close()
        if self._wandb is not None:
            self._wandb.summary.update(results)
            self._wandb.finish()


def _silence_writer() -> None:
    """Keep the failures of TensorBoard's writing thread off the terminal: it raises them here as well."""
    others = threading.excepthook

    def report(failure: threading.ExceptHookArgs) -> None:
        if not (isinstance(failure.exc_value, OSError) and type(failure.thread).__module__.startswith("tensorboard.")):
            others(failure)

    threading.excepthook = report


def _start_wandb(project: str, out: Path, config: dict[str, Any]) -> Any:
    import wandb

    name = out / ".wandb-id"
    if not name.exists():  # a resumed run keeps its id
        write_whole(name, secrets.token_hex(4).encode())
    try:
        return wandb.init(
            project=project, name=out.name, id=name.read_text().strip(), dir=out, config=config, resume="allow"
        )
    except Exception as error:  # wandb raises its own types, and those of its transport and server
        raise RunError(f"Weights & Biases does not start: {error}; WANDB_MODE=offline needs no account") from error
