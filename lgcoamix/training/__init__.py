"""From a store and settings to a trained network: run, epochs, steps, their state; replay of any step."""

import lgcoamix.beside.checked  # noqa: F401 - before preprocess
