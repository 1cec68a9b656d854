"""``python -m lgcoamix demo``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, friendly
from preprocess.terminal import say, say_table

if TYPE_CHECKING:
    from lgcoamix.profiling.caching import Pace
    from lgcoamix.settings.sections import Settings

_DATA, _RUN, _MODEL = Path("data"), Path("runs/demo"), Path("models/demo")
_SOURCES = {
    "stored": ("stored: read and cropped with the image", "1"),
    "live": ("in the loop: our SLIC (--maps live)", "1"),
    "released": ("in the loop: scikit-image's SLIC, as in the released code", "2"),
}


@click.command(short_help="Show what stored maps save, on a generated data set and a CPU.", context_settings=CONTEXT)
@friendly
def demo() -> None:
    """Generate images of beetles, preprocess them, measure what stored maps save, train for a few epochs, predict.

    Runs the real commands, and shows each. Files go to data/, runs/demo/ and models/demo/ of the working folder. A
    second run keeps what is finished, and measures again.
    """
    from lgcoamix.runs.demo import build, train, use

    store, sheet = build(_DATA, say)
    _measure(store)
    train(store, _RUN, say)
    use(_RUN, _MODEL, _DATA / "raw/demo/test/striped-forked/000.png", say)
    say(
        f"\npictures:\n  {sheet}: images and their superpixels\n"
        f"  {_RUN / 'mixed.png'}: two images, what is pasted, the mixed image with its superpixels and label weights\n"
        f"  {_RUN / 'curves.png'}: loss and accuracy by epoch\n"
        f"longer: python -m lgcoamix train --shards {store} --epochs 50 --out runs/longer --resume auto\n"
        "Stop it at any time: the same command continues it, bit for bit.\n"
        "No method is compared here: in a run this short, plain training is ahead of LGCOAMix (README.md, Results)."
    )


def _measure(store: Path) -> None:
    """Measure the recipe of the demo set, and say what was measured."""
    say("\nmeasuring training steps with stored maps, and with maps that are computed in the loop")
    import torch

    from lgcoamix.profiling.caching import ROUNDS, measure_caching
    from lgcoamix.recipes import RECIPES
    from lgcoamix.settings.options import RunOptions
    from preprocess.store import Store

    settings = RECIPES["demo"].settings
    paces = measure_caching(Store(store), settings, RunOptions(_RUN, "demo", device="cpu", workers=0))
    say_table(_table(paces, settings))
    threads, stored, released = torch.get_num_threads(), paces["stored"], paces["released"]
    say(
        f"Medians of {ROUNDS} batches, all mixed (a training mixes half), in one process: one core loads a batch, then "
        f"{threads} thread{'s' * (threads > 1)} compute{'s' * (threads == 1)} its step.\n"
        f"With stored maps, a step and its batch are {stored.images_per_second / released.images_per_second:.2f} times "
        f"as fast as in the released code, and loading alone {released.load / stored.load:.0f} times.\nThe network is "
        "small, but on a CPU its step takes most of the time. A GPU shortens the step and not the loading: the first "
        "ratio then grows towards the second."
    )


def _table(paces: "dict[str, Pace]", settings: "Settings") -> Table:
    model, data, optim = settings.model, settings.data, settings.optim
    title = f"mixed steps of LGCOAMix: {model.backbone} at {data.image_size} pixels, batch {optim.batch_size}"
    names = ("superpixels", "maps an image", "load, ms/image", "step, ms/image", "images/s", "load alone, images/s")
    table = Table(*names, title=title, title_justify="left")
    for source, pace in paces.items():
        figures = (f"{pace.load:.2f}", f"{pace.step:.2f}", f"{pace.images_per_second:.1f}")
        table.add_row(*_SOURCES[source], *figures, f"{pace.loaded_per_second:.0f}")
    return table
