"""Run commands over cases, and gather what broke the contract."""

import itertools
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hostile import commands
from tests.hostile.case import REFUSED, SOUND, Case, Place
from tests.hostile.contract import SECONDS, Command, Server, Told, faults, fresh, listed, make_arena
from tests.hostile.kinds.archives import described
from tests.hostile.kinds.servers import serving
from tests.hostile.sound import SMALL, make_outside, make_stores

_SHOWN = 4  # faults of one command with one case
# Commands that judge the content of a store by using it: whatever they refuse, verify refuses as well.
_USERS = ("train", "export", "evaluate")
# Refusals for which the content is sound, but not enough for the command.
_NEEDS = ("has no split", "has no superpixels", "classes", "is too small", "has no maps", "has no test")

# What even the sound thing is refused for, or differs.
_NO_ANSWER = {
    *(("model", "export of it"), ("coded", "diff"), ("coded", "build"), ("coded", "build --update")),
    *(("packed", "build"), ("packed", "build --update"), ("packed", "pack"), ("coded", "evaluate"), ("coded", "train")),
}


@dataclass(frozen=True)
class Finding:
    """One command that broke the contract with one case."""

    kind: str
    case: str
    command: str
    fault: str

    def __str__(self) -> str:
        return f"{self.kind} / {self.case} / {self.command}: {self.fault}"


class Campaign:
    """A workplace with sound things, and the counts of what was tried.

    Parameters
    ----------
    home : an empty folder.
    measure : run each command over what is sound first, to know its time, and that it keeps the contract.
    python : that runs the commands.
    """

    def __init__(self, home: Path, measure: bool = True, python: str | Path = sys.executable) -> None:
        self.measure = measure
        self.home, self.sound = home, home / "sound"
        self.tried: Counter[tuple[str, str, str]] = Counter()  # kind, command, outcome
        self.findings: list[Finding] = []
        self.server = Server(home, python)
        self._honest: dict[tuple[str, str], float] = {}
        self._number = itertools.count()
        make_stores(self.sound)
        (self.sound / "nothing").mkdir()
        self._train()
        self.before = listed(self.sound)

    def _train(self) -> None:
        """Make a sound run and a sound model."""
        arena = self.home / "first"
        make_arena(arena)
        train = ("lgcoamix", "train", "--shards", "{sound}/raw/x.h5", "--mixer", "superpixel_grid", *SMALL)
        export = ("lgcoamix", "export", "--checkpoint", "{sound}/run", "--out", "{sound}/model")
        for argv in ((*train, "--out", "{sound}/run"), export):
            told = self.server.run(Command(argv, ("../sound",)), arena, self.sound, seconds=120)
            assert told.code == 0, told.text

    def counts(self) -> Iterator[str]:
        """How many were tried, by kind and command, and how they ended."""
        for kind in dict.fromkeys(kind for kind, _, _ in self.tried):
            mine = {(name, end): count for (of, name, end), count in self.tried.items() if of == kind}
            yield f"{kind}: {sum(mine.values())} runs"
            for name in dict.fromkeys(name for name, _ in mine):
                ends = {end: mine.get((name, end), 0) for end in ("refused", "accepted", "broken")}
                yield f"  {name}: " + ", ".join(f"{count} {end}" for end, count in ends.items())

    def close(self) -> None:
        self.server.close()
        assert listed(self.sound) == self.before, "a command changed what is sound and outside of its case"

    def try_case(self, kind: str, case: Case, table: dict[str, Command], names: Iterable[str]) -> list[Finding]:
        """Run some commands of a table over a case."""
        found: list[Finding] = []
        told: dict[str, Told] = {}
        for name in names:
            told[name], wrong = self._attempt(case, name, table[name])
            found += [Finding(kind, case.name, name, fault) for fault in wrong]
            outcome = "broken" if wrong else "refused" if told[name].code else "accepted"
            self.tried[kind, name, outcome] += 1
        found += [Finding(kind, case.name, "verify", fault) for fault in _promises(told)]
        self.findings += found
        return found

    def _attempt(self, case: Case, name: str, command: Command, patient: bool = False) -> tuple[Told, list[str]]:
        seconds = self._seconds(case.base, name, command) * (1 + 2 * patient)
        arena = self.home / f"arena-{next(self._number)}"
        try:
            self._fill(arena, case, command)
            before = listed(arena)
            told = self._run(case, command, arena, seconds)
            if told.late and not patient:  # the machine may be busy
                fresh(arena)
                return self._attempt(case, name, command, patient=True)
            wrong = [*_expectation(case, name, told), *faults(told, command, arena, before, case.verbatim)]
            return told, wrong[:_SHOWN]
        finally:
            fresh(arena)

    def _run(self, case: Case, command: Command, arena: Path, seconds: float) -> Told:
        if case.answer is not None:
            with serving(case.answer) as (port, archive):
                told = self.server.run(command, arena, self.sound, seconds, archive=archive, ports=[port])
            # A mirror may be anywhere: to ask for where it leads is no fault, though nobody answers here.
            told.events = [event for event in told.events if not event[0].startswith("socket.")]
            return told
        archive = described(arena / "given") if case.base == "nothing" else None
        return self.server.run(command, arena, self.sound, seconds, archive=archive)

    def _fill(self, arena: Path, case: Case, command: Command) -> None:
        make_arena(arena)
        make_outside(arena / "outside", self.sound / "outside-shard.h5")
        shutil.copytree(self.sound / case.base, arena / "given")
        case.make(Place(arena / "given", arena / "outside", self.sound))
        if command.removes:
            (arena / "given" / command.removes).unlink(missing_ok=True)

    def _seconds(self, base: str, name: str, command: Command) -> float:
        """Its honest work, measured once and found to keep the contract itself, and 10 s."""
        if base == "nothing" or not self.measure:
            return 2 * SECONDS  # an archive of a gigabyte takes some seconds to read
        if (base, name) not in self._honest:
            self._honest[base, name] = 60.0
            told, wrong = self._attempt(Case("sound", lambda place: None, base=base), name, command)
            wrong += [told.text] if told.code and (base, name) not in _NO_ANSWER else []
            assert not wrong, f"{name} breaks the contract with what is sound: {wrong}"
            self._honest[base, name] = told.seconds
        return self._honest[base, name] + SECONDS


