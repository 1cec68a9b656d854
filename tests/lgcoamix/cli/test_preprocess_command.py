"""``lgcoamix preprocess``: all of ``python -m preprocess``, under another name."""

import pytest
from click.testing import CliRunner

from lgcoamix.cli import main as lgcoamix
from preprocess.cli import main as preprocess

LINES = [
    [],
    ["--help"],
    ["-h"],
    ["--no-such-option"],
    ["biuld"],
    ["--", "datasets", "--help"],
    *([name, "--help"] for name in preprocess.commands if name != "build"),
    *([name, "--no-such-option"] for name in preprocess.commands),
    ["build", "nothing"],
    ["build", "folder", "--jobs", "many"],
    ["inspect", "no-such-store.h5"],
    ["verify", "--", "-x"],
]


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_help_usage_and_errors_are_those_of_the_offline_stage(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = CliRunner().invoke(preprocess, line, prog_name="lgcoamix preprocess")
    found = CliRunner().invoke(lgcoamix, ["preprocess", *line], prog_name="lgcoamix")
    assert (found.exit_code, found.output) == (expected.exit_code, expected.output)
    assert expected.exit_code in (0, 2)


def test_build_has_one_more_option():
    own = CliRunner().invoke(preprocess, ["build", "--help"], prog_name="lgcoamix preprocess").output.splitlines()
    found = CliRunner().invoke(lgcoamix, ["preprocess", "build", "--help"], prog_name="lgcoamix").output.splitlines()
    more = [line for line in found if line not in own]
    assert [line for line in own if line not in found] == []
    assert more[0].split()[:2] == ["--recipe", "NAME"]
    assert all(line.startswith(" " * 10) for line in more[1:])  # its text goes on
    assert "--recipe" not in [option for each in preprocess.commands["build"].params for option in each.opts]


@pytest.mark.parametrize(("corrupt", "code"), [(False, 0), (True, 1)])
def test_the_exit_code_is_that_of_the_command(corrupt, code, tmp_path, flowers_store):
    store = flowers_store
    if corrupt:
        store = tmp_path / "x.h5"
        store.write_bytes(b"no HDF5")
    found = CliRunner().invoke(lgcoamix, ["preprocess", "inspect", str(store)])
    assert found.exit_code == code, found.output


@pytest.mark.parametrize("program", ["lgcoamix", "preprocess"])
def test_a_process_names_the_command_as_it_was_called(program, run):
    called = {"lgcoamix": ["lgcoamix", "preprocess"], "preprocess": ["preprocess"]}[program]
    done = run("-m", *called, "verify")
    assert done.returncode == 2
    assert done.stderr.startswith(f"Usage: python -m {' '.join(called)} verify [OPTIONS] STORE\n")


def test_help_needs_no_torch_and_that_of_lgcoamix_no_numpy(run):
    code = (
        "import sys\nfrom lgcoamix.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\nprint('numpy' in sys.modules, 'torch' in sys.modules)"
    )
    assert run("-c", code, "--help").stdout.endswith("False False\n")
    done = run(
        "-c", f"import atexit, sys\natexit.register(lambda: print('torch' in sys.modules))\n{code}", "preprocess"
    )
    assert done.stdout.endswith("False\n")
