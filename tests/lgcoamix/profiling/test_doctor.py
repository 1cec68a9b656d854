"""``doctor``: the recommendation for figures written by hand, and the command on stores of photographs."""

import itertools
import json
import multiprocessing
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import lgcoamix.data.augment
import lgcoamix.data.transforms
import lgcoamix.profiling.measure
import lgcoamix.training.epoch
import lgcoamix.training.throughput
import preprocess.store.shard
from lgcoamix.cli.doctor import doctor
from lgcoamix.profiling.advice import Measurements, Steps, recommend
from preprocess.cli import main as preprocess_command
from tests.conftest import Run

SMALL = (
    "--backbone",
    "test_resnet",
    "--weights",
    "none",
    "--image-size",
    "32",
    "--batch-size",
    "12",
    "--device",
    "cpu",
    "--workers",
    "0",
)
QUICK = ("--samples", "36", "--seconds", "0.2")

# 32 samples of 1.2 ms take 38.4 ms to load, a step 10 ms: four processes would keep up.
WAITS = Measurements(
    codec="jpeg",
    resize="squash",
    stored_size=256,
    image_size=224,
    batch_size=32,
    device="cuda",
    with_maps=True,
    cores=8,
    threads=8,
    workers=2,
    samples=512,
    read_cold=2.0,
    read=0.1,
    decode=0.8,
    augment=0.3,
    transfer=0.01,
    step=10.0,
    streaming=Steps(40, 20.0, 1600.0, 0.5),
    resident=None,
    store_bytes=10**9,
    memory_bytes=10**10,
    resident_bytes=10**12,
)
STUCK = replace(WAITS, cores=3)  # two workers, and the process that drives the GPU
UNCACHED = replace(STUCK, memory_bytes=10**8)
RESIDENT = Steps(40, 10.0, 3200.0, 0.0)

RECOMMENDATIONS = {
    "no waiting": (replace(WAITS, streaming=Steps(40, 10.0, 3200.0, 0.049)), r"Nothing to do: .* 5 % "),
    "room on the GPU": (
        replace(WAITS, resident=RESIDENT, resident_bytes=4 * 10**9),
        r"50 % of the time: .*--loader resident.*\(4.00 GB\).* 2.0 times",
    ),
    "room on the GPU, for nothing": (replace(WAITS, resident=Steps(40, 19.0, 1700.0, 0.4)), r"--workers 4\.$"),
    "cores are left": (WAITS, r"50 % of the time: train with --workers 4\.$"),
    "workers that are slower than their stages": (
        replace(WAITS, cores=16, streaming=Steps(40, 40.0, 800.0, 0.75)),  # 400 images/s each, and the step takes 3200
        r"75 % of the time: train with --workers 8\.$",
    ),
    "some cores are left": (replace(WAITS, cores=4), r"--workers 3; with more cores, 4 would keep up"),
    "few cores on the CPU": (replace(WAITS, device="cpu", threads=5), r"--workers 3; with more cores, 4 would keep up"),
    "no cores left on the CPU": (replace(WAITS, device="cpu"), r"decoding dominates"),
    "decode": (STUCK, r"decoding dominates; build the store with --codec raw"),
    "decode, sizes of their own": (
        replace(STUCK, resize="none", stored_size=None),
        r"decoding dominates; .* --resize squash --codec raw",
    ),
    "cold reads": (UNCACHED, r"local disk, or pack .*python -m lgcoamix preprocess pack"),
    "cold reads that are quick": (replace(UNCACHED, read_cold=0.5), r"decoding dominates"),
    "reads where nothing can be dropped": (replace(UNCACHED, read_cold=None), r"decoding dominates"),
    "warm reads": (
        replace(STUCK, read=0.9, stored_size=512),
        r"files are cached; build .* --size closer to the input size of 224 pixels than 512",
    ),
    "augment": (replace(STUCK, augment=0.9, stored_size=512), r"cropping and resizing dominate; .* than 512"),
    "augment, sizes of their own": (
        replace(STUCK, augment=0.9, resize="none", stored_size=None),
        r"cropping and resizing dominate; .*--resize short .* 224",
    ),
    "augment at the size of the input": (replace(STUCK, augment=0.9), r"only more or faster cores help"),
}


