"""A base environment reads, mixes and models; what an extra brings is named where it is missing, in one line."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

from preprocess.extras import BASE, MODULES, explain, install
from tests.conftest import ROOT

NEEDED = {"h5py", "numpy", "timm", "torch"}
BROUGHT = {  # by what needs them
    "huggingface_hub": "timm",
    "PIL": "torchvision",
    "safetensors": "timm",
    "torchvision": "timm",
    "yaml": "timm",
}
BESIDE = {"pi_heif", "pillow_jxl"}  # plugins that are read through if they happen to be there
# Some modules are forgotten, if this is a fork that has them, and absent to every finder.
FORGET = """
import sys
for name in list(sys.modules):
    if name.split(".")[0] in {blocked}:
        del sys.modules[name]
"""
BLOCK = (
    FORGET
    + """
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        return None if name.split(".")[0] in {blocked} else self.finder.find_spec(name, *rest)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
"""
)


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def named(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", line)[0].lower() for line in requirements}


def third_party() -> Iterator[tuple[str, str]]:
    """Every module from outside that a file imports, wherever the statement stands."""
    for path in (path for name in ("lgcoamix", "preprocess") for path in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            yield from ((str(path), name.split(".")[0]) for name in names)


def test_every_import_is_of_the_base_or_of_an_extra():
    known = sys.stdlib_module_names | NEEDED | BROUGHT.keys() | BESIDE | MODULES.keys() | {"lgcoamix", "preprocess"}
    assert {(path, name) for path, name in third_party() if name not in known} == set()


def test_the_base_is_small_and_brings_what_is_imported_without_an_extra():
    assert named(project()["dependencies"]) == NEEDED
    assert BASE.keys() == NEEDED | BROUGHT.keys()
    homes = packages_distributions()
    for module, owner in BROUGHT.items():
        assert homes[module][0].lower() == BASE[module]
        assert BASE[module] in named([each for each in requires(owner) if "extra" not in each])


def test_every_module_is_brought_by_the_extras_that_messages_name():
    extras = {name: named(lines) for name, lines in project()["optional-dependencies"].items()}
    for module, (distribution, *bringing) in MODULES.items():
        for extra in bringing:
            assert distribution in extras[extra], (module, extra)
    assert extras["all"] == {"lgcoamix"}
    mentioned = {distribution for distribution, *_ in MODULES.values()} | {
        "huggingface_hub",
        "pillow",
        "pyyaml",
        "safetensors",
    }
    assert extras["preprocess"] | extras["train"] <= mentioned


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH under which nothing can be imported that an extra brings."""
    return without(tmp_path_factory.mktemp("base"), *MODULES, *BESIDE)


def without(home: Path, *modules: str) -> str:
    (home / "sitecustomize.py").write_text(BLOCK.format(blocked=set(modules)))
    return f"{home}:{ROOT}"


LIBRARY = """
import doctest, sys, warnings
from pathlib import Path
import lgcoamix, preprocess

warnings.simplefilter("always")
root = Path({root!r})
section = (root / "lgcoamix" / "README.md").read_text().split("## As a library")[1].split("\\n## ")[0]
blocks = [part.split("```")[0] for part in section.split("```python\\n")[1:]]
for text in blocks:
    exec(text, {{"__name__": "block"}})
runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
things = {{name: getattr(lgcoamix, name) for name in lgcoamix.__all__ if name not in ("Augment", "LiveDataset")}}
things |= {{name: getattr(preprocess, name) for name in ("Store", "Scale")}}
for name, thing in things.items():
    if callable(thing):
        runner.run(doctest.DocTestParser().get_doctest(thing.__doc__, {{}}, name, None, None))
for codec in ("jpeg", "png"):
    store = preprocess.Store(f"data/{{codec}}.h5")
    assert store.images("train", [0]).shape == (1, 16, 16, 3) and store.maps("train", 4, [0]).shape == (1, 16, 16)
view = lgcoamix.View(lgcoamix.DataSettings(image_size=12), train=True)
dataset = lgcoamix.SuperpixelDataset("data/cub.h5", "train", view)
assert dataset.__getitems__([0, 1, 2]).images.shape == (3, 3, 12, 12)
assert preprocess.grid is not None
print(len(blocks) >= 4, runner.summarize(verbose=False))
"""


