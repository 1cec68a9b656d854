"""``diff``: compare two stores."""

import sys
from pathlib import Path

import click

from preprocess.cli.common import FILE, friendly
from preprocess.terminal import say


@click.command(short_help="Compare the content of two stores.")
@click.argument("left", type=FILE)
@click.argument("right", type=FILE)
@friendly
def diff(left: Path, right: Path) -> None:
    """Compare images, labels, maps and draw weights of LEFT and RIGHT. Exit code 0 if equal, 1 if not."""
    from preprocess.inspect.diff import differences

    found = False
    for line in differences(left, right):
        say(line)
        found = True
    if found:
        sys.exit(1)
    say(f"{left} and {right} hold the same content")
