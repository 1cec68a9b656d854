"""Entry point of ``python -m preprocess``."""

from preprocess import interrupt


def main() -> None:
    """Run the command line."""
    interrupt.run(_main, extra="preprocess")


def _main() -> None:
    from preprocess.cli import main

    main()


if __name__ == "__main__":
    main()
