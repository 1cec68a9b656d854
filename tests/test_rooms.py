"""Imports run down. The rule is read by syntax tree from all files, so that no lazy import escapes it."""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The highest floor first. A room imports rooms of lower floors only.
FLOORS = (
    {"lgcoamix.cli"},
    {"lgcoamix.profiling"},
    {"lgcoamix.training"},
    {"lgcoamix.export"},
    {"lgcoamix.evaluation"},
    {"lgcoamix.runs"},
    {"lgcoamix.mixing", "lgcoamix.data", "lgcoamix.recipes"},
    {"lgcoamix.models"},
    {"lgcoamix.ops"},
    {"lgcoamix.settings"},
    {"lgcoamix.beside", "lgcoamix.errors"},
    {"preprocess.cli"},
    {"preprocess.inspect"},
    {"preprocess.build"},
    {"preprocess.raw"},
    {"preprocess.datasets", "preprocess.store"},
    {"preprocess.superpixels"},
    {"preprocess.images", "preprocess.schema"},
    {"preprocess.outputs"},
    {
        "preprocess.files",
        "preprocess.formats",
        "preprocess.inputs",
        "preprocess.machine",
        "preprocess.parameters",
        "preprocess.suspicious",
        "preprocess.terminal",
        "preprocess.warned",
    },
    {"preprocess.interrupt"},
    {"preprocess.errors", "preprocess.extras", "preprocess.here", "preprocess.text"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("lgcoamix", "preprocess")
    for path in (ROOT / package).rglob("*.py")
}
FACES = {"lgcoamix", "preprocess", "lgcoamix.__main__", "preprocess.__main__"}  # they stand before all rooms


def room(module: str) -> str:
    """``lgcoamix.data.loader`` is in the room ``lgcoamix.data``."""
    return ".".join(module.split(".")[:2])


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Every module that a file imports, wherever the statement stands, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = ""
            if node.level:
                parts = module.split(".")
                home = ".".join(parts[: len(parts) - node.level + is_package])
            base = ".".join(filter(None, (home, node.module)))
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES or base in FACES else base
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            first = node.args[0] if node.args else None
            yield first.value if isinstance(first, ast.Constant) else "a name that is computed"


@cache
def imported(module: str) -> frozenset[str]:
    path = MODULES[module]
    return frozenset(imports(ast.parse(path.read_text("utf-8")), module, path.name == "__init__.py")) - {module}


def reached(*modules: str) -> set[str]:
    """All of our modules that some need in the end, with those of the packages that hold them."""
    found: set[str] = set()
    todo = [name for name in MODULES if any(name == module or name.startswith(f"{module}.") for module in modules)]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            parents = {name.rpartition(".")[0]} & MODULES.keys() - FACES
            todo += [other for other in imported(name) | parents if other in MODULES]
    return found


def foreign(*modules: str) -> set[str]:
    """Packages from outside that some modules need in the end."""
    names = {other.split(".")[0] for name in reached(*modules) for other in imported(name)}
    return names - sys.stdlib_module_names - {"lgcoamix", "preprocess"}


@pytest.mark.parametrize("module", sorted(MODULES.keys() - FACES))
def test_imports_run_down(module):
    mine = room(module)
    assert mine in FLOOR, f"{mine} has no floor in {Path(__file__).name}"
    for other in imported(module):
        assert other != "a name that is computed", f"{module} imports a name that cannot be read here"
        if other == "lgcoamix.__version__":
            continue
        assert room(other) in FLOOR or other.split(".")[0] not in FACES, (
            f"{module} imports {other} from the public face"
        )
        if other.split(".")[0] in ("lgcoamix", "preprocess") and room(other) != mine:
            assert FLOOR[mine] < FLOOR[room(other)], f"{module} imports {other}, which is not below it"


def test_no_module_reaches_itself():
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " > ".join((*above, module))
        if module not in done:
            for other in sorted(imported(module) & MODULES.keys() - FACES):
                visit(other, (*above, module))
            done.add(module)

    for module in sorted(MODULES.keys() - FACES):
        visit(module, ())


def test_what_computes_needs_torch_timm_and_numpy_alone():
    assert foreign("lgcoamix.ops") == {"torch", "numpy"}
    assert foreign("lgcoamix.mixing", "lgcoamix.models") == {"torch", "timm", "numpy"}


def test_settings_and_recipes_need_nothing_from_outside():
    assert foreign("lgcoamix.settings", "lgcoamix.recipes") == set()


def test_only_the_store_imports_h5py():
    assert {room(name) for name in MODULES if "h5py" in imported(name)} == {"preprocess.store"}


def test_all_that_is_printed_passes_one_door():
    doors = {"rich.console.Console", "rich.text.Text", "rich.markup.escape", "rich.print"}
    for module in MODULES.keys() - {"preprocess.terminal"}:
        tree = ast.parse(MODULES[module].read_text("utf-8"))
        names = {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        echoes = [node for node in ast.walk(tree) if getattr(node, "attr", "") in ("echo", "secho")]
        assert not names & doors, f"{module} prints past preprocess.terminal"
        assert not echoes, f"{module} prints past preprocess.terminal"


def test_the_offline_stage_imports_neither_torch_nor_the_training_side():
    names = {name for name in MODULES if name.startswith("preprocess")}
    needed = {other.split(".")[0] for name in names for other in imported(name)}
    assert not needed & {"torch", "torchvision", "timm", "lgcoamix", "albumentations"}


def test_the_reader_of_imports_sees_them_wherever_they_stand():
    text = "def f():\n    from lgcoamix.cli import common\n    import_module('timm.x')\nfrom ..data import loader"
    found = set(imports(ast.parse(text), "lgcoamix.ops.pooling", False))
    assert found == {"lgcoamix.cli.common", "timm.x", "lgcoamix.data.loader"}


def test_pytest_looks_into_every_folder_of_tests(pytestconfig):
    left_out = pytestconfig.getini("norecursedirs")
    folders = {folder for path in (ROOT / "tests").rglob("test_*.py") for folder in path.relative_to(ROOT).parent.parts}
    assert not [name for name in folders if any(fnmatch(name, pattern) for pattern in left_out)]
