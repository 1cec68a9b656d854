"""``make gpu``: what a machine with a GPU can show in nine minutes. ``parts.py`` lists it, lgcoamix/README.md says how.

Such a machine has a Python with torch and torchvision, and nothing can be installed there. What else is needed is
carried: ``make gpu-wheels`` fills a folder (``carry.py``), which ``carried.py`` unpacks there.
"""

PARTS = ("agreement", "sync", "methods", "isolation", "waiting", "compile", "cells")