def test_the_base_runs_every_example_of_the_library(run_warm, base, examples):
    done = run_warm("-c", LIBRARY.format(root=str(ROOT)), cwd=examples, PYTHONPATH=base)
    assert done.returncode == 0, done.stderr + done.stdout
    assert re.fullmatch(r"True TestResults\(failed=0, attempted=\d\d+\)\n", done.stdout), done.stdout
    assert done.stderr.count("OpenCV (cv2) is missing") == 1  # once in a process
    assert install("train") in done.stderr


CALLS = {
    "preprocess.build_store": ("preprocess.build_store", "preprocess"),
    "preprocess.slic": ("preprocess.slic(image, 4)", "preprocess"),
    "preprocess.felzenszwalb": ("preprocess.felzenszwalb(image, 4)", "preprocess"),
    "preprocess.watershed": ("preprocess.watershed(image, 4)", "preprocess"),
    "preprocess.choose_scales": ("preprocess.choose_scales(range(30, 40), (64, 64), 4)", "preprocess"),
    "preprocess.adjusted_rand_index": ("preprocess.adjusted_rand_index(image[0], image[0])", "preprocess"),
    "live": ("import lgcoamix; lgcoamix.LiveDataset('data/cub.h5')", "preprocess"),
}


def test_a_call_that_needs_an_extra_says_so(run_warm, base, examples):
    lines = ["import numpy as np, preprocess", "image = np.zeros((32, 32, 3), np.uint8)"]
    for call, _ in CALLS.values():
        lines += ["try:", f"    {call}", "except ImportError as error:", "    print(error)"]
    done = run_warm("-c", "\n".join(lines), cwd=examples, PYTHONPATH=base)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == len(CALLS)
    for (name, (_, extra)), line in zip(CALLS.items(), said, strict=True):
        assert name == "live" or line.startswith(f"{name} needs "), line
        assert line.endswith(f", which the extra [{extra}] brings: {install(extra)}"), line


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        ("-m preprocess inspect data/cub.h5", "click", "preprocess"),
        ("-m preprocess inspect data/cub.h5", "rich", "preprocess"),
        ("-m preprocess show data/cub.h5 --out x.png", "matplotlib", "preprocess"),
        ("-m preprocess duplicates data/cub.h5", "cv2", "preprocess"),
        ("-m preprocess build folder --root raw --out x.h5 --size 16 --segments 4 --jobs 1", "numba", "preprocess"),
        ("-m lgcoamix evaluate --help", "click", "train"),
        ("TRAIN --help", "rich", "train"),
        ("TRAIN --shards data/cub.h5 --mixer none TRY", "tensorboard", "train"),
        ("TRAIN --shards data/cub.h5 --mixer none TRY --no-tensorboard", "matplotlib", "train"),
        ("TRAIN --shards data/cub.h5 --mixer superpixel_grid TRY", None, ""),
        ("TRAIN --shards data/cub.h5 --mixer superpixel_grid --maps live TRY --no-tensorboard", "numba", "preprocess"),
    ],
)
def test_a_command_without_an_extra_says_one_line(command, module, extra, run, run_warm, examples, tmp_path):
    tiny = "--backbone test_resnet --weights none --image-size 12 --epochs 1 --workers 0 --device cpu --batch-size 4"
    line = command.replace("TRAIN", str(ROOT / "train.py")).replace("TRY", f"{tiny} --out {tmp_path / 'run'}")
    path = without(tmp_path, *([module] if module else ["numba", "joblib", "requests", "tenacity"]))
    done = (run_warm if "TRY" in command else run)(*line.split(), cwd=examples, PYTHONPATH=path)
    if module is None:  # training from a store needs [train] alone
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == 1, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    (told,) = [each for each in done.stderr.splitlines() if "needs" in each]
    assert told.startswith("Error: ")
    assert f"{module}" in told
    assert told.endswith(f"which the extra [{extra}] brings: {install(extra)}")
    assert not (tmp_path / "run").exists()  # the same command works once it is installed


