"""LGCOAMix and the methods it is compared with: mixing, models, losses, and a trainer over the superpixel store."""

__version__ = "0.1.0"
