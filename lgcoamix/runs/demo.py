"""The commands of ``make demo``: a store of a generated data set, a short run on it, and the use of what it trained."""

import sys
from collections.abc import Callable
from pathlib import Path

from lgcoamix.errors import Interrupted, RunError
from lgcoamix.runs import children
from preprocess import interrupt

EPOCHS = 4
Say = Callable[[str], None]


def build(data: Path, say: Say) -> tuple[Path, Path]:
    """Generate the data set and preprocess it; what is there is kept.

    Parameters
    ----------
    data : folder for the raw images and the store.
    say : shows a line of text.

    Returns
    -------
    Paths of the store and of a picture of its superpixels.
    """
    store, sheet, root = data / "demo.h5", data / "demo-superpixels.png", data / "raw" / "demo"
    if not root.exists():
        say(f"generating the demo set in {root}")
    _command(say, "preprocess", "build", "demo", "--root", str(root), "--out", str(store))
    _command(say, "preprocess", "show", str(store), "--count", "8", "--out", str(sheet), "--force")
    return store, sheet


def train(store: Path, run: Path, say: Say) -> None:
    """Train with LGCOAMix on the CPU. A finished run is left unchanged, an unfinished one is resumed."""
    if (run / "results.json").exists():
        say(f"\n{run} is already finished and left unchanged (remove it to train again)")
        return
    options = ("--mixer", "lgcoamix", "--epochs", str(EPOCHS), "--device", "cpu", "--workers", "0", "--resume", "auto")
    _command(say, "train", "--shards", str(store), "--out", str(run), *options)


def use(run: Path, model: Path, image: Path, say: Say) -> None:
    """Export the trained network and classify an image with it."""
    _command(say, "export", "--checkpoint", str(run), "--out", str(model))
    table = model.with_name(f"{model.name}-predictions.csv")
    _command(say, "predict", "--model", str(model), str(image), "--out", str(table))


def _command(say: Say, *arguments: str) -> None:
    """Show a command of ours and run it in a process of its own."""
    line = f"python -m lgcoamix {' '.join(arguments)}"
    say(f"\n$ {line}")
    process, stops = children.start([sys.executable, "-m", "lgcoamix", *arguments]), []

    def forward(number: int, _: object) -> None:
        stops.append(number)
        process.send_signal(number)

    with interrupt.undoing(lambda: children.kill(process)), interrupt.answering(forward):
        process.wait()
    code = children.exit_code(process)
    if stops or code in (130, 143):
        raise Interrupted(interrupt.LINE, stops[0] if stops else code - 128)
    if code:
        raise RunError(f"{line} failed with exit code {code}")
