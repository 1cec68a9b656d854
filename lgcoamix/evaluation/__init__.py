"""How well a network does: the pass over a split, the metrics, attacks, plots, the folder of an evaluation."""

import lgcoamix.beside.checked  # noqa: F401 - before preprocess
