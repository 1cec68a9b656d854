"""``python -m tests.benchmarks.race``: fewer rounds, or a part of the race."""

from collections.abc import Callable

import click
from rich.console import Console

from tests.benchmarks.race.measure import measure
from tests.benchmarks.race.peers import PEERS
from tests.benchmarks.race.samples import FORMS


def _some(name: str, choices: list) -> Callable:
    return click.option(name, multiple=True, type=click.Choice(choices), default=choices, show_default=True)


@click.command()
@click.option("--rounds", default=3, show_default=True)
@_some("--peers", list(PEERS))
@_some("--forms", list(FORMS))
@_some("--workers", [0, 1, 2])
def main(**options: object) -> None:
    """Race peers against our loader. Options are given once for each choice: --workers 0 --workers 2."""
    Console(width=120).print(measure(**options))


if __name__ == "__main__":
    main(prog_name="python -m tests.benchmarks.race")
