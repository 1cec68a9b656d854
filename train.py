"""Train from a store: ``python train.py --shards data/cub.h5``. The same command as ``lgcoamix train``."""

from lgcoamix.cli import train

if __name__ == "__main__":
    train()
