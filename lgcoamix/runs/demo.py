"""``make demo``: the complete pipeline on a generated data set, in a few minutes on a CPU."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lgcoamix.errors import RunError
from lgcoamix.runs.documents import read_results

METHODS = ("none", "lgcoamix")


def run_demo(data: Path, runs: Path, say: Callable[[str], None]) -> tuple[dict[str, dict], list[Path]]:
    """Generate and preprocess the data, then train with and without LGCOAMix. Each stage runs the real command.

    Parameters
    ----------
    data : folder for the raw images and the store.
    runs : folder for the runs. A finished run is left unchanged, an unfinished one is resumed.
    say : shows a line of text.

    Returns
    -------
    Results by method, and paths of the figures.
    """
    store, sheet = data / "demo.h5", data / "demo-superpixels.png"
    root = data / "raw" / "demo"
    if not root.exists():
        say(f"generating the demo set in {root}")
    _command("preprocess", "build", "demo", "--root", str(root), "--out", str(store))
    _command("preprocess", "show", str(store), "--count", "8", "--out", str(sheet), "--force")
    figures, results = [sheet], {}
    for method in METHODS:
        out = runs / f"demo-{method}"
        if (out / "results.json").exists():
            say(f"{out} is already finished and left unchanged (remove it to train again)")
        else:
            say(f"training {method} -> {out}")
            options = ("--device", "cpu", "--workers", "0", "--resume", "auto")
            _command("lgcoamix", "train", "--shards", str(store), "--mixer", method, "--out", str(out), *options)
        results[method] = read_results(out)
        figures += [out / "curves.png", out / "mixed.png"]
    return results, figures


def _command(module: str, *arguments: str) -> None:
    code = subprocess.run([sys.executable, "-m", module, *arguments]).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise RunError(f"python -m {module} {' '.join(arguments)} failed with exit code {code}")
