"""``python -m tests.hostile.forks``: a process that has imported everything, and forks one for each command.

It reads an order per line, a JSON object, and answers with a line: exit code, seconds, peak memory. Each command runs
in a session of its own, under limits of time and memory, and is watched (``audit.py``).
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from typing import Any, NoReturn

PROGRAMS = {"preprocess": "preprocess.cli", "lgcoamix": "lgcoamix.cli"}
_SET_CHILD_SUBREAPER = 36
_MOST_FILE = 1 << 28  # bytes of one output file
_IMPORTED = (
    *PROGRAMS.values(),
    *(f"preprocess.{name}" for name in ("build.run", "build.update", "build.repair", "build.forecast", "store.pack")),
    *(f"preprocess.inspect.{name}" for name in ("diff", "duplicates", "export", "sheet", "tables", "verify")),
    *(f"preprocess.inspect.report.{name}" for name in ("gather", "page", "plots")),
    *(f"lgcoamix.training.{name}" for name in ("run", "plots", "replay", "replay_files")),
    *("lgcoamix.evaluation.evaluate", "lgcoamix.evaluation.plots", "lgcoamix.export.export", "lgcoamix.export.predict"),
    *(f"lgcoamix.runs.{name}" for name in ("compare", "compare_plot", "curves_plot", "checks")),
    "lgcoamix.data.transforms",
    *("skimage.segmentation", "matplotlib.font_manager", "PIL.PngImagePlugin", "PIL.JpegImagePlugin"),
)


def main() -> None:
    """Import, then serve; in a forked process, run the command and end as a program ends."""
    sys.modules["wandb"] = None  # timm would import it, with a folder that the first process to end removes
    for name in _IMPORTED:
        importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1, "threads would not survive the fork"  # noqa: PTH208
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)  # so that we can wait for the children of our children
    gc.freeze()  # or every process would copy all memory when it collects
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order)
            return _run_quickly(order) if order["quick"] else _run(order)
        sys.stdout.write(json.dumps(_wait(pid, order["seconds"])) + "\n")
        sys.stdout.flush()
    return None


def _wait(pid: int, seconds: float) -> dict[str, Any]:
    begin, late = time.monotonic(), False
    while True:
        ended, status, used = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - begin > seconds and not late:
            os.killpg(pid, signal.SIGKILL)
            late = True
        time.sleep(0.002)
    took, code = time.monotonic() - begin, os.waitstatus_to_exitcode(status)
    return {"code": code, "late": late, "left": _is_left(pid), "seconds": took, "peak": used.ru_maxrss << 10}


def _is_left(group: int) -> bool:
    """Whether anything of its session lives on; joblib's tracker of resources ends a moment after its process."""
    for _ in range(500):
        try:
            os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:
            return False
        time.sleep(0.002)
    os.killpg(group, signal.SIGKILL)
    return True


def _become(order: dict[str, Any]) -> None:
    """Make the forked process the one that the order describes."""
    from tests.hostile.audit import watch

    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for place, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), place)
    report = os.open(order["report"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.chdir(order["cwd"])
    os.environ |= order["environment"]
    tempfile.tempdir = None
    sys.dont_write_bytecode = True
    with open("/proc/self/statm") as file:  # noqa: PTH123
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + order["memory"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_FILE, _MOST_FILE))
    watch(report, order["writable"], order["ports"])


def _run(order: dict[str, Any]) -> None:
    if order["archive"]:
        _publish_instead(**order["archive"])
    name, *arguments = order["argv"]
    importlib.import_module(PROGRAMS[name]).main(arguments, prog_name=f"python -m {name}")


def _run_quickly(order: dict[str, Any]) -> NoReturn:
    """Run, but leave out the end of the interpreter: with torch it takes half a second, most of the time of a case."""
    code: Any = 0
    try:
        _run(order)
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def _publish_instead(name: str, url: str | None, digest: str | None, size: int | None) -> None:
    """Let CUB have one archive: the case's own."""
    from dataclasses import replace

    from preprocess.datasets import DATASETS
    from preprocess.datasets.base import Archive
    from preprocess.raw import download

    download._FIRST_WAIT = download._LONGEST_WAIT = download._LONGEST_ASKED_WAIT = 0.01
    download._TIMEOUTS = (2.0, 2.0)
    DATASETS["cub"] = replace(DATASETS["cub"], archives=(Archive(name, url, digest, size),))


if __name__ == "__main__":
    main()
