"""What a user installs: the wheel holds training and preprocessing, and the console command starts."""

import json
import os
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.conftest import PROOF, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_both_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    assert {name for name in folders if not name.endswith(".dist-info")} == {"lgcoamix", "preprocess"}
    assert {"lgcoamix/training/step.py", "preprocess/store/reader.py", "lgcoamix/cli/__init__.py"} <= set(names)
    assert "lgcoamix/export/card.md" in names  # read when a model is exported
    assert {f"lgcoamix/data/augments/{name}.yaml" for name in ("light", "strong")} <= set(names)
    assert {"lgcoamix/py.typed", "preprocess/py.typed"} <= set(names)  # without it, a checker sees no type


WRONG = """
from lgcoamix import SuperpixelDatset
from preprocess import Store, slic
Store(5)
slic("rose.jpg", 4)
Store("rose.h5").scales[0].wieght
Store("rose.h5").labels("train")
"""


def test_a_type_checker_sees_the_types_of_the_wheel(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "user.py").write_text(WRONG)
    command = [Path(sys.prefix) / "bin" / "pyrefly", "check", "--preset", "default", "--output-format", "json"]
    command += ["--site-package-path", tmp_path / "site", "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found = {(error["line"], error["name"]) for error in json.loads(done.stdout)["errors"]}
    assert found == {
        (2, "missing-module-attribute"),
        (4, "bad-argument-type"),
        (5, "bad-argument-type"),
        (6, "missing-attribute"),
    }


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(archive.read(name).decode())
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"superpixels", "data augmentation", "pytorch"} <= set(metadata["Keywords"].split(","))
    classifiers = set(metadata.get_all("Classifier"))
    versions = "Programming Language :: Python :: "
    assert {name for name in classifiers if name.startswith(versions)} == {
        versions + number for number in ("3", "3.11", "3.12", "3.13")
    }
    assert {"Development Status", "Intended Audience", "Operating System", "Topic", "Typing"} < {
        name.split(" :: ")[0] for name in classifiers
    }
    assert not {name for name in classifiers if name.startswith("License")}  # forbidden beside the SPDX expression
    assert not {"Author", "Author-email", "Maintainer", "Maintainer-email"} & set(metadata)  # nobody gave a name


def test_the_unpacked_wheel_trains_from_its_console_command(wheel, tmp_path, flowers_store, run_warm):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "lgcoamix = lgcoamix.__main__:main" in archive.read(entry).decode()
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from lgcoamix.cli import main; main()"
    options = ["--backbone", "test_resnet", "--weights", "none", "--image-size", "32", "--epochs", "1"]
    options += ["--workers", "0", "--no-tensorboard", "--no-pictures"]
    given = ("train", "--shards", flowers_store, "--out", "run", *options)
    done = run_warm("-c", code, *given, cwd=tmp_path, PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "best.pt").is_file()


def test_the_unpacked_wheel_builds_where_a_file_has_the_name_of_a_package(wheel, tmp_path, painted):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "preprocess.py").write_text("raise RuntimeError('this is the file of the user')\n")
    (tmp_path / "home" / "birds.py").write_text(
        "from preprocess.datasets import DATASETS\n\n\ndef find(root):\n    return DATASETS['folder'].find(root)\n"
    )
    # What pip writes for the command, in a folder of its own.
    (tmp_path / "lgcoamix").write_text("import sys\nfrom lgcoamix.__main__ import main\nsys.exit(main())\n")
    options = ["--adapter", "birds:find", "--root", str(painted), "--size", "16", "--segments", "4", "--jobs", "2"]
    options += ["--algorithm", "grid"]  # numba would compile for the new folder
    programs = (["-m", "lgcoamix"], [str(tmp_path / "lgcoamix")])
    for number, program in enumerate(programs if PROOF else programs[:1]):
        command = [*program, "preprocess", "build", "birds", *options, "--backend", "loky", "--out", f"{number}.h5"]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path / "home",
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "home" / f"{number}.h5").is_file()


def test_make_help_lists_every_target():
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    targets = {line.split()[1] for line in done.stdout.splitlines()}
    data = {"datasets", "preprocess", "compare", "cifar10", "study", "pictures", "demo"}
    checks = {"test", "proof", "bench", "gpu", "gpu-wheels", "lint"}
    assert targets == data | checks | {"help", "setup", "format", "clean"}


def test_the_examples_of_the_package_readme_run():
    section = (ROOT / "lgcoamix" / "README.md").read_text().split("## As a library")[1].split("\n## ")[0]
    examples = [part.split("```")[0] for part in section.split("```python\n")[1:]]
    assert len(examples) == 5
    for text in examples:
        space: dict[str, object] = {}
        exec(text, space)
        assert space["loss"].isfinite()


def test_the_papers_to_cite_are_those_of_the_methods():
    """Venue, year and number of each paper agree with the table of methods and with slic.py."""
    cited = " ".join((ROOT / "README.md").read_text().split("## Citing\n")[1].split())
    table = (ROOT / "lgcoamix" / "README.md").read_text().split("| source |\n")[1].split("\n\n")[0]
    sources = {row.split(" | ")[0].strip("|` "): row.strip("| \n").split(" | ")[-1] for row in table.splitlines()}
    for method in ("occamix", "snapmix", "superpixel_grid"):
        assert sources[method] in cited
    assert sources["lgcoamix"].endswith("2024, arXiv 2512.00130")
    assert "2024, arXiv 2512.00130" in cited
    slic = "Achanta et al., 2012, doi:10.1109/TPAMI.2012.120"
    assert slic in (ROOT / "preprocess" / "superpixels" / "slic.py").read_text()
    assert slic in cited
