"""``--compile`` on a machine whose C++ compiler is missing or lacks a header: one line that says what to do."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
import torch._inductor.config
from click.testing import CliRunner

from lgcoamix.cli import main
from lgcoamix.cli.common import friendly
from tests.conftest import PROOF

slow = pytest.mark.skipif(not PROOF, reason="imports the compiler, and traces a network: LGCOAMIX_PROOF=1")
BROKEN = """#!/bin/sh
case "$1" in --version) echo "g++ (GCC) 12.2.0"; exit 0;; esac
echo "/tmp/x.cpp:1:10: fatal error: omp.h: No such file or directory" >&2
exit 1
"""
CASES = {"missing": "No working C++ compiler found", "broken": "error: omp.h: No such file or directory"}
REMEDY = (
    "; it needs a C++ compiler with OpenMP (g++, or the one in CXX) and Python's headers: install them, or repeat with "
    "--no-compile\n"
)


@click.command()
@friendly
def compiling() -> None:
    """Compile something small."""
    torch.compile(lambda values: values.sin() + 1)(torch.ones(8))


@pytest.fixture(params=CASES)
def said(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """What the compiler's fault is called. No earlier code is found."""
    compiler = tmp_path / "g++"
    if request.param == "broken":
        compiler.write_text(BROKEN)
        compiler.chmod(0o755)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    torch.compiler.reset()
    changes = {"cpp.cxx": (None, str(compiler)), "compile_threads": 1, "fx_graph_cache": False}
    with torch._inductor.config.patch(changes):
        yield CASES[request.param]


def test_an_error_of_the_compiler_is_said_in_one_line():
    def failing() -> None:
        from torch._inductor.exc import CppCompileError

        raise CppCompileError(["g++", "/tmp/x.cpp"], "/tmp/x.cpp:1:10: fatal error: omp.h: No such file or directory")

    done = CliRunner().invoke(click.command()(friendly(failing)))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"Error: --compile: {CASES['broken']}{REMEDY}"


@slow
def test_a_compiler_that_is_missing_or_broken_is_said_in_one_line(said):
    done = CliRunner().invoke(compiling)
    assert done.exit_code == 1, done.output
    line = done.stderr.splitlines(keepends=True)[-1]
    assert line.startswith("Error: --compile: ")
    assert said in line
    assert line.endswith(REMEDY)
    assert "Traceback" not in done.output


def test_other_faults_of_compiling_name_the_way_around():
    def unknown() -> None:
        torch.compile(lambda values: values + 1, backend="nonsense")(torch.ones(8))

    done = CliRunner().invoke(click.command()(friendly(unknown)))
    assert done.exit_code == 1, done.output
    assert done.stderr.startswith("Error: --compile: ")
    assert done.stderr.endswith("; repeat with --no-compile\n")
    assert "C++" not in done.stderr


@slow
def test_a_training_says_so_too(said, flowers_store, tmp_path):
    words = (
        f"train --shards {flowers_store} --mixer cutmix --backbone resnet10t --weights none --image-size 32 --epochs 1"
    )
    more = f"--compile --device cpu --workers 0 --no-tensorboard --no-pictures --out {tmp_path / 'run'}"
    done = CliRunner().invoke(main, [*words.split(), *more.split()])
    assert done.exit_code == 1, done.output
    assert said in done.stderr.splitlines()[-1]
    assert done.stderr.endswith(REMEDY)
