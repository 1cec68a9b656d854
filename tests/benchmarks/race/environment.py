"""The environment of the race, made once: what this project needs, and the peers in the versions that are raced."""

import json
import subprocess
import sys

from tests.benchmarks.race.peers import PEERS
from tests.conftest import ROOT

_HOME = ROOT / "data" / "race-env"
PYTHON = _HOME / "bin" / "python"


def prepare() -> dict[str, str]:
    """Make the environment, unless it is there: peers that could not be installed, and why."""
    note, pins = _HOME / "made.json", {name: peer.packages for name, peer in PEERS.items()}
    ours = (ROOT / "constraints.txt").read_text()
    wanted = json.dumps([ours, pins])
    if note.is_file():
        made = json.loads(note.read_text())
        if made["wanted"] == wanted:
            return made["missing"]
    versions = _HOME / "override.txt"
    install = ("pip", "install", "--python", str(PYTHON), "--override", str(versions))
    reason = _uv("venv", "--clear", "--python", sys.executable, str(_HOME))
    if not reason:
        # All run with the torch, NumPy and OpenCV of ours, whatever a peer asks for.
        versions.write_text("\n".join([ours, *(pin for packages in pins.values() for pin in packages)]))
        reason = _uv(*install, "psutil", "-r", str(ROOT / "pyproject.toml"), "--extra", "all")
    if reason:
        raise SystemExit(f"the race needs {_HOME}, which could not be made: {reason}")
    tried = {name: _uv(*install, *packages) for name, packages in pins.items() if packages}
    missing = {name: reason for name, reason in tried.items() if reason}
    note.write_text(json.dumps({"wanted": wanted, "missing": missing}))
    return missing


def _uv(*command: str) -> str:
    """Run uv: why it failed, in one line, or nothing."""
    done = subprocess.run([sys.executable, "-m", "uv", *command], capture_output=True, text=True, check=False)
    return " ".join(done.stderr.split())[-300:] if done.returncode else ""
