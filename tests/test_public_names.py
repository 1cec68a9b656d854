"""The public face of both packages: names that load when they are used, each with an example that runs."""

import ast
import doctest
import importlib
import json
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("lgcoamix", "preprocess")
USER = ROOT / "tests" / "typing" / "user.py"
LOADED = "print(json.dumps(sorted(set(sys.modules) - before)))"
NAMES = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]


def test_importing_a_package_loads_nothing_from_outside(run):
    done = run("-c", "import json, sys; before = set(sys.modules)\nimport lgcoamix, preprocess\n" + LOADED)
    assert done.returncode == 0, done.stderr
    assert {name.split(".")[0] for name in json.loads(done.stdout)} - sys.stdlib_module_names == set(PACKAGES)


@pytest.mark.parametrize(("package", "name"), NAMES, ids=lambda value: value)
def test_every_public_name_is_there_and_its_example_runs(package, name, examples, monkeypatch):
    module = importlib.import_module(package)
    assert name in dir(module)
    thing = getattr(module, name)
    if not callable(thing):
        return  # a version, a dictionary
    assert ">>> " in (thing.__doc__ or ""), f"{package}.{name} has no Examples"
    monkeypatch.chdir(examples)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=flags)
    test = doctest.DocTestParser().get_doctest(thing.__doc__, {}, f"{package}.{name}", None, None)
    said: list[str] = []
    runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_that_is_not_there_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'slick'"):
        _ = importlib.import_module(package).slick


def imported(path: Path) -> dict[str, str]:
    """The names that a file takes from modules, each with its module."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name: node.module or "" for node in nodes for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_type_checker_sees_each_name_from_where_it_is_loaded(package):
    module = importlib.import_module(package)
    stub = ROOT / package / "__init__.pyi"
    assert imported(stub) == module._HOME
    assigned = {node.target.id for node in ast.parse(stub.read_text()).body if isinstance(node, ast.AnnAssign)}
    assert set(module.__all__) == module._HOME.keys() | assigned


def test_the_file_of_a_user_has_every_name_and_runs(run_warm, examples):
    names = {(package, name) for name, package in imported(USER).items() if package in PACKAGES}
    assert names == set(NAMES) - {("lgcoamix", "__version__")}  # which it reads from the package
    done = run_warm(USER, cwd=examples)
    assert done.returncode == 0, done.stderr
