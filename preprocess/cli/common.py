"""What the commands share: options and error messages."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import click

from preprocess import interrupt
from preprocess.errors import OutputError, PreprocessError, SettingError
from preprocess.files import describe
from preprocess.machine import cores
from preprocess.parameters import NamedPath
from preprocess.terminal import tell

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
    """Report errors that a user can fix as one message. Exit codes: 2 for usage, 1 for failure."""

    @functools.wraps(command)
    def wrapped(*args: object, **kwargs: object) -> object:
        try:
            return command(*args, **kwargs)
        except OutputError as error:
            raise click.UsageError(str(error)) from None
        except SettingError as error:
            raise click.BadParameter(error.reason, param_hint=f"--{error.name}") from None
        except PreprocessError as error:
            raise click.ClickException(str(error)) from None
        except (OSError, MemoryError) as error:
            raise click.ClickException(describe(error)) from None
        except KeyboardInterrupt:  # of a caller that answers signals itself
            tell(interrupt.LINE)
            sys.exit(130)

    return wrapped


def check_ending(out: Path, ending: str, parameter: str) -> None:
    """Raise a usage error unless ``out`` ends in ``ending`` and is not a folder."""
    if out.suffix != ending or out.is_dir():
        raise click.BadParameter(f"expected a file name ending in {ending}, got {out}", param_hint=parameter)
