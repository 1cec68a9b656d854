"""The wheel in fresh environments of every Python at hand, by what is installed: a proof, as torch takes gigabytes."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROOF, ROOT
from tests.test_extras import LIBRARY

pytestmark = pytest.mark.skipif(not PROOF, reason="installs torch twelve times: LGCOAMIX_PROOF=1")
UV = Path(sys.prefix) / "bin" / "uv"
TINY = "--backbone test_resnet --weights none --image-size 12 --epochs 1 --workers 0 --device cpu --batch-size 4"
COMMANDS = {  # what an extra must do
    "": None,
    "preprocess": "-m preprocess build folder --root raw --out new.h5 --size 16 --segments 4,9 --jobs 1",
    "train": f"-m lgcoamix train --shards data/cub.h5 --mixer superpixel_grid --out run {TINY}",
    "all": f"-m lgcoamix train --shards data/cub.h5 --mixer superpixel_grid --maps live --out run {TINY}",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def bytes_below(home: Path) -> int:
    """Bytes of all files of an environment. Its files are linked to the cache of uv, and take no more of the disk."""
    return sum(path.lstat().st_size for path in home.rglob("*"))


@pytest.mark.parametrize("extra", COMMANDS)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_a_fresh_environment_does_what_it_is_installed_for(python, extra, wheel, examples, tmp_path):
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))  # which uv does not look through
    wanted = str(pyenv[-1]) if pyenv else python
    found = subprocess.run([UV, "python", "find", wanted], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"Python {python} is not at hand")
    home = tmp_path / "venv"
    subprocess.run([UV, "venv", "--quiet", "--python", found.stdout.strip(), home], check=True)
    given = [
        UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        home / "bin" / "python",
        f"{wheel}[{extra}]".removesuffix("[]"),
    ]
    installed = subprocess.run(given, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr
    shutil.copytree(examples, tmp_path / "here")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}

    def run(*command: str) -> subprocess.CompletedProcess:
        whole = [str(home / "bin" / "python"), *command]
        return subprocess.run(
            whole, cwd=tmp_path / "here", env=outside, capture_output=True, text=True, timeout=600, check=False
        )

    done = run("-c", LIBRARY.format(root=str(ROOT)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True TestResults(failed=0"), done.stdout
    if COMMANDS[extra]:
        done = run(*COMMANDS[extra].split())
        assert done.returncode == 0, done.stderr
    else:
        for package, named in (("lgcoamix", "train"), ("preprocess", "preprocess")):
            done = run("-m", package, "--help")
            assert done.returncode == 1
            assert f"which the extra [{named}] brings" in done.stderr, done.stderr
            assert "Traceback" not in done.stderr
    shutil.rmtree(home)