@pytest.mark.parametrize(("found", "sentence"), RECOMMENDATIONS.values(), ids=RECOMMENDATIONS)
def test_the_recommendation_follows_from_the_figures(found, sentence):
    text = recommend(found)
    assert re.search(sentence, text), text
    assert text.endswith(".")
    assert "\n" not in text


def test_workers_are_counted_with_cold_reads_only_where_memory_is_too_small():
    assert WAITS.load == pytest.approx(1.2)
    assert WAITS.workers_needed == 4
    assert UNCACHED.load == pytest.approx(3.1)
    assert UNCACHED.workers_needed == 10  # 99.2 ms for a batch


@pytest.fixture(scope="module")
def stores(flowers: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """24 photographs as png, and with their own aspect ratios as jpeg."""
    root, home = tmp_path_factory.mktemp("root"), tmp_path_factory.mktemp("stores")
    for name in ("daisy", "iris"):
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for path in itertools.islice(sorted((flowers / "train" / name).iterdir()), 12):
            (folder / path.name).write_bytes(path.read_bytes())
    stores = {}
    for name, options in {"png": ("--codec", "png"), "short": ("--codec", "jpeg", "--resize", "short")}.items():
        stores[name] = home / f"{name}.h5"
        common = ("--root", root, "--out", stores[name], "--splits", "train", "--size", 64, "--segments", 12)
        built = CliRunner().invoke(
            preprocess_command, ["build", "folder", *map(str, (*common, *options)), "--jobs", "1"]
        )
        assert built.exit_code == 0, built.output
    return stores


def _invoke(*options: object) -> Result:
    done = CliRunner().invoke(doctor, list(map(str, options)))
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.stderr
    return done


def _figures(*options: object) -> dict:
    done = _invoke("--json", *SMALL, *QUICK, *options)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def _tree(store: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in store.parent.rglob("*")}


class Clock:
    """A clock that only the calls named by ``charge`` advance: no figure depends on the load of the machine."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now, self._patch = 0.0, patch
        for module in (lgcoamix.profiling.measure, lgcoamix.training.throughput):
            patch.setattr(module, "time", self)

    def perf_counter(self) -> float:
        return self.now

    def charge(self, home: object, name: str, milliseconds: Callable[..., float]) -> None:
        """A call of ``home.name`` takes ``milliseconds``, a function of its arguments."""
        work = getattr(home, name)

        def slow(*arguments: Any, **options: Any) -> object:
            self.now += milliseconds(*arguments) / 1000
            return work(*arguments, **options)

        self._patch.setattr(home, name, slow)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A step takes 20 ms."""
    clock = Clock(monkeypatch)
    clock.charge(lgcoamix.training.epoch, "_run_step", lambda *_: 20)
    return clock


def test_the_tables_name_every_stage_and_end_with_one_recommendation(flowers_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = _tree(flowers_store)
    done = _invoke("--shards", flowers_store, *SMALL, *QUICK, "--workers", "1")
    assert done.exit_code == 0, done.stderr
    stages = ("read, first pass", "read, second pass", "decode", "augment", "read, decode, augment", "transfer")
    loaders = ("none: the same batch in every step", "streaming, 1 workers", "resident")
    for name in (*stages, *loaders):
        assert f"│ {name} " in done.stdout
    assert re.match("Nothing to do: |Steps wait for data ", done.stdout.splitlines()[-1])
    assert _tree(flowers_store) == before
    assert list(tmp_path.iterdir()) == []
    assert multiprocessing.active_children() == []


def test_raw_pixels_take_no_decoding_and_a_cpu_no_transfer(flowers_store, monkeypatch):
    monkeypatch.setattr(lgcoamix.profiling.measure, "_STEPS", 3)
    found = _figures("--shards", flowers_store, "--seconds", "600")  # never short of time: every sample is read
    assert (found["codec"], found["decode"], found["transfer"], found["samples"]) == ("raw", 0, 0, 36)
    assert min(found[stage] for stage in ("read_cold", "read", "augment", "step")) > 0
    assert found["streaming"]["steps"] >= 3
    assert found["resident_bytes"] == 64 * 64 * ((3 + 2) * 36 + 3 * 18)  # training with two maps of one byte, test
    for loader in ("streaming", "resident"):
        assert 0 <= found[loader]["waiting"] <= 1
        per_second = 12 * 1000 / found[loader]["milliseconds"]  # all batches are of 12
        assert found[loader]["images_per_second"] == pytest.approx(per_second, rel=1e-3)


def test_slow_cropping_is_found_and_the_resident_loader_does_without_it(flowers_store, clock, monkeypatch):
    monkeypatch.setattr(lgcoamix.data.ResidentDataset, "_crops_here", lambda self: False)  # as on a GPU
    clock.charge(preprocess.store.shard.Shard, "read_image", lambda *_: 1)
    clock.charge(lgcoamix.data.transforms, "show_window", lambda *_: 10)
    found = _figures("--shards", flowers_store)
    stages = {stage: found[stage] for stage in ("read_cold", "read", "decode", "augment", "transfer", "step")}
    assert stages == pytest.approx({"read_cold": 1, "read": 1, "decode": 0, "augment": 10, "transfer": 0, "step": 20})
    # 12 images are read and cropped in 132 ms, then follows a step of 20 ms.
    assert found["streaming"]["milliseconds"] == pytest.approx(152)
    assert found["streaming"]["waiting"] == pytest.approx(132 / 152)
    assert found["resident"]["milliseconds"] == pytest.approx(20)
    assert found["resident"]["waiting"] == 0
    assert "--loader resident" in found["recommendation"]
    assert "7.6 times as fast" in found["recommendation"]


def test_augmentation_counts_as_loading_and_keeps_images_off_the_device(flowers_store, clock, monkeypatch):
    monkeypatch.setattr(lgcoamix.profiling.measure, "cores", lambda: 1)
    clock.charge(lgcoamix.data.augment.Augment, "__call__", lambda *_: 10)
    found = _figures("--shards", flowers_store, "--augment", "light")
    assert (found["augmented"], found["resident"], found["resident_bytes"]) == (True, None, None)
    assert found["augment"] >= 10
    assert "--augment dominate" in found["recommendation"]


@pytest.mark.parametrize(("cores", "advice"), [(1, "--codec raw"), (64, "--workers 5")])
def test_slow_decoding_is_found_and_raw_pixels_recommended(cores, advice, stores, clock, monkeypatch):
    clock.charge(lgcoamix.profiling.measure, "decode", lambda code: 5)
    clock.charge(preprocess.store.shard, "decode_stored", lambda *_: 5)
    clock.charge(lgcoamix.data.transforms, "show_window", lambda *_: 3)
    monkeypatch.setattr(lgcoamix.profiling.measure, "_free_memory", lambda: 0)  # no room for the resident loader
    monkeypatch.setattr(lgcoamix.profiling.measure, "cores", lambda: cores)
    found = _figures("--shards", stores["png"])
    assert found["codec"] == "png"
    assert {name: found[name] for name in ("read", "decode", "augment", "step")} == pytest.approx(
        {"read": 0, "decode": 5, "augment": 3, "step": 20}
    )
    assert found["resident"] is None
    assert found["streaming"]["waiting"] == pytest.approx(96 / 116)  # 12 images of 8 ms, a step of 20 ms
    assert advice in found["recommendation"]


def test_images_of_their_own_sizes_are_measured_without_the_resident_loader(stores):
    done = _invoke("--shards", stores["short"], *SMALL, *QUICK, "--mixer", "none")
    assert done.exit_code == 0, done.stderr
    assert "only images: the method needs no maps" in done.stdout
    assert "too little memory, images of different sizes, or --augment" in done.stdout


def test_a_packed_store_is_measured(flowers_store, tmp_path):
    packed = tmp_path / "packed.h5"
    assert CliRunner().invoke(preprocess_command, ["pack", str(flowers_store), str(packed)]).exit_code == 0
    found = _figures("--shards", packed, "--samples", "1", "--seconds", "1")
    assert (found["samples"], found["store_bytes"]) == (12, packed.stat().st_size)


def test_an_incomplete_store_is_refused(flowers_store, tmp_path):
    store = tmp_path / flowers_store.name
    shutil.copy(flowers_store, store)
    done = _invoke("--shards", store, *SMALL)
    assert done.exit_code == 1
    assert "is not complete" in done.stderr


def test_a_damaged_sample_is_named_and_its_loading_process_ended(flowers_store, tmp_path):
    store = tmp_path / flowers_store.name
    shutil.copy(flowers_store, store)
    shutil.copytree(flowers_store.with_suffix(".shards"), store.with_suffix(".shards"))
    victim = max((store.with_suffix(".shards") / "train" / "images").iterdir())
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 0xFF
    victim.write_bytes(data)
    done = _invoke("--shards", store, *SMALL, "--workers", "1", "--samples", "1", "--seconds", "1")
    assert done.exit_code == 1
    assert "does not match its checksum" in done.stderr
    assert multiprocessing.active_children() == []


MISTAKES = {
    "help": (("--help",), 0, "--samples"),
    "no store": (("--shards", "nowhere.h5"), 2, "nowhere.h5"),
    "recipe": (("--recipe", "cub-resnet81"), 2, "did you mean cub-resnet18"),
    "mixer": (("--mixer", "lgcomix"), 2, "did you mean lgcoamix"),
    "set": (("--set", "optim.lr=fast"), 2, "optim.lr takes a number"),
    "size": (("--set", "data.crop=random", "--image-size", "65"), 2, "larger than the stored 64"),
    "seconds": (("--seconds", "0"), 2, "--seconds"),
}


def test_help_and_mistakes_answer_before_torch_is_imported(run: Run, flowers_store):
    script = (
        "import json, sys\n"
        "from click.testing import CliRunner\n"
        "from lgcoamix.cli.doctor import doctor\n"
        "for options in json.loads(sys.argv[1]):\n"
        "    done = CliRunner().invoke(doctor, options)\n"
        "    assert 'torch' not in sys.modules\n"
        "    print(json.dumps([done.exit_code, done.output]))\n"
    )
    asked = [
        [*([] if "--shards" in words else ["--shards", str(flowers_store)]), *words] for words, *_ in MISTAKES.values()
    ]
    done = run("-c", script, json.dumps(asked))
    assert done.returncode == 0, done.stderr
    answers = map(json.loads, done.stdout.splitlines())
    for (_, code, text), (status, output) in zip(MISTAKES.values(), answers, strict=True):
        assert status == code
        assert text in " ".join(output.split())


def test_a_network_that_is_not_there_is_a_usage_error(flowers_store):
    done = _invoke("--shards", flowers_store, "--device", "cpu", "--backbone", "resnt18")
    assert done.exit_code == 2
    assert "did you mean" in done.stderr


def test_ctrl_c_ends_it_and_its_loading_processes(flowers_store, monkeypatch):
    train = lgcoamix.profiling.measure.train_one_epoch
    loading = []

    def press(step: object, batches: object, order: object, progress: object, after_step: Callable) -> object:
        def after(count: int) -> None:
            after_step(count)
            loading.extend(multiprocessing.active_children())
            if loading:
                signal.raise_signal(signal.SIGINT)

        return train(step, batches, order, progress, after)

    monkeypatch.setattr(lgcoamix.profiling.measure, "train_one_epoch", press)
    done = _invoke("--shards", flowers_store, *SMALL, *QUICK, "--workers", "2")
    assert done.exit_code == 130
    assert len(loading) == 2
    assert multiprocessing.active_children() == []
    assert done.stdout == ""
