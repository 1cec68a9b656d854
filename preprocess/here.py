"""Load this package from here. A worker runs this file by its path: there, its name may give another module."""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

spec = PathFinder.find_spec("preprocess", [str(Path(__file__).parents[1])])
if "preprocess" not in sys.modules and spec is not None and spec.loader is not None:
    module = sys.modules["preprocess"] = module_from_spec(spec)
    spec.loader.exec_module(module)
