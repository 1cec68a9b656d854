"""Entry point of ``python -m lgcoamix`` and of the command ``lgcoamix``."""

from preprocess import interrupt


def main() -> None:
    """Run the command line."""
    interrupt.run(_main)


def _main() -> None:
    from lgcoamix.cli import main

    main()


if __name__ == "__main__":
    main()
