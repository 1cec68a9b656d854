"""A full ``/dev/shm``, through which DataLoader workers hand over batches."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

LOADS = """
import torch
from lgcoamix.data.loader import make_loader, worker_failures
from lgcoamix.errors import RunError

class Images(torch.utils.data.Dataset):
    def __getitems__(self, indices):
        return torch.zeros(len(indices), 3, 224, 224)

try:
    with worker_failures():
        for _ in make_loader(Images(), [[0, 1], [2, 3]], workers=1):
            pass
except RunError as error:
    print(error)
"""


def test_a_batch_that_does_not_fit_is_an_error_with_a_remedy_and_no_wait():
    if shutil.which("unshare") is None:
        pytest.skip("needs the command unshare")
    mounted = 'mount -t tmpfs -o size=64k none /dev/shm || exit 77; exec timeout 60 "$@"'
    command = ["unshare", "-rm", "sh", "-c", mounted, "sh", sys.executable, "-c", LOADS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("unshare -rm cannot mount a tmpfs here")
    assert done.returncode == 0, done.stderr
    assert "a DataLoader worker died" in done.stdout
    assert "), because /dev/shm is full: rerun with --workers 0" in done.stdout
    assert "Traceback" not in done.stderr
