"""The command line: ``python -m lgcoamix COMMAND``, and ``train`` also as ``train.py``. One command, one file.

Help and usage errors need no torch: commands import everything heavy when they run.
"""

import click

import lgcoamix.beside.checked  # noqa: F401 - before preprocess
from lgcoamix import __version__
from lgcoamix.cli.common import CONTEXT
from lgcoamix.cli.compare import compare
from lgcoamix.cli.convert import convert
from lgcoamix.cli.demo import demo
from lgcoamix.cli.doctor import doctor
from lgcoamix.cli.evaluate import evaluate
from lgcoamix.cli.explain import explain
from lgcoamix.cli.export import export
from lgcoamix.cli.predict import predict
from lgcoamix.cli.preprocess import preprocess
from lgcoamix.cli.replay import replay
from lgcoamix.cli.sweep import sweep
from lgcoamix.cli.train import train
from preprocess.terminal import Group

__all__ = ["main", "train"]


@click.group(cls=Group, context_settings=CONTEXT)
@click.version_option(__version__)
def main() -> None:
    """Train image classifiers with superpixel mixing."""


for command in (preprocess, train, evaluate, explain, export, convert, predict, sweep, compare, replay, doctor, demo):
    main.add_command(command)
