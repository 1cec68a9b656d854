"""The GPU day: its budget, its formulas, what is carried; and all of it on a CPU, where packages are missing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.conftest import PROOF, ROOT, Run
from tests.gpu import PARTS, agreement, day, parts
from tests.gpu import cells as training
from tests.gpu.carried import fits, sizes, take_store, take_wheels
from tests.gpu.carry import compress, tiny_store
from tests.gpu.cells import command, read_cell
from tests.gpu.day import LeftOut, Outcome, Part, markdown, run_part, run_parts
from tests.gpu.isolation import contrast_backward_bytes, contrast_bytes, copy_bytes, pooling_bytes, seconds_of
from tests.gpu.setup import METHODS, Setup, squares
from tests.gpu.waiting import loader_without_waiting, share_of_waiting
from tests.test_extras import without

MISSING = ("cv2", "albumentations", "numba", "skimage", "h5py")
OTHERS = ("joblib", "matplotlib", "scipy", "jinja2", "tensorboard", "requests", "tenacity", "zlib_ng", "pytest")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("tiny") / "tiny.h5")


@pytest.fixture
def quick(tmp_path: Path, tiny: Path) -> Setup:
    return Setup("cpu", True, tiny, tmp_path)


def test_bytes_are_those_of_a_hand_count():
    assert copy_bytes(7) == 14
    # 2 images of 4x5 pixels, of 3 numbers in 4 bytes and an id in 8; 2x6 means of 3 numbers in 4 bytes.
    assert pooling_bytes(B=2, D=3, H=4, W=5, K=6, item=4) == 2 * 20 * (12 + 8) + 2 * 6 * 12 == 944
    assert pooling_bytes(B=2, D=3, H=4, W=5, K=6, item=2) == 2 * 20 * (6 + 8) + 2 * 6 * 12 == 704
    # 10 rows of 3 numbers in 4 bytes; 100 similarities in 4 bytes, written and read.
    assert contrast_bytes(M=10, D=3) == 120 + 800
    # The 100 are read, their gradient is written and read; the rows are read, and their gradient is written.
    assert contrast_backward_bytes(M=10, D=3) == 1200 + 240


def test_a_time_is_the_median_of_the_calls_after_the_first_three():
    waits = iter([0.2, 0, 0, 0.01, 0.02, 0.3])
    assert 0.02 <= seconds_of(lambda: time.sleep(next(waits)), torch.device("cpu"), 3) < 0.1


def test_squares_are_a_grid():
    batch = squares(2, 4, cells=2)
    assert batch.maps[1].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert batch.count == 4


def test_errors_are_relative_to_the_largest_value():
    expected = {"a": torch.tensor([2.0, -4.0]), "b": torch.zeros(2)}
    found = {"a": torch.tensor([2.5, -4.0]), "b": torch.zeros(2)}
    assert agreement.relative_errors(found, expected) == {"a": 0.125, "b": 0.0}
    with pytest.raises(ValueError, match="expected a, b, got a"):
        agreement.relative_errors({"a": expected["a"]}, expected)


@pytest.mark.parametrize(("odd", "told"), [(1 + 2**-20, "9.5e-07"), (torch.nan, "inf")])
def test_a_device_that_computes_something_else_is_found(odd, told, quick, monkeypatch):
    right = {"images": torch.ones(2), "logits": torch.ones(2), "global": torch.ones(1)}
    steps = iter([right, {**right, "logits": torch.tensor([1.0, odd])}])
    monkeypatch.setattr(agreement, "one_step", lambda *_: next(steps))
    with pytest.raises(ValueError, match=f"logits in torch.float64: {told} off float64 on the CPU, expected 1e-08"):
        agreement.agree(quick, "none")


def part(items: dict[str, Callable], share: float = 1.0) -> Part:
    return Part("Toys", share, lambda _: items, {"toy": "{toy}", "size": "{size:.1f}"})


def _raises() -> dict:
    raise ValueError("no toys here\nand more")


def _dies() -> dict:
    os._exit(3)


def _hangs() -> dict:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
    return {}


def _leaves() -> dict:
    raise LeftOut("nothing was carried")


def _two() -> Iterator[dict]:
    yield {"toy": "car", "size": 1}
    raise ValueError("one is broken")


def test_an_item_that_fails_does_not_lose_the_others():
    items = {"bear": lambda: {"toy": "bear", "size": 2}, "odd": _raises, "two": _two, "none": _leaves}
    outcome = run_part(part({**items, "ball": lambda: {"toy": "ball"}}), 30)
    assert outcome.rows == [{"toy": "bear", "size": 2}, {"toy": "car", "size": 1}, {"toy": "ball"}]
    assert outcome.left_out == {"none": "nothing was carried"}
    assert outcome.failed.keys() == {"odd", "two"}
    assert outcome.failed["odd"]["error"].startswith("ValueError: no toys here (tests/gpu/test_gpu.py:")
    assert outcome.failed["odd"]["trace"].endswith("no toys here\nand more\n")


def test_a_part_whose_process_dies_keeps_its_rows():
    outcome = run_part(part({"bear": lambda: {"toy": "bear"}, "odd": _dies, "never": _raises}), 30)
    assert outcome.rows == [{"toy": "bear"}]
    assert outcome.failed == {"odd": {"error": "the process died with exit code 3", "trace": ""}}


def test_a_part_that_hangs_is_cut_off(monkeypatch):
    monkeypatch.setattr(day, "_GRACE", 0.5)
    begin = time.monotonic()
    outcome = run_part(part({"bear": lambda: {"toy": "bear"}, "odd": _hangs}), 1.0)
    assert time.monotonic() - begin < 10
    assert outcome.rows == [{"toy": "bear"}]
    assert outcome.left_out.keys() == {"odd"}
    assert outcome.left_out["odd"].startswith("cut off after ")
    assert not outcome.failed


def test_a_part_that_cannot_begin_says_so():
    def items(_: object) -> dict:
        raise ImportError("no torch")

    outcome = run_part(Part("Toys", 1.0, items, {}), 30)
    assert outcome.failed["its start"]["error"].startswith("ImportError: no torch")


def test_an_item_is_left_out_when_the_longest_would_not_fit():
    def slow() -> dict:
        time.sleep(0.6)
        return {"toy": "train"}

    outcome = run_part(part({"first": slow, "second": slow, "third": slow}), 1.0)
    assert len(outcome.rows) == 1
    assert outcome.left_out.keys() == {"second", "third"}
    assert outcome.left_out["second"].endswith("s were left, and one item took 1 s")


def test_time_that_a_part_leaves_goes_to_the_others(monkeypatch):
    now, given = [0.0], []

    def run(_: Part, seconds: float) -> Outcome:
        given.append(seconds)
        now[0] += 4
        return Outcome("Toys", seconds)

    monkeypatch.setattr(day, "run_part", run)
    parts = {"a": part({}, 1), "b": part({}, 1), "c": part({}, 2)}
    done: list[str] = []
    run_parts(parts, 40.0, lambda name, _: done.append(name), lambda: now[0])
    assert given == [10.0, 12.0, 32.0]  # a quarter of 40, a third of 36, all of 32
    assert done == ["a", "b", "c"]


def test_tables_say_what_is_missing():
    outcome = Outcome("Toys", 5.0, rows=[{"toy": "bear", "size": 2}, {"toy": "ball"}])
    outcome.left_out["train"] = "2 s were left"
    outcome.failed["doll"] = {"error": "ValueError: broken", "trace": "..."}
    assert markdown({"toys": part({})}, {"toys": outcome}).splitlines() == [
        "**Toys**",
        "",
        "| toy | size |",
        "| --- | --- |",
        "| bear | 2.0 |",
        "| ball |  |",
        "",
        "Left out: train (2 s were left).",
        "",
        "Failed: doll (ValueError: broken).",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timm-1.0.31-py3-none-any.whl", True),
        ("six-1.0-py2.py3-none-any.whl", True),
        ("h5py-3.16.0-cp312-cp312-manylinux_2_28_x86_64.whl", True),
        ("h5py-3.16.0-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        ("h5py-3.16.0-cp313-cp313-manylinux_2_28_x86_64.whl", False),
        ("hf_xet-1.0-cp38-abi3-manylinux_2_28_x86_64.whl", True),
        ("hf_xet-1.0-cp313-abi3-manylinux_2_28_x86_64.whl", False),
    ],
)
def test_a_wheel_fits_its_python(name, expected):
    assert fits(name, (3, 12)) is expected


def test_wheels_come_before_what_is_installed_here_and_in_children(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    for name, text in (("toys-1.0-py3-none-any.whl", "size = 2"), ("odd-1.0-cp39-cp39-linux_x86_64.whl", "")):
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            wheel.writestr(f"carried_{name.split('-')[0]}.py", text)
    assert take_wheels(tmp_path, tmp_path / "site") == ["toys-1.0-py3-none-any.whl"]
    done = subprocess.run([sys.executable, "-c", "import carried_toys; print(carried_toys.size)"], capture_output=True)
    assert done.stdout == b"2\n"
    assert os.environ["PYTHONPATH"] == f"{tmp_path / 'site'}{os.pathsep}/elsewhere"
    assert sys.path[0] == str(tmp_path / "site")


def test_a_packed_store_is_carried_whole(tiny, tmp_path):
    from preprocess.store import Store

    compress(tiny, tmp_path / "cifar10.h5.xz")
    (tmp_path / "site").mkdir()
    taken = take_store(tmp_path / "cifar10.h5.xz", tmp_path / "site")
    assert taken.read_bytes() == tiny.read_bytes()
    store = Store(taken)
    assert (len(store.splits["train"]), len(store.splits["test"]), len(store.classes)) == (40, 10, 10)
    assert take_store(tiny, tmp_path) == tiny
    with pytest.raises(FileNotFoundError):
        take_store(tmp_path / "none.h5", tmp_path)


def test_the_size_of_what_is_carried_counts_wheels_and_stores(tmp_path):
    for name, size in (("a.whl", 5), ("b.whl", 6), ("cifar10.h5.xz", 70), ("tiny.h5", 8), ("notes", 900)):
        (tmp_path / name).write_bytes(bytes(size))
    found = sizes(tmp_path)
    assert (found["wheels"], found["store"]) == (11, 78)
    assert 2e6 < found["source"] < 2e7


def test_a_cell_is_read_from_its_tables(tmp_path):
    assert read_cell("none", tmp_path, "cut off") == {"method": "none", "state": "not started"}
    assert read_cell("none", tmp_path, "failed") == {"method": "none", "state": "failed"}
    (tmp_path / "config.json").write_text("{}")
    started = {"method": "none", "epochs": 0, "top1_by_epoch": [], "state": "cut off"}
    assert read_cell("none", tmp_path, "cut off") == started
    (tmp_path / "metrics.csv").write_text("epoch,loss,test_top1\r\n0,2,30\r\n1,1,40.5\r\n")
    lines = ("epoch,train_seconds,images_per_second,waiting,test_seconds", "0,10,100,0.5,1", "1,30,300,0.1,2")
    (tmp_path / "timing.csv").write_text("\r\n".join(lines))
    (tmp_path / "results.json").write_text("{}")
    row = read_cell("none", tmp_path, "cut off")
    assert row == {  # 10 s at 100 and 30 s at 300: 10,000 images in 40 s, of which 8 s were waited
        "method": "none", "epochs": 2, "top1_by_epoch": [30.0, 40.5], "top1": 40.5, "state": "finished",
        "seconds": 43.0, "images": 250.0, "waiting": pytest.approx(20.0),
    }  # fmt: skip


def test_cells_are_those_of_make_cifar10(tmp_path, monkeypatch):
    for name in ("MAKEFLAGS", "ARGS"):  # of ``make test ARGS=...``
        monkeypatch.delenv(name, raising=False)
    given = command(Setup("cuda", False, tmp_path / "x.h5", tmp_path), tmp_path / "x.h5", tmp_path / "runs")
    (tmp_path / "x.h5").touch()
    asked = [subprocess.run([*line, "-n"], cwd=ROOT, capture_output=True, text=True, check=True).stdout for line in (
        given, ("make", "--no-print-directory", "cifar10", "READY="),
    )]  # fmt: skip
    ours, plain = ([line for line in text.splitlines() if "sweep" in line] for text in asked)
    assert len(ours) == len(plain) == 2
    for line, other in zip(ours, plain, strict=True):
        end = " --no-pictures --keep 1 --loader resident --device cuda"
        assert line.endswith(end)
        assert line.removesuffix(end).split(" -- ")[1] == other.strip().split(" -- ")[1].rstrip()
        assert f"--shards {tmp_path / 'x.h5'} --seeds 0" in line
    names = [[word.split("=")[0] for word in line.split() if "='--mixer" in word] for line in ours]
    assert names[0][:2] == ["none", "lgcoamix"]
    assert sorted([*names[0], "attentive_cutmix"]) == sorted(METHODS)
    assert sorted(names[1]) == sorted(METHODS)  # whose comparison at the end is of all


SWEEP = """
import time
from pathlib import Path
runs = Path({runs!r})
runs.mkdir()
(runs / "lgcoamix-s0.log").write_text("epoch 1/30\\nError: CUDA out of memory\\n")
print("none-s0: training\\nlgcoamix-s0: failed, exit code 1", flush=True)
time.sleep({seconds})
"""


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_cell_that_failed_is_said_to_have_also_when_the_others_are_cut_off(seconds, quick, monkeypatch):
    text = SWEEP.format(runs=str(quick.work / "cells"), seconds=seconds)
    monkeypatch.setattr(training, "command", lambda *_: (sys.executable, "-c", text))
    monkeypatch.setattr(training, "_MARGIN", 2)
    monkeypatch.setattr(training, "_LEAST", 2)
    rows = []
    with pytest.raises(ValueError, match=r"^lgcoamix: Error: CUDA out of memory\nepoch 1/30\n"):
        rows.extend(training.cells(quick, lambda: 4))  # pyrefly: ignore
    left = "not started" if seconds else "failed"
    assert rows == [{"method": "none", "state": left}, {"method": "lgcoamix", "state": "failed"}]


def test_without_a_copy_nothing_is_compared_with_it(quick, monkeypatch):
    def no(_: Setup) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(parts, "copying", no)
    done = run_part(parts.make_parts(quick)["isolation"], 60)
    assert list(done.failed) == ["copy"]
    assert done.rows
    assert not any("of_copy" in row for row in done.rows)


def test_the_share_of_waiting_is_measured_on_the_store(quick):
    row = share_of_waiting(quick, "lgcoamix", "test_resnet", 32, 4)
    assert 0 < row["waiting"] < 100
    assert row["images"] == pytest.approx(4 / row["milliseconds"] * 1000)
    assert loader_without_waiting(quick)["steps"] == 3


def test_everything_runs_where_packages_are_missing(run_warm: Run, tiny, tmp_path):
    path = without(tmp_path, *MISSING, *OTHERS)
    options = ("--device", "cpu", "--quick", "--store", tiny, "--carried", tmp_path, "--out", tmp_path / "out")
    done = run_warm("-m", "tests.gpu", *options, PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["gpu.json", "gpu.md"]
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert report["failed"] == []
    parts = report["parts"]
    assert [row["method"] for row in parts["agreement"]["rows"]] == [
        *METHODS,
        "crops of the resident loader",
        "pooling with channels last",
    ]
    assert [row["method"] for row in parts["sync"]["rows"]] == list(METHODS)
    assert [row["method"] for row in parts["methods"]["rows"]] == list(METHODS)
    assert [row["method"] for row in parts["compile"]["rows"]] == ["none"]
    assert [row["what"].split(",")[0] for row in parts["isolation"]["rows"]].count("pooling") == 4
    assert parts["isolation"]["rows"][0]["of_copy"] == 1
    left = {name: set(outcome["left_out"]) for name, outcome in parts.items() if outcome["left_out"]}
    assert left == {  # they read a store with h5py, or need pytest
        "agreement": {"pytest"}, "sync": {"resident loader"}, "cells": {"make cifar10"},
        "waiting": {"test_resnet none", "test_resnet lgcoamix"},
    }  # fmt: skip
    assert parts["cells"]["left_out"]["make cifar10"].startswith("h5py, which reads the store, is missing")
    text = (tmp_path / "out" / "gpu.md").read_text()
    assert text.count("| lgcoamix |") == 3
    assert text.startswith("`make gpu DEVICE=cpu QUICK=1 MINUTES=9`: CPU, ")


UNTOUCHED = """
from pathlib import Path
import torch

