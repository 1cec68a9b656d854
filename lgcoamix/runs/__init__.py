"""Runs on the disk: folders, checkpoints, identity; many of them: sweeps and comparisons."""

import lgcoamix.beside.checked  # noqa: F401 - before preprocess