BROKEN = "raise ImportError('libray.so: no such file')"
REINSTALL = "which is installed but does not import ({}): reinstall it with `pip install --force-reinstall {}`"


@pytest.mark.parametrize(
    ("statement", "packages", "expected"),
    [
        ("import ray", {"ray": BROKEN}, "ray, " + REINSTALL.format("libray.so: no such file", "ray")),
        ("import ray", {"ray": "import nobodys"}, "ray, " + REINSTALL.format("No module named 'nobodys'", "ray")),
        ("import ray", {"ray": "import ray.x"}, "ray, " + REINSTALL.format("No module named 'ray.x'", "ray")),
        ("import ray", {"ray": "x = {}['y']"}, "ray, " + REINSTALL.format("'y'", "ray")),
        (
            "from ray import x",
            {"ray": ""},
            "ray, " + REINSTALL.format("cannot import name 'x' from 'ray' (PATH)", "ray"),
        ),
        (  # one that another needs, whose name differs; and advice of many lines
            "import ray",
            {"ray": "import pillow_heif", "pillow_heif": "raise ImportError('read\\nthis') from OSError('no libheif')"},
            "pillow-heif (pillow_heif), " + REINSTALL.format("no libheif", "pillow-heif"),
        ),
        ("import ray", {"ray": "import wandb"}, f"wandb, which the extra [wandb] brings: {install('wandb')}"),
        ("import ray", {}, f"ray, which the extra [ray] brings: {install('ray')}"),
        # Errors of others, and not of packages.
        ("import birds", {"birds": BROKEN}, ""),
        ("from preprocess.text import nonsense", {}, ""),
        ("import preprocess.nonsense", {}, ""),
        ("import ray; ray.call()", {"ray": f"def call(): {BROKEN}"}, ""),
        ("import ray", {"ray": "raise MemoryError"}, ""),
        ("import ray", {"ray": "raise OSError(28, 'No space left on device')"}, ""),
    ],
)
def test_an_error_tells_which_package_is_missing_or_broken(statement, packages, expected, tmp_path, monkeypatch):
    for name in ("birds", "pillow_heif", "ray", "wandb"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        if name not in packages:
            monkeypatch.setitem(sys.modules, name, None)
        else:
            (tmp_path / name).mkdir()
            (tmp_path / name / "__init__.py").write_text(packages[name])
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any type
        exec(statement, {"__name__": "preprocess.somewhere"})
    expected = expected.replace("PATH", str(tmp_path / "ray" / "__init__.py"))
    assert explain(caught.value, what="x") == (f"x needs {expected}" if expected else "")


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("-m preprocess inspect data/cub.h5", "click"),
        ("-m lgcoamix train --shards data/cub.h5 --augment light", "cv2"),
    ],
)
def test_a_command_with_a_broken_package_says_one_line(command, module, run_warm, examples, tmp_path):
    (tmp_path / f"{module}.py").write_text(BROKEN)
    (tmp_path / "sitecustomize.py").write_text(FORGET.format(blocked={module}))
    done = run_warm(*command.split(), cwd=examples, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 1
    (told,) = done.stderr.splitlines()
    assert told.startswith("Error: ")
    assert told.endswith(REINSTALL.format("libray.so: no such file", MODULES[module][0]))


def test_no_message_says_that_the_package_is_on_an_index():
    files = [path for name in ("lgcoamix", "preprocess") for path in (ROOT / name).rglob("*") if path.suffix != ".pyc"]
    for path in (path for path in (ROOT / "README.md", *files) if path.suffix in (".py", ".md")):
        assert not re.search(r"pip install '?lgcoamix(\[|\b(?!-))", path.read_text()), path
