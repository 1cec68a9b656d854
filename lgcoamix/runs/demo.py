"""``make demo``: the complete pipeline on a generated data set, in a few minutes on a CPU."""

import sys
from collections.abc import Callable
from pathlib import Path

from lgcoamix.errors import Interrupted, RunError
from lgcoamix.runs import children
from lgcoamix.runs.documents import read_results
from preprocess import interrupt

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
            _command("train", "--shards", str(store), "--mixer", method, "--out", str(out), *options)
        results[method] = read_results(out)
        figures += [out / "curves.png", out / "mixed.png"]
    return results, figures


def _command(*arguments: str) -> None:
    process, stops = children.start([sys.executable, "-m", "lgcoamix", *arguments]), []

    def forward(number: int, _: object) -> None:
        stops.append(number)
        process.send_signal(number)

    with interrupt.undoing(lambda: children.kill(process)), interrupt.answering(forward):
        process.wait()
    code = children.exit_code(process)
    if stops or code in (130, 143):
        raise Interrupted(interrupt.LINE, stops[0] if stops else code - 128)
    if code:
        raise RunError(f"python -m lgcoamix {' '.join(arguments)} failed with exit code {code}")
