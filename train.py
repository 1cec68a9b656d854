"""Train from a store: ``python train.py --shards data/cub.h5``. The same command as ``lgcoamix train``."""

from lgcoamix.__main__ import interrupt


def main() -> None:
    """Run the command."""
    from lgcoamix.cli import train

    train()


if __name__ == "__main__":
    interrupt.run(main)
