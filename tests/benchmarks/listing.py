"""Listing a data set of as many files as ImageNet has: made-up names of empty files, in memory if there is room."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.table import Table

from tests.conftest import ROOT

_CLASSES, _TRAIN, _VAL = 1000, 1281, 50  # images of a class: 1,331,000 in all
_IMAGENET = """
import json, sys, time
from pathlib import Path
from preprocess.build.plan import fingerprint
from preprocess.datasets import DATASETS
from preprocess.raw.find import Source, choose_splits, find_raw_data
from preprocess.raw.selection import check_names, count_differences, look_alikes

def peak():  # not of resource, whose figure a process inherits
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

adapter = DATASETS["imagenet"]
source, before, rows = Source("imagenet", adapter, Path(sys.argv[1])), peak(), []

def step(name, work):
    begin, processor = time.perf_counter(), time.process_time()
    result = work()
    rows.append((name, time.perf_counter() - begin, time.process_time() - processor, peak() - before))
    return result

listing = step("find and account for all files", lambda: find_raw_data(source))
step("compare with the official counts", lambda: list(count_differences(adapter, listing)))
step("check names", lambda: (check_names(listing), list(look_alikes(listing))))
step("names and sizes for the plan", lambda: [fingerprint(*item) for item in listing.splits.items()])
print(json.dumps(rows))
"""


def measure() -> Table:
    """List 1,331,000 empty files as ImageNet, in a process of its own."""
    home = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=home if home.is_dir() else None) as folder:
        for split, count in (("train", _TRAIN), ("val", _VAL)):
            for number in range(_CLASSES):
                inside = Path(folder, split, f"n{number:08d}")
                inside.mkdir(parents=True)
                for index in range(count):
                    (inside / f"{inside.name}_{index}.JPEG").touch()
        done = subprocess.run(
            [sys.executable, "-c", _IMAGENET, folder], cwd=ROOT, capture_output=True, text=True, check=True
        )
    table = Table("1,331,000 files", "seconds", "processor seconds", "memory until then")
    for name, seconds, processor, memory in json.loads(done.stdout):
        table.add_row(name, f"{seconds:.1f}", f"{processor:.1f}", f"{memory / 1e6:.0f} MB")
    return table
