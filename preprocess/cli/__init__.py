"""The command line: ``python -m preprocess COMMAND``. One file per command.

Heavy modules are imported inside the commands, so that help and usage errors respond at once.
"""

import click

from preprocess.cli.build import build
from preprocess.cli.datasets import datasets
from preprocess.cli.diff import diff
from preprocess.cli.duplicates import duplicates
from preprocess.cli.export import export
from preprocess.cli.inspect import inspect
from preprocess.cli.pack import pack
from preprocess.cli.report import report
from preprocess.cli.show import show
from preprocess.cli.verify import verify
from preprocess.terminal import Group

__all__ = ["main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Compute superpixel maps once and store them with the images."""


for command in (datasets, build, inspect, verify, show, report, duplicates, diff, export, pack):
    main.add_command(command)
