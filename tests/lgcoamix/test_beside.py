"""A user's folder may hold a ``preprocess.py``: commands take the package, a library says whose the module is."""

import shutil
import sys
import timeit
from pathlib import Path

import pytest

from lgcoamix import beside
from tests.conftest import PROOF, ROOT, Run
from tests.test_rooms import MODULES, imported

THEIRS = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
TINY = (
    *("--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--batch-size", "9", "--epochs", "1"),
    *("--device", "cpu", "--no-tensorboard", "--no-pictures"),
)
# The default of Python 3.14 and of other systems, for the workers of a DataLoader.
SPAWN = "import multiprocessing\nmultiprocessing.set_start_method('spawn')\n"


@pytest.fixture(params=["preprocess.py", "preprocess/__init__.py"])
def home(request, tmp_path) -> Path:
    """A working folder with a module of that name, which leaves a file when it runs."""
    path = tmp_path / "home" / request.param
    path.parent.mkdir(parents=True)
    path.write_text(THEIRS)
    return tmp_path / "home"


def has_run(home: Path) -> bool:
    return bool(list(home.rglob("ran")))


def script(run: Run, home: Path, text: str, name: str = "script.py") -> str:
    """Run a script of the user there; return the last line that it says."""
    (home / name).write_text(text)
    done = run(name, cwd=home)
    return (done.stdout if done.returncode == 0 else done.stderr).splitlines()[-1]


def test_commands_of_both_stages_answer_there(home, run):
    shutil.copy(ROOT / "train.py", home)
    for command, answer in (
        (("-m", "lgcoamix", "preprocess", "build", "--help"), "Usage: python -m lgcoamix preprocess build"),
        (("-m", "lgcoamix", "train", "--list-recipes"), "cub-resnet18"),
        (("train.py", "--help"), "Usage: train.py"),
    ):
        done = run(*command, cwd=home)
        assert done.returncode == 0, done.stderr
        assert answer in done.stdout
    assert not has_run(home)


def test_a_worker_that_starts_anew_takes_what_its_parent_has(tmp_path, run):
    (tmp_path / "preprocess.py").write_text(THEIRS)
    code = (
        "import multiprocessing, lgcoamix.__main__, lgcoamix.runs.lock as lock, pathlib\n"
        "worker = multiprocessing.get_context('spawn').Process(target=lock.is_taken, args=(pathlib.Path('run'),))\n"
        "worker.start(); worker.join(); print(worker.exitcode)"
    )
    done = run("-c", code, cwd=tmp_path)
    assert done.stdout == "0\n", done.stderr
    assert not has_run(tmp_path)


@pytest.mark.skipif(not PROOF, reason="make proof")
@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_training_with_workers_there(start, tmp_path, run, flowers_store):
    (tmp_path / "preprocess.py").write_text(THEIRS)
    (tmp_path / "sitecustomize.py").write_text(SPAWN if start == "spawn" else "")
    options = ("--shards", flowers_store, "--workers", "2", "--out", "run", *TINY)
    done = run("-m", "lgcoamix", "train", *options, cwd=tmp_path, PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "results.json").is_file()
    assert not has_run(tmp_path)


def test_a_script_there_is_told_what_was_found_what_is_needed_and_what_to_do(home, run):
    theirs = next(home.rglob("preprocess*"))
    told = script(run, home, "from lgcoamix import SuperpixelDataset\n")
    assert told == (
        f"ImportError: lgcoamix needs the package preprocess that was installed with it "
        f"({ROOT / 'preprocess' / '__init__.py'}), but here `import preprocess` gives {theirs}: rename that, or run "
        "from another folder"
    )
    assert not has_run(home)


@pytest.mark.parametrize("name", ["data", "training", "runs", "export", "cli"])
def test_rooms_that_need_it_say_so_when_they_are_imported(name, home, run):
    assert "ImportError: lgcoamix needs the package preprocess" in script(run, home, f"import lgcoamix.{name}\n")
    assert not has_run(home)


def test_the_same_where_their_module_was_imported_before(home, run):
    told = script(run, home, "import preprocess\nfrom lgcoamix import SuperpixelDataset\n")
    assert f"gives {next(home.rglob('preprocess*'))}: rename" in told


def test_the_same_for_a_script_of_this_name(tmp_path, run):
    told = script(run, tmp_path, "from lgcoamix import SuperpixelDataset\n", "preprocess.py")
    assert f"gives {tmp_path / 'preprocess.py'}: rename" in told


def test_the_same_for_a_module_that_has_no_file(tmp_path, run):
    text = "import sys, types\nsys.modules['preprocess'] = types.ModuleType('preprocess')\nimport lgcoamix.data\n"
    assert "gives a module without a file: rename" in script(run, tmp_path, text)


def test_what_does_not_need_it_works_there(home, run):
    assert script(run, home, "from lgcoamix import RECIPES, Settings\nprint(len(RECIPES) > 0)\n") == "True"
    assert not has_run(home)


def test_a_folder_without_code_is_no_module(tmp_path, run):
    (tmp_path / "preprocess").mkdir()
    assert script(run, tmp_path, "import lgcoamix.runs, preprocess\nprint(preprocess.__file__)\n") == str(
        ROOT / "preprocess" / "__init__.py"
    )


def test_a_link_to_the_package_is_the_package(tmp_path, run):
    (tmp_path / "preprocess").symlink_to(ROOT / "preprocess")
    assert script(run, tmp_path, "import lgcoamix.runs\nprint('fine')\n") == "fine"


def test_a_command_whose_interpreter_has_imported_another_one_ends_with_one_line(tmp_path, run):
    (tmp_path / "preprocess.py").write_text(THEIRS)
    (tmp_path / "sitecustomize.py").write_text("import preprocess\n")
    done = run("-m", "lgcoamix", "train", "--help", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: lgcoamix needs the package preprocess")
    assert done.stderr.count("\n") == 1


def test_the_order_of_the_path_stays(tmp_path, run):
    (tmp_path / "preprocess.py").write_text(THEIRS)
    code = "import sys; before = [*sys.path]; import lgcoamix.__main__, preprocess; print(sys.path == before)"
    assert run("-c", code, cwd=tmp_path).stdout == "True\n"
    assert not has_run(tmp_path)


def test_every_room_that_imports_the_package_looks_first():
    rooms = {name: path.parent for name, path in MODULES.items() if name.startswith("lgcoamix.")}
    needing = {name for name in rooms if any(other.startswith("preprocess") for other in imported(name))}
    for name in needing - {"lgcoamix.__main__"}:  # it loads the package
        room = MODULES[".".join(name.split(".")[:2])]
        first = room.read_text("utf-8") if room.name == "__init__.py" else ""
        own = MODULES[name].read_text("utf-8")
        assert "import lgcoamix.beside.checked" in first + own, f"{name} imports preprocess unseen"


def test_a_look_costs_microseconds():
    assert sys.modules["preprocess"]
    assert min(timeit.repeat(beside.check, number=20, repeat=5)) / 20 < 1e-3