def refuse(*_):
    raise AssertionError("CUDA was asked for")

torch._C._cuda_getDeviceCount = torch._C._cuda_init = torch.cuda.is_available = torch.cuda._lazy_init = refuse
import tests.gpu.parts
from tests.gpu.setup import Setup

print(*tests.gpu.parts.make_parts(Setup("cuda", False, None, Path())))
"""


def test_the_process_that_forks_uses_no_gpu(run_warm: Run):
    done = run_warm("-c", UNTOUCHED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(PARTS)


@pytest.mark.parametrize(
    ("options", "code", "answer"),
    [
        (("--device", "cpu", "tables"), 2, "no part 'tables'; there are: agreement, sync, methods"),
        (("--device", "tpu"), 2, "invalid choice: 'tpu'"),
    ],
)
def test_a_mistake_is_answered_in_a_line(run: Run, options, code, answer, tmp_path):
    done = run("-m", "tests.gpu", *options, "--carried", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == code
    assert answer in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_timm_the_remedy_is_named(run: Run, tmp_path):
    done = run("-m", "tests.gpu", "--device", "cpu", "--carried", tmp_path, PYTHONPATH=without(tmp_path, "timm"))
    assert done.returncode == 1
    assert done.stderr == f"Error: missing here: timm (from `make gpu-wheels`); 0 wheels in {tmp_path} fit\n"


@pytest.mark.skipif(not PROOF, reason="trains cells in processes of their own: LGCOAMIX_PROOF=1")
def test_make_gpu_runs_on_a_cpu_with_what_is_carried(tiny, tmp_path):
    out = tmp_path / "out"
    path = without(tmp_path, *{*MISSING, *OTHERS} - {"h5py", "pytest"})
    shutil.copy(tiny, tmp_path / "tiny.h5")
    places = (f"CARRIED={tmp_path}", f"OUT={out}", f"PYTHON={sys.executable}")
    line = ("make", "--no-print-directory", "gpu", "DEVICE=cpu", "QUICK=1", *places)
    done = subprocess.run(line, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "gpu.json").read_text())
    assert not any(outcome["left_out"] or outcome["failed"] for outcome in report["parts"].values())
    assert [(row["method"], row["state"]) for row in report["parts"]["cells"]["rows"]] == [
        ("none", "finished"),
        ("lgcoamix", "finished"),
    ]
