"""Import this before ``preprocess``: raises ImportError where that is somebody else's module."""

import sys

from lgcoamix import beside

if beside.is_worker() and "preprocess" not in sys.modules:
    beside.load()
else:
    beside.check()
