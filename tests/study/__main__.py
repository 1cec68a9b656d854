"""``make study``: draw the tables of the study from its finished cells, or train what is missing."""

from pathlib import Path

import click

from lgcoamix.cli.common import friendly
from lgcoamix.errors import RunError
from preprocess.files import write_whole
from preprocess.terminal import say
from tests.study import driver, tables
from tests.study.kept import Cells
from tests.study.plan import plan

TABLES = Path("tests/study/README.md")


@click.command()
@click.option("--run", is_flag=True, help="First train the cells that are missing. Interrupt and rerun as you like.")
@click.option(
    "--anew", metavar="NAME", help="Train one finished cell again, such as length/none-14-s0, and compare it."
)
@friendly
def main(run: bool, anew: str | None) -> None:
    """Draw all tables and the plots from the finished cells. Start it in the root of the repository."""
    if run and anew:
        raise click.UsageError("--run and --anew: give one of them")
    cells = Cells()
    if anew:
        say(driver.run_anew(anew, cells, say))
        return
    failed = driver.run_missing(cells, say) if run else []
    draw(cells)
    if failed:
        raise RunError("cells failed; fix the cause and run the same command:\n  " + "\n  ".join(failed))


def draw(cells: Cells) -> None:
    """Write the tables, and a plot for each study of lengths."""
    from tests.study.plot import plot_length  # matplotlib

    write_whole(TABLES, tables.document(cells).encode())
    found = cells.standing(plan(cells.top1)).values()
    for study in tables.LENGTH_STUDIES:
        if own := [kept for kept in found if kept.cell.study == study]:
            write_whole(TABLES.with_name(f"{study}.png"), plot_length(own))
    say(f"wrote {TABLES}")


if __name__ == "__main__":
    main(prog_name="python -m tests.study")
