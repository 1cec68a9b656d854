"""The one line about a package that is missing or broken: what needs it, which extra brings it, and what to do."""

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
    "scipy": ("scipy", "preprocess", "train"),
    "skimage": ("scikit-image", "preprocess"),
    "tenacity": ("tenacity", "preprocess"),
    "tensorboard": ("tensorboard", "train"),
    "urllib3": ("urllib3", "preprocess"),
    "wandb": ("wandb", "wandb"),
    "zlib_ng": ("zlib-ng", "preprocess", "train"),
}
# What the package itself brings, and what comes with that.
BASE = {
    "h5py": "h5py",
    "huggingface_hub": "huggingface_hub",
    "numpy": "numpy",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "timm": "timm",
    "torch": "torch",
    "torchvision": "torchvision",
    "yaml": "pyyaml",
}
_DISTRIBUTIONS = BASE | {module: distribution for module, (distribution, *_) in MODULES.items()}
_OURS = (NAME, "preprocess")
_LONGEST = 300  # characters of a reason


class PackageError(ImportError):
    """A package is missing or broken; the message is one line that says what to do."""


def install(extra: str) -> str:
    """How to install an extra, from a checkout and from the wheel: the package is on no index."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        number = version(NAME)
    except PackageNotFoundError:  # a tree that is on the path and not installed
        number = "VERSION"
    wheel = f"{NAME}-{number}-py3-none-any.whl"
    return f"in a checkout `pip install '.[{extra}]'`, with the wheel `pip install '{wheel}[{extra}]'`"


def explain(error: Exception, extra: str = "", what: str = "this") -> str:
    """Say in one line which package is missing or broken, and what to do; nothing of other errors.

    Parameters
    ----------
    extra : the one to name if several bring a missing package.
    what : what needs it.
    """
    if isinstance(error, PackageError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and error.name in MODULES:
        distribution, *extras = MODULES[error.name]
        chosen = extra if extra in extras else extras[0]
        called = _called(error.name, distribution)
        return f"{what} needs {called}, which the extra [{chosen}] brings: {install(chosen)}"
    module = _broken(error)
    if not module:
        return ""
    distribution = _DISTRIBUTIONS[module]
    return (
        f"{what} needs {_called(module, distribution)}, which is installed but does not import ({reason(error)}): "
        f"reinstall it with `pip install --force-reinstall {distribution}`"
    )


def reason(error: BaseException) -> str:
    """The first line of an error, or of what it came from: a package may wrap that in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:_LONGEST]


@contextmanager
def required(what: str, extra: str = "") -> Iterator[None]:
    """Import packages of extras in this block.

    Parameters
    ----------
    what, extra : what needs them, and the extra to name, as for :func:`explain`.

    Raises
    ------
    PackageError : one is not installed, or cannot be imported.
    """
    try:
        yield
    except Exception as error:
        if line := explain(error, extra, what):
            raise PackageError(line) from error
        raise


def _called(module: str, distribution: str) -> str:
    return module if module == distribution else f"{distribution} ({module})"


def _broken(error: Exception) -> str:
    """The package at whose import, begun by a line of ours, an error came; nothing if it came otherwise.

    It is the innermost of several, and never a package of somebody else, nor one that lacks what a line of ours calls.
    """
    if isinstance(error, MemoryError) or getattr(error, "errno", None):
        return ""  # the machine's
    entered, trace = [], error.__traceback__  # since the last line of ours: modules that run, and calls
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        runs = trace.tb_frame.f_code.co_name == "<module>"
        entered = [] if module in _OURS else [*entered, module if runs else ""]
        trace = trace.tb_next
    if not entered and isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError):
        entered = [(error.name or "").partition(".")[0]]
    return next((module for module in reversed(entered) if module in _DISTRIBUTIONS), "")
