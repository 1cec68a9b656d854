"""The package ``preprocess`` that lies beside this one, and not a module of that name in the folder of a user.

A file ``preprocess.py`` in the folder of a script, or in the working folder of ``python -m``, is found before it. The
command lines :func:`load` ours from its place. In the program of somebody else, where ``import preprocess`` may mean
that file, importing :mod:`lgcoamix.beside.checked` refuses to go on; rooms that need the package do that first.
"""

import os
import sys

# As importlib has them, but in memory already: importing that takes milliseconds in which Ctrl-C shows a traceback.
from _frozen_importlib import ModuleSpec, module_from_spec
from _frozen_importlib_external import PathFinder

_NAME = "preprocess"
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120


def load() -> None:
    """Load our package from its place, whatever stands first on ``sys.path``.

    Raises
    ------
    ImportError : another module of that name is loaded already.
    """
    if _NAME in sys.modules:
        check()
        return
    spec = PathFinder.find_spec(_NAME, [_HOME])
    if spec is not None and spec.loader is not None:
        module = sys.modules[_NAME] = module_from_spec(spec)
        spec.loader.exec_module(module)


def check() -> None:
    """Look, without running it, whose module an import gives. Where none lies beside this package, any is taken.

    Raises
    ------
    ImportError : it is somebody else's.
    """
    ours, found = PathFinder.find_spec(_NAME, [_HOME]), _found()
    if ours is None or found is None or os.path.realpath(str(ours.origin)) == os.path.realpath(found):
        return
    folder, file = os.path.split(found)
    found = folder if file.startswith("__init__.") else found
    raise ImportError(
        f"lgcoamix needs the package {_NAME} that was installed with it ({ours.origin}), but here `import {_NAME}` "
        f"gives {found}: rename that, or run from another folder",
        name=_NAME,
        path=found,
    )


def is_worker() -> bool:
    """Whether multiprocessing started this process: such a one takes what its parent has."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.current_process().name != "MainProcess"  # known before its parent is


def _found() -> str | None:
    """Where the module lies that an import gives; None if there is none."""
    if (module := sys.modules.get(_NAME)) is not None:
        return getattr(module, "__file__", None) or "a module without a file"
    for finder in sys.meta_path:
        spec: ModuleSpec | None = finder.find_spec(_NAME, None)
        if spec is not None:
            return spec.origin if spec.has_location else None  # a folder without code is no module
    return None
