"""How well a network does: the pass over a split, the metrics, attacks, plots, the folder of an evaluation."""
