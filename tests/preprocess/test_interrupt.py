"""A signal ends a command with one line, whatever it was doing, and takes what is half written and what it started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

LINE = "interrupted; finished work is kept: run the same command to continue\n"
BODIES = {
    "in a finally": "try:\n        raise ValueError\n    finally:\n        wait()",
    "where every exception is caught": "try:\n        wait()\n    except BaseException:\n        wait()",
    "within an exit handler": "atexit.register(wait)",
    "while it finalises": "weakref.finalize(main, wait)",
    "with a child of its own": "multiprocessing.get_context('fork').Process(target=wait).start()\n    time.sleep(20)",
    "while it writes": "with writing_aside(Path('new/x.txt')) as file:\n        file.write(b'half')\n        wait()",
    "while a thread is about to write": "ending = threading.Event()\n"
    "    def write():\n        ending.wait()\n        with writing_aside(Path('x.txt')):\n            time.sleep(20)\n"
    "    threading.Thread(target=write).start()\n"
    "    with interrupt.undoing(lambda: (ending.set(), time.sleep(0.3))):\n        wait()",
    "while a thread works": "threading.Thread(target=time.sleep, args=(20,)).start()\n    wait()",
}


def start(body: str, home: Path, ignored: bool = False, **environment: str) -> subprocess.Popen:
    """Run ``body`` as a command in a process group of its own, with the real module."""
    text = (
        "import atexit, multiprocessing, os, signal, sys, threading, time, weakref\nfrom pathlib import Path\n"
        "from preprocess import interrupt\nfrom preprocess.files import writing_aside\n"
        "def wait():\n    print('ready', flush=True)\n    time.sleep(20)\n"
        f"def main():\n    {body}\ninterrupt.run(main)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )


def stop(process: subprocess.Popen, number: int = signal.SIGINT) -> tuple[int, str]:
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    os.killpg(process.pid, number)
    told = process.communicate(timeout=10)[1]
    return process.returncode, told


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_one_line_and_nothing_is_left(body, tmp_path):
    process = start(body, tmp_path)
    assert stop(process) == (130, LINE)  # its pipes are closed: children have ended, too
    assert not list(tmp_path.iterdir())


def test_sigterm_is_143(tmp_path):
    assert stop(start("wait()", tmp_path), signal.SIGTERM) == (143, LINE)


def test_a_signal_that_is_ignored_as_under_nohup_stays_ignored(tmp_path):
    process = start("print('ready', flush=True)\n    time.sleep(0.3)", tmp_path, ignored=True)
    assert stop(process) == (0, "")


def test_a_second_signal_does_not_wait_for_what_the_first_one_does(tmp_path):
    process = start("with interrupt.undoing(wait):\n        wait()", tmp_path)
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=10)[1] == LINE
    assert process.returncode == 130


def test_a_child_of_another_command_ends_with_it_and_leaves_the_line_to_it(tmp_path):
    process = start("wait()", tmp_path, LGCOAMIX_CHILD="1")
    assert process.stdout.readline() == "ready\n"
    told = process.communicate(timeout=10)[1]  # closes its input, as the kernel does when the parent is killed
    assert (process.returncode, told) == (143, "")


@pytest.mark.parametrize(("body", "code"), [("sys.exit(3)", 3), ("sys.exit('no')", 1), ("pass", 0), ("sys.exit()", 0)])
def test_without_a_signal_the_exit_code_is_that_of_the_command(body, code, tmp_path):
    process = start(f"print('said', end='')\n    {body}", tmp_path)
    assert process.communicate(timeout=10)[0] == "said"  # all of it, though nothing flushed it
    assert process.returncode == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_told(tmp_path):
    body = "sys.stdout = open('/dev/full', 'w')\n    print('said')"
    process = start(body, tmp_path)
    assert process.communicate(timeout=10)[1] == "Error: standard output: No space left on device\n"
    assert process.returncode == 1
