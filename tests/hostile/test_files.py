"""Every command with stores, models, runs, archives and servers of somebody who means harm. See ``contract.py``."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROOF, ROOT
from tests.hostile.campaign import TABLES, Campaign, in_turn, spaced
from tests.hostile.contract import Command, Told, faults, listed, make_arena
from tests.hostile.kinds import KINDS, mutants
from tests.hostile.sound import TOKEN
from tests.warm import Warm

CASES = 100_000 if PROOF else 4  # of each kind, evenly spaced
MUTANTS = 300 if PROOF else 3
SEED = 1_000
COMMANDS = 0 if PROOF else 2  # for each case, in turn; 0 for all


@pytest.fixture(scope="module")
def campaign(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, warm: Warm
) -> Iterator[Campaign]:
    python = sys.executable if PROOF else warm.python
    campaign = Campaign(tmp_path_factory.mktemp("hostile"), measure=PROOF, python=python)
    yield campaign
    campaign.close()
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    for line in campaign.counts() if reporter else ():
        reporter.write_line(line)


@pytest.mark.parametrize("kind", KINDS)
def test_no_command_breaks_the_contract_with_a_crafted_file(kind: str, campaign: Campaign) -> None:
    family, make = KINDS[kind]
    chosen = spaced(list(make()), CASES)
    found = [
        campaign.try_case(kind, case, TABLES[family], in_turn(family, turn, COMMANDS))
        for turn, case in enumerate(chosen)
    ]
    assert not (lines := [str(finding) for findings in found for finding in findings]), "\n".join(lines)


@pytest.mark.parametrize("family", ["stores", "models", "runs"])
def test_no_command_breaks_the_contract_with_a_mutant(family: str, campaign: Campaign) -> None:
    found = []
    for turn, case in enumerate(mutants(family, SEED, MUTANTS)):
        found += campaign.try_case(f"mutants of {family}", case, TABLES[family], in_turn(family, turn, COMMANDS))
    assert not found, "\n".join(map(str, found))


def _told(code: int = 1, out: str = "", err: str = "Error: no\n", events: tuple = ()) -> Told:
    return Told(code, out, err, seconds=1.0, peak=0, late=False, left=False, events=list(events))


def _found(arena: Path, told: Told, before: dict, verbatim: str = "") -> list[str]:
    return list(faults(told, Command(("x",), ("work/mine",)), arena, before, verbatim))


@pytest.fixture
def arena(tmp_path: Path) -> Path:
    make_arena(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("told", "verbatim", "fault"),
    [
        (_told(), "", ""),
        (_told(0, "all is well\n", ""), "", ""),
        (_told(3), "", "exit code 3"),
        (_told(-11), "", "exit code -11"),
        (_told(err=""), "", "no message"),
        (_told(err="Traceback (most recent call last)\nError: no\n"), "", "Traceback: Error: no"),
        (_told(out="zebra\x1b[2J"), "", "control characters: '\\x1b'"),
        (_told(out="zebra\u202etxt"), "", "control characters: '\\u202e'"),
        (_told(out="zebra\nforged: line"), "", "forged line"),
        (_told(out=TOKEN.decode()), "", "secret: printed"),
        (_told(out="zebra"), "[bold]zebra[/bold]", "markup: zebra without [bold]zebra[/bold]"),
        (_told(out="[bold]zebra[/bold]"), "[bold]zebra[/bold]", ""),
        (_told(events=(["os.system", "true"],)), "", "event: os.system true"),
    ],
)
def test_what_a_command_says_is_judged(told: Told, verbatim: str, fault: str, arena: Path) -> None:
    assert _found(arena, told, listed(arena), verbatim) == [fault] * bool(fault)


def test_what_a_command_writes_is_judged(arena: Path) -> None:
    before = listed(arena)
    (arena / "work" / "mine").write_bytes(TOKEN)
    (arena / "work" / "other").touch()
    assert _found(arena, _told(), before) == ["changed: work/other", "work/mine: secret: written"]
    with (arena / "work" / "mine").with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file).writerow(["a", "=1+1"])
    assert "work/mine.csv: formula: a cell that a spreadsheet would run" in _found(arena, _told(), before)


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("os.system('true')", "os.system"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "socket.connect"),
        ("open('../outside', 'w')", "open"),
        ("os.rename('kept', '../outside')", "os.rename"),
        ("import pickle; pickle.loads(b'cos\\nsystem\\n.')", "pickle.find_class"),
        ("open('kept', 'w').close(); open('../kept')", ""),
    ],
)
def test_what_a_process_does_is_watched_and_forbidden(code: str, event: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "kept").touch()
    start = "import os, sys; from tests.hostile.audit import watch; watch(2, [os.getcwd()], [])\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{start}try:\n    {code}\nexcept PermissionError: pass"],
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)[0] for line in done.stderr.splitlines()] == [event] * bool(event)
    assert not (tmp_path / "outside").exists()
