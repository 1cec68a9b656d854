"""``python -m lgcoamix demo``."""

from pathlib import Path

import click
from rich.table import Table

from lgcoamix.cli.common import CONTEXT, friendly
from preprocess.terminal import say, say_table


@click.command(short_help="Run everything on a generated data set, in minutes on a CPU.", context_settings=CONTEXT)
@friendly
def demo() -> None:
    """Generate images of beetles, preprocess them, train with and without LGCOAMix on the CPU, and compare."""
    from lgcoamix.runs.demo import run_demo

    results, plots = run_demo(Path("data"), Path("runs"), say)
    table = Table("method", "top-1", "images/s")
    for method, result in results.items():
        table.add_row(method, f"{result['test_top1']['last']:.2f} %", f"{result['images_per_second']:.0f}")
    say_table(table)
    say("top-1 after the last epoch, on the 320 test images; chance is 12.5 %. One seed: not a comparison of methods.")
    say("plots:\n  " + "\n  ".join(map(str, plots)))
