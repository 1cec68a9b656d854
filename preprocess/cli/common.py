"""Options, error handling and progress bars shared by the commands."""

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from preprocess import interrupt
from preprocess.datasets import DATASETS, Listing
from preprocess.errors import OutputError, PreprocessError
from preprocess.files import describe
from preprocess.machine import cores
from preprocess.parameters import NamedPath
from preprocess.terminal import Rate, Terminal, Words, say

FILE = NamedPath(exists=True, dir_okay=False)
store_argument = click.argument("store", type=FILE)
jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1, max(64, 4 * cores())),
    callback=lambda context, option, jobs: jobs or cores(),
    help="Number of workers.  [default: one per core]",
)
force_option = click.option("--force", is_flag=True, help="Replace a file that is no earlier output of this command.")
superpixels_option = click.option(
    "--superpixels", metavar="NAME", help="Superpixel set, as listed by inspect.  [default: the first]"
)


def friendly(command: Callable) -> Callable:
    """Turn failures that a user can fix into one message and exit code 1."""

    @functools.wraps(command)
    def wrapped(*args: object, **kwargs: object) -> object:
        try:
            return command(*args, **kwargs)
        except OutputError as error:
            raise click.UsageError(str(error)) from None
        except PreprocessError as error:
            raise click.ClickException(str(error)) from None
        except (OSError, MemoryError) as error:
            raise click.ClickException(describe(error)) from None
        except KeyboardInterrupt:  # of a caller that answers signals itself
            say(interrupt.LINE, err=True)
            sys.exit(130)

    return wrapped


@contextlib.contextmanager
def progress_bars(unit: str) -> Iterator[Callable[[str, int | None], Callable]]:
    """Show bars with a count and a speed; yield a function that adds a bar and returns its ``advance``."""
    columns = (Words("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(unit), TimeRemainingColumn())
    with Progress(*columns, console=Terminal(stderr=True)) as progress:
        yield lambda name, total: functools.partial(progress.advance, progress.add_task(name, total=total))


def check_ending(out: Path, ending: str, parameter: str) -> None:
    """Raise a usage error unless ``out`` ends in ``ending`` and is not a folder."""
    if out.suffix != ending or out.is_dir():
        raise click.BadParameter(f"expected a file name ending in {ending}, got {out}", param_hint=parameter)


def find_listing(
    dataset: str, root: Path | None, download: bool, partial: bool, max_unpacked: int | None = None
) -> Listing:
    """List a data set for a command: download it if needed, and compare its counts with the official ones."""
    from preprocess.raw.find import RAW, find_raw_data
    from preprocess.raw.selection import check_counts, check_names, look_alikes

    adapter = DATASETS[dataset]
    if root is not None and not root.is_dir() and adapter.create is None:
        raise click.BadParameter(f"folder {root} does not exist", param_hint="--root")
    listing = find_raw_data(dataset, root or RAW / dataset, download, max_unpacked)
    check_names(listing)
    for warning in look_alikes(listing):
        say(warning, err=True)
    if not partial:
        check_counts(dataset, adapter, listing)
    return listing
