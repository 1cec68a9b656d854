"""Runs on the disk: folders, checkpoints, identity; many of them: sweeps and comparisons."""
