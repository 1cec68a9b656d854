"""Entry point of ``python -m lgcoamix`` and of the command ``lgcoamix``."""

import sys

from lgcoamix import beside

try:
    beside.load()
    from preprocess import interrupt
except ImportError as error:
    sys.exit(f"Error: {error}")


def main() -> None:
    """Run the command line."""
    interrupt.run(_main)


def _main() -> None:
    from lgcoamix.cli import main

    main()


if __name__ == "__main__":
    main()
