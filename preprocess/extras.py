"""What the extras of the package bring, and the line that says so where it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

NAME = "lgcoamix"
# Module: the distribution that holds it, and the extras that bring this. pyproject.toml says why.
MODULES = {
    "albumentations": ("albumentations", "train"),
    "click": ("click", "preprocess", "train"),
    "cv2": ("opencv-python-headless", "preprocess", "train"),
    "distributed": ("distributed", "dask"),
    "jinja2": ("jinja2", "preprocess", "train"),
    "joblib": ("joblib", "preprocess"),
    "matplotlib": ("matplotlib", "preprocess", "train"),
    "numba": ("numba", "preprocess"),
    "onnx": ("onnx", "onnx"),
    "onnxruntime": ("onnxruntime", "onnx"),
    "onnxscript": ("onnxscript", "onnx"),
    "pillow_heif": ("pillow-heif", "heif"),
    "pyarrow": ("pyarrow", "hf"),
    "ray": ("ray", "ray"),
    "requests": ("requests", "preprocess"),
    "rich": ("rich", "preprocess", "train"),
    "scipy": ("scipy", "preprocess"),
    "skimage": ("scikit-image", "preprocess", "train"),
    "tenacity": ("tenacity", "preprocess"),
    "tensorboard": ("tensorboard", "train"),
    "urllib3": ("urllib3", "preprocess"),
    "wandb": ("wandb", "wandb"),
}


class MissingExtraError(ImportError):
    """A package is missing that an extra brings; the message is one line that says how to install it."""


def install(extra: str) -> str:
    """How to install an extra, from a checkout and from the wheel: the package is on no index."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version(NAME)
    except PackageNotFoundError:  # a tree that is on the path and not installed
        number = "VERSION"
    wheel = f"{NAME}-{number}-py3-none-any.whl"
    return f"in a checkout `pip install '.[{extra}]'`, with the wheel `pip install '{wheel}[{extra}]'`"


def explain(error: ImportError, extra: str = "", what: str = "this") -> str:
    """Say in one line which extra brings a module that is missing, and how to install it; nothing of other modules.

    Parameters
    ----------
    extra : the one to name if several bring the module.
    what : what needs it.
    """
    if isinstance(error, MissingExtraError):
        return str(error)
    module = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if module not in MODULES:
        return ""
    distribution, *extras = MODULES[module]
    chosen = extra if extra in extras else extras[0]
    called = module if module == distribution else f"{distribution} ({module})"
    return f"{what} needs {called}, which the extra [{chosen}] brings: {install(chosen)}"


@contextmanager
def required(what: str) -> Iterator[None]:
    """Import packages of extras in this block.

    Parameters
    ----------
    what : what needs them, for the message.

    Raises
    ------
    MissingExtraError : one is not installed.
    """
    try:
        yield
    except ImportError as error:
        if line := explain(error, what=what):
            raise MissingExtraError(line, name=error.name) from None
        raise
