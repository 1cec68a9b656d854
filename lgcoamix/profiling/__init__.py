"""Where the time of a training goes, and what to change."""

import lgcoamix.beside.checked  # noqa: F401 - before preprocess
