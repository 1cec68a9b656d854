"""Run the parts within a budget, and write one JSON and the tables of a README."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.gpu import PARTS
from tests.gpu.carried import STORE, TINY, take_store, take_wheels

_NEEDED = {"torch": "a Python that has it", "timm": "`make gpu-wheels`", "click": "`make gpu-wheels`"}


def main() -> int:
    """Return 0, or 1 if something failed."""
    begin = time.monotonic()
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # to look for a GPU must not use it: the parts are forks
    given = _arguments().parse_args()
    if unknown := [name for name in given.parts if name not in PARTS]:
        _arguments().error(f"no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="gpu-") as scratch:
        wheels = take_wheels(given.carried, Path(scratch) / "site")
        missing = [f"{name} (from {source})" for name, source in _NEEDED.items() if find_spec(name) is None]
        if missing:
            sys.exit(f"Error: missing here: {', '.join(missing)}; {len(wheels)} wheels in {given.carried} fit")
        return _run(given, wheels, Path(scratch), begin)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="only these parts")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="everything tiny: tries the path, and measures nothing")
    parser.add_argument("--carried", type=Path, default=Path("data/gpu"), help="folder of wheels and the store")
    parser.add_argument("--store", type=Path, help=f"the store, if not CARRIED/{STORE}")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for gpu.json and gpu.md")
    parser.add_argument("--minutes", type=float, default=9.0)
    return parser


def _run(given: argparse.Namespace, wheels: list[str], scratch: Path, begin: float) -> int:
    from preprocess.files import write_whole
    from preprocess.terminal import say
    from tests.gpu.day import Outcome, markdown, run_part, run_parts
    from tests.gpu.parts import machine, make_parts
    from tests.gpu.setup import Setup

    path = given.store or given.carried / (TINY if given.quick else STORE)
    if given.quick and not path.exists():
        path = _tiny(scratch) or path
    store = take_store(path, scratch) if path.exists() or given.store else None
    setup = Setup(given.device, given.quick, store, scratch)
    parts = make_parts(setup)
    chosen = {name: parts[name] for name in PARTS if name in (given.parts or PARTS)}
    here = run_part(machine(setup), 60.0)
    if not here.rows:
        told = {**{name: found["error"] for name, found in here.failed.items()}, **here.left_out}
        sys.exit(f"Error: {'; '.join(told.values())}")
    report: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(given),
        "commit": _commit(),
        "machine": here.rows[0],
        "wheels": wheels,
        "store": None if store is None else {"path": str(path), "bytes": path.stat().st_size},
        "parts": {},
    }
    outcomes: dict[str, Outcome] = {}

    def done(name: str, outcome: Outcome) -> None:
        """Write what there is by now, and say what came."""
        outcomes[name] = outcome
        report["parts"][name] = outcome.plain()
        report["seconds"] = round(time.monotonic() - begin, 1)
        report["failed"] = sorted(name for name, part in outcomes.items() if part.failed)
        write_whole(given.out / "gpu.json", (json.dumps(report, indent=1) + "\n").encode())
        text = f"{_heading(report)}\n\n{markdown(parts, outcomes)}"
        write_whole(given.out / "gpu.md", text.encode())
        counts = f"{len(outcome.rows)} rows, {len(outcome.left_out)} left out, {len(outcome.failed)} failed"
        say(f"{name}: {counts}, {outcome.took:.0f} of {outcome.given:.0f} s")
        for item, found in outcome.failed.items():
            say(f"  {item}: {found['error']}")

    given.out.mkdir(parents=True, exist_ok=True)
    run_parts(chosen, 60 * given.minutes - (time.monotonic() - begin), done, time.monotonic)
    say(f"wrote {given.out / 'gpu.json'} and {given.out / 'gpu.md'} after {report['seconds']:.0f} s")
    return 1 if report["failed"] else 0


def _command(given: argparse.Namespace) -> str:
    chosen = [f"PARTS='{' '.join(given.parts)}'"] if given.parts else []
    quick = ["QUICK=1"] if given.quick else []
    return " ".join(["make gpu", f"DEVICE={given.device}", *quick, f"MINUTES={given.minutes:g}", *chosen])


def _tiny(scratch: Path) -> Path | None:
    """A store to try the path with, where one can be built; None where not."""
    try:
        from tests.gpu.carry import tiny_store

        return tiny_store(scratch / "tiny.h5")
    except ImportError:  # the parts that need it say so
        return None


def _heading(report: dict[str, Any]) -> str:
    """How these figures came about."""
    here = report["machine"]
    what = f"{here['name']}, {here['cores']} cores of {here['processor']}"
    versions = f"torch {here['torch']}, Python {here['python']}"
    return f"`{report['command']}`: {what}, {versions}, commit {report['commit']}, {report['when'][:10]}."


def _commit() -> str:
    """The commit of the source, with "+" if it was changed."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


if __name__ == "__main__":
    sys.exit(main())