def _expectation(case: Case, name: str, told: Told) -> Iterator[str]:
    said = told.err.strip().splitlines()[-1][:300] if told.err.strip() else ""
    if case.expect == REFUSED and name in case.readers and told.code == 0:
        yield "accepted"
    if case.expect == SOUND and told.code and name in (case.readers or commands.ALL - {"diff"}):
        yield f"refused: {said}"


def _promises(told: dict[str, Told]) -> Iterator[str]:
    if "verify" not in told or told["verify"].code != 0:
        return
    for name in _USERS:
        if name in told and told[name].code == 1 and not any(need in told[name].err for need in _NEEDS):
            yield f"says intact, but {name} refuses: {told[name].err.strip().splitlines()[-1][:300]}"


TABLES = {
    "stores": commands.STORES,
    "models": commands.MODELS,
    "runs": commands.RUNS,
    "archives": {"build cub": commands.BUILD_CUB},
    "servers": {"build cub": commands.BUILD_CUB},
}


def in_turn(family: str, turn: int, count: int) -> list[str]:
    """``verify`` and others in turn, ``count`` in all, so that a few cases meet every command; all if it is 0."""
    names = list(TABLES[family])
    if count == 0 or count >= len(names):
        return names
    first = ["verify"] if "verify" in names else []
    others = [name for name in names if name not in first]
    mine = range(turn * (count - len(first)), (turn + 1) * (count - len(first)))
    return [*first, *(others[place % len(others)] for place in mine)]


def spaced(cases: list[Case], most: int) -> list[Case]:
    """At most so many cases, evenly spaced."""
    return [cases[place * len(cases) // most] for place in range(most)] if len(cases) > most else cases
