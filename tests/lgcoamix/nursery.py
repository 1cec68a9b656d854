"""Processes that train, without another import of torch for each: one process imports it, and forks the rest."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

from tests.conftest import ROOT
from tests.preprocess.build.test_survival import all_gone

SECONDS = 120  # that anything may take on a busy machine

# Torch takes seconds to import: this process does it once and forks a process, in a session of its own, for every
# script that it is told to run. What runs there has signals, files and an exit as in any other process.
_FORKS = """
import gc, json, os, runpy, sys
sys.modules["wandb"] = None  # timm would import it, with a folder that the first process to end removes
import lgcoamix.training.run, lgcoamix.training.plots, lgcoamix.data.transforms, torch.utils.tensorboard
del sys.modules["wandb"]
assert len(os.listdir("/proc/self/task")) == 1, "threads would not survive the fork"
gc.freeze()  # or every process would copy all memory when it collects
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if "pid" in order:
        pid, status = os.waitpid(order["pid"], os.WNOHANG)
        print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        for place, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), place)
        os.chdir(order["cwd"])
        os.environ |= order["environment"]
        sys.argv = order["argv"]
        break
    print(pid, flush=True)
else:
    sys.exit()
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Training:
    """One process that trains, the leader of its session."""

    def __init__(self, nursery: "Nursery", argv: list[str], told: Path, cwd: Path, environment: dict[str, str]) -> None:
        self.nursery, self.err, self.out, self.exit_code = nursery, told, told.with_suffix(".out"), None
        order = {"argv": argv, "stdout": str(self.out), "stderr": str(told), "cwd": str(cwd)}
        self.pid = nursery.ask(order | {"environment": environment})

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        if self.exit_code is None:
            self.exit_code = self.nursery.ask({"pid": self.pid})
        return self.exit_code

    def wait(self, seconds: float = SECONDS) -> int:
        end = time.monotonic() + seconds
        while self.poll() is None:
            assert time.monotonic() < end, f"does not end: {self.told()}"
            time.sleep(0.01)
        return self.exit_code

    def told(self) -> str:
        """Its standard error, without what a library tells of the frozen memory at the end."""
        return self.err.read_text().partition("nanobind: ")[0] if self.err.exists() else ""

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something holds; the process must be running then."""
        end, turn = time.monotonic() + SECONDS, 0
        while not condition():
            turn += 1
            assert turn % 50 or self.poll() is None, f"ended too early: {self.told()}"
            assert time.monotonic() < end, f"waited in vain: {self.told()}"
            time.sleep(0.0005)

    def strike(self, number: int) -> None:
        """Send a signal to the whole group, as a terminal and a cluster do."""
        assert self.poll() is None, f"ended before the signal: {self.told()}"
        os.killpg(self.pid, number)

    def kill(self) -> None:
        self.strike(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL
        assert all_gone(self.pid)


class Nursery:
    """Starts processes that train; see ``_FORKS``, which ``python`` runs."""

    def __init__(self, home: Path, python: Path) -> None:
        self.home, self.started, self.stores = home, [], []
        self.process = subprocess.Popen(
            [python, "-c", _FORKS],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, order: dict[str, Any]) -> Any:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self, *options: object, script: Path | str = "train.py", cwd: Path = ROOT, **environment: str
    ) -> Training:
        """Start a script of Python, ``train.py`` unless another is named, with these options."""
        told = self.home / f"{len(self.started)}.txt"
        argv = [str(script) if cwd == ROOT else str(ROOT / script), *map(str, options)]
        training = Training(self, argv, told, cwd, environment)
        self.started.append(training)
        return training

    def finish(self, *options: object, **where: Any) -> Training:
        """Run a command to its good end."""
        training = self.start(*options, **where)
        assert training.wait() == 0, training.told()
        return training

    def start_ranks(self, world: int, *options: object, **where: Any) -> list[Training]:
        """Start processes that share a batch, with the variables that torchrun sets."""
        self.stores.append(TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False))
        port = str(self.stores[-1].port)
        where |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
        where |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": "True"}
        ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(world))
        return [self.start(*options, **where, **rank) for rank in ranks]

    def finish_ranks(self, world: int, *options: object, **where: Any) -> list[Training]:
        """Run them to their good end."""
        ranks = self.start_ranks(world, *options, **where)
        for training in ranks:
            assert training.wait() == 0, training.told()
        return ranks

    def close(self) -> None:
        for training in self.started:
            if training.poll() is None:
                training.kill()
        self.process.communicate()
