"""``python -m lgcoamix evaluate``: what it writes about a run, and what it refuses."""

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import binomtest

from lgcoamix.cli import main
from lgcoamix.errors import RunError
from lgcoamix.evaluation.evaluate import evaluate_checkpoint
from lgcoamix.runs.load import make_network, read_trained
from lgcoamix.settings.options import EvaluationOptions
from preprocess.files import digest_of
from preprocess.store import Store
from tests.conftest import PROOF
from tests.preprocess.conftest import build_here

SMALL = ("--backbone", "test_resnet", "--weights", "none", "--image-size", 32, "--batch-size", 12, "--epochs", 1)
HERE = ("--device", "cpu", "--workers", 0)
PICTURES = {"reliability.png", "confusion.png", "per_class.png", "mistakes.png", "robustness.png"}
TABLES = {"evaluation.json", "predictions.csv"} | {name.replace(".png", ".csv") for name in PICTURES}
ROBUSTNESS = {"robustness.png", "robustness.csv"}


def _invoke(*options: object) -> Result:
    """The command in this process; an exception that nobody caught would be a traceback in a process of its own."""
    done = CliRunner().invoke(main, ["evaluate", *map(str, options)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert "Traceback" not in done.output
    return done


def _evaluate(checkpoint: Path, store: Path, out: Path, *options: object) -> dict:
    done = _invoke("--checkpoint", checkpoint, "--shards", store, "--out", out, *HERE, *options)
    assert done.exit_code == 0, done.output
    return json.loads((out / "evaluation.json").read_text())


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "run"
    options = ("--shards", flowers_store, *SMALL, *HERE, "--mixer", "lgcoamix", "--no-tensorboard", "--no-pictures")
    done = CliRunner().invoke(main, ["train", *map(str, options), "--out", str(out)])
    assert done.exit_code == 0, done.output
    return out


@pytest.fixture(scope="module")
def spoken(trained: Path, flowers_store: Path) -> str:
    """What the command says when all defaults hold; its folder is beside the checkpoint."""
    done = _invoke("--checkpoint", trained / "last.pt", "--shards", flowers_store, *HERE)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def folder(spoken: str, trained: Path) -> Path:
    return trained / "evaluation-test"


@pytest.fixture(scope="module")
def document(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def test_the_last_checkpoint_has_the_last_figures_of_its_run(document, trained):
    row = _rows(trained / "metrics.csv")[-1]
    assert document["figures"]["top1"] == pytest.approx(float(row["test_top1"]), abs=1e-4)
    assert document["figures"]["loss"] == pytest.approx(float(row["test_loss"]), rel=1e-4)


def test_the_folder_holds_what_is_promised_and_nothing_else(folder, trained):
    assert {path.name for path in folder.iterdir()} == PICTURES | TABLES
    assert not [path for path in trained.iterdir() if path.name.startswith(".evaluation")]


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_every_picture_shows_something(name, folder):
    with Image.open(folder / name) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert (np.ptp(pixels, axis=2) > 30).mean() > 0.002


def test_the_document_says_what_was_evaluated(document, trained, flowers_store):
    store = Store(flowers_store)
    assert document["checkpoint"]["name"] == "last.pt"
    assert document["checkpoint"]["path"] == str((trained / "last.pt").resolve())
    assert document["checkpoint"]["trained"] == "epoch 1"
    assert document["checkpoint"]["weights"] == "model"
    assert (document["store"]["name"], document["store"]["keys"]) == ("flowers", store.content_keys)
    assert (document["split"], document["classes"]) == ("test", ["daisy", "iris", "tulip"])
    assert document["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert document["figures"]["images"] == 18
    assert document["figures"]["counts"] == [6, 6, 6]
    assert [row["epsilon_255"] for row in document["fgsm"]] == [1, 2, 4, 8]
    assert [row["share"] for row in document["drop"]] == [0.25, 0.5, 0.75]


def test_tables_and_document_agree(folder, document, flowers_store):
    rows, classes = _rows(folder / "predictions.csv"), document["classes"]
    store = Store(flowers_store)
    assert [row["key"] for row in rows] == store.keys("test")
    assert [classes.index(row["label"]) for row in rows] == store.labels("test").tolist()
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in rows)
    pairs = Counter((row["label"], row["prediction"]) for row in rows)
    assert document["figures"]["confusion"] == [[pairs[label, guess] for guess in classes] for label in classes]
    assert document["figures"]["top1"] == pytest.approx(100 * sum(pairs[name, name] for name in classes) / 18)
    for row, name in zip(_rows(folder / "per_class.csv"), classes, strict=True):
        assert (row["class"], row["images"]) == (name, "6")
        accuracy, ends = 100 * pairs[name, name] / 6, binomtest(pairs[name, name], 6).proportion_ci(method="wilson")
        expected = pytest.approx([accuracy, 100 * ends.low, 100 * ends.high], abs=0.01)
        assert [float(row[column]) for column in ("accuracy", "low", "high")] == expected
        label, figures = classes.index(name), document["figures"]
        assert [figures["per_class"][label], *figures["per_class_interval"][label]] == expected


def test_the_command_shows_its_figures(spoken, document):
    assert f"{document['figures']['top1']:.2f} %" in spoken
    assert "FGSM, epsilon 8/255" in spoken
    assert "0.75 of 7x7 patches dropped" in spoken
    assert "evaluation-test" in spoken


def test_the_attack_raises_the_loss(document):
    # One step along the gradient of the loss itself.
    assert document["fgsm"][0]["loss"] > document["figures"]["loss"]


@pytest.mark.usefixtures("undrawn")
def test_when_every_patch_is_dropped_all_images_are_black(trained, flowers_store, tmp_path):
    found = _evaluate(trained, flowers_store, tmp_path / "out", "--drop", "1", "--fgsm", "none")
    assert found["drop"][0]["top1"] == pytest.approx(100 / 3)  # 6 of 18 are of whichever class it is
    black = torch.full((1, 3, 32, 32), -1.0)  # this network has mean and deviation 0.5
    network = make_network(read_trained(trained / "last.pt")).eval()
    with torch.no_grad():
        logits = network(black).logits
    assert found["drop"][0]["loss"] == pytest.approx(-float(logits.log_softmax(1).mean()), rel=1e-5)
    assert found["fgsm"] == []


@pytest.mark.usefixtures("undrawn")
def test_the_size_of_batches_changes_nothing(document, folder, trained, flowers_store, tmp_path):
    other = _evaluate(trained / "last.pt", flowers_store, tmp_path / "out", "--batch-size", 5)
    for kind in ("fgsm", "drop"):
        losses = [[row["loss"] for row in found[kind]] for found in (document, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert [row["prediction"] for row in _rows(tmp_path / "out" / "predictions.csv")] == [
        row["prediction"] for row in _rows(folder / "predictions.csv")
    ]


@pytest.mark.usefixtures("undrawn")
def test_a_run_folder_means_its_best_checkpoint_and_none_leaves_out_the_attacks(trained, flowers_store, tmp_path):
    out = tmp_path / "out"
    found = _evaluate(trained, flowers_store, out, "--fgsm", "none", "--drop", "none", "--split", "train")
    assert found["checkpoint"]["name"] == "best.pt"
    assert (found["split"], found["figures"]["images"]) == ("train", 36)
    assert (found["fgsm"], found["drop"]) == ([], [])
    assert {path.name for path in out.iterdir()} == (PICTURES | TABLES) - ROBUSTNESS


def _changed(trained: Path, path: Path, **changes: object) -> Path:
    """A copy of a checkpoint with other content."""
    content = torch.load(trained / "last.pt", weights_only=True)
    torch.save({**content, **changes}, path)
    return path


def _always(trained: Path, label: int) -> dict[str, torch.Tensor]:
    """Weights of a network that knows one answer."""
    state = torch.load(trained / "last.pt", weights_only=True)["model"]
    state["backbone.net.fc.weight"] = torch.zeros_like(state["backbone.net.fc.weight"])
    state["backbone.net.fc.bias"] = torch.eye(3)[label]
    return state


@pytest.mark.usefixtures("undrawn")
def test_the_digest_is_that_of_the_weights_that_were_evaluated(trained, flowers_store, tmp_path):
    path = Path(shutil.copy(trained / "best.pt", tmp_path))
    options = EvaluationOptions(path, "test", tmp_path / "out", device="cpu", workers=0, fgsm=(), drop=())

    def go_on(*_: object) -> Callable[[int], None]:
        path.write_bytes((trained / "last.pt").read_bytes())
        return lambda count: None

    document = evaluate_checkpoint(Store(flowers_store), options, go_on)
    assert document["checkpoint"]["sha256"] == digest_of(trained / "best.pt")


def test_no_worker_outlives_an_evaluation_that_fails(trained, flowers_store, tmp_path):
    options = EvaluationOptions(trained / "best.pt", "test", tmp_path / "out", device="cpu", workers=1, batch_size=5)

    def fail(count: int) -> None:
        raise RunError("stopped")

    before = set(active_children())
    with pytest.raises(RunError, match="stopped") as failure:  # its traceback keeps the loader
        evaluate_checkpoint(Store(flowers_store), options, lambda *_: fail)
    left = set(active_children()) - before
    for worker in left:
        worker.kill()  # else the end of this process would wait for it
    assert not left, failure


@pytest.mark.usefixtures("undrawn")
def test_averaged_weights_are_evaluated_where_there_are_some(trained, flowers_store, tmp_path):
    path = _changed(trained, tmp_path / "ema.pt", model_ema=_always(trained, 2))
    found = _evaluate(path, flowers_store, tmp_path / "out", "--fgsm", "none", "--drop", "none")
    assert found["checkpoint"]["weights"] == "model_ema"
    assert found["figures"]["per_class"] == [0, 0, 100]
    assert found["figures"]["loss"] == pytest.approx(np.log(np.e + 2) - 1 / 3)  # logits 0, 0, 1


@pytest.mark.usefixtures("undrawn")
def test_a_checkpoint_from_the_middle_of_an_epoch_says_so(trained, flowers_store, tmp_path):
    path = _changed(trained, tmp_path / "mid.pt", position={"epoch": 1, "step": 2})
    found = _evaluate(path, flowers_store, tmp_path / "out", "--fgsm", "none", "--drop", "none")
    assert found["checkpoint"]["trained"] == "step 2 of epoch 2"


@pytest.mark.usefixtures("undrawn")
def test_only_force_replaces_another_evaluation_or_writes_beside_other_files(trained, flowers_store, tmp_path):
    out, last = tmp_path / "out", trained / "last.pt"
    _evaluate(last, flowers_store, out)
    (out / "notes.txt").write_text("mine")
    before = (out / "evaluation.json").read_bytes()
    quick = ("--fgsm", "none", "--drop", "none")
    options = ("--shards", flowers_store, "--out", out, *HERE, *quick)
    done = _invoke("--checkpoint", last, *options)
    assert (done.exit_code, _has(done, "out holds notes.txt, which is no part of an evaluation")) == (2, True)
    (out / "notes.txt").unlink()
    for other in (("--checkpoint", trained / "best.pt"), ("--checkpoint", last, "--split", "train")):
        done = _invoke(*other, *options)
        assert (done.exit_code, _has(done, "contains the evaluation of .*last.pt on flowers, split test")) == (2, True)
    (out / "notes.txt").write_text("mine")
    assert (out / "evaluation.json").read_bytes() == before
    (out / "notes.csv").write_text("mine")
    done = _invoke("--checkpoint", last, *options, "--force")
    assert done.exit_code == 0, done.output
    assert done.output.endswith(f"wrote {out}: {', '.join(sorted((PICTURES | TABLES) - ROBUSTNESS))}\n")
    assert (out / "evaluation.json").read_bytes() != before
    assert {path.name for path in out.iterdir()} == (PICTURES | TABLES | {"notes.txt", "notes.csv"}) - ROBUSTNESS


def _has(done: Result, pattern: str) -> bool:
    return re.search(pattern, " ".join(done.output.split())) is not None


MISTAKES = {
    "no checkpoint": (("--checkpoint", "nowhere.pt"), 2, "nowhere.pt"),
    "split": (("--split", "tset"), 2, r"no split 'tset'; did you mean test"),
    "fgsm: text": (("--fgsm", "1,two"), 2, r"--fgsm.*numbers in \(0, 255\].*got '1,two'"),
    "fgsm: zero": (("--fgsm", "0,1"), 2, r"--fgsm.*got '0,1'"),
    "fgsm: too many": (("--fgsm", "256"), 2, r"--fgsm.*got '256'"),
    "fgsm: nan": (("--fgsm", "nan"), 2, r"--fgsm.*got 'nan'"),
    "fgsm: nothing": (("--fgsm", ""), 2, r"--fgsm.*or none, got ''"),
    "drop: range": (("--drop", "0.5,1.5"), 2, r"--drop.*shares in \(0, 1\].*got '0.5,1.5'"),
    "grid": (("--drop-grid", 33), 2, r"--drop-grid 33 exceeds the input size of 32 pixels"),
    "batches": (("--batch-size", 0), 2, r"--batch-size"),
    "pgd: too many": (("--pgd", "256"), 2, r"--pgd.*got '256'"),
    "tta": (("--tta", "flop"), 2, r"--tta.*did you mean 'flip'"),
    "a reference alone": (
        ("--reference", "nowhere.json"),
        2,
        r"--reference is for corruption errors: give --corruptions",
    ),
    "no reference": (("--corruptions", "--reference", "nowhere.json"), 2, r"nowhere.json: No such file"),
}


@pytest.mark.parametrize(("options", "code", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gives_one_message_and_no_folder(options, code, message, trained, flowers_store, tmp_path):
    out = tmp_path / "out"
    done = _invoke("--checkpoint", trained, "--shards", flowers_store, "--out", out, *HERE, *options)
    assert done.exit_code == code
    assert _has(done, message), done.output
    assert len([line for line in done.output.splitlines() if line.startswith("Error:")]) == 1
    assert list(tmp_path.iterdir()) == []


def _refused(checkpoint: Path, store: Path, out: Path, message: str) -> None:
    done = _invoke("--checkpoint", checkpoint, "--shards", store, "--out", out, *HERE)
    assert done.exit_code == 1, done.output
    assert _has(done, message), done.output
    assert not out.exists()


def test_files_that_are_no_checkpoints_are_refused(trained, flowers_store, tmp_path):
    path, out = tmp_path / "other.pt", tmp_path / "out"
    _refused(tmp_path, flowers_store, out, r"run folder with best.pt; there is no .*best.pt")
    path.write_text("notes")
    _refused(path, flowers_store, out, r"other.pt is .*not a checkpoint of this program")
    torch.save({"weights": torch.zeros(3)}, path)
    _refused(path, flowers_store, out, r"other.pt is not a checkpoint of this program")
    torch.save(torch.zeros(3), path)
    _refused(path, flowers_store, out, r"other.pt is not a checkpoint of this program")


def test_checkpoints_that_do_not_fit_this_program_are_refused(trained, flowers_store, tmp_path):
    content, out = torch.load(trained / "last.pt", weights_only=True), tmp_path / "out"
    config = content["config"]
    settings = {**config["settings"], "model": {**config["settings"]["model"], "colour": "blue"}}
    path = _changed(trained, tmp_path / "old.pt", config={**config, "settings": settings})
    _refused(path, flowers_store, out, r"another version of this program.*'colour'")
    settings = {**config["settings"], "model": {**config["settings"]["model"], "backbone": "resnet18"}}
    path = _changed(trained, tmp_path / "other.pt", config={**config, "settings": settings})
    _refused(path, flowers_store, out, r"does not match the network resnet18")


def test_a_network_that_diverged_is_named(trained, flowers_store, tmp_path):
    state = _always(trained, 0)
    state["backbone.net.fc.bias"] = torch.full((3,), torch.nan)
    path = _changed(trained, tmp_path / "nan.pt", model=state)
    _refused(path, flowers_store, tmp_path / "out", r"nan.pt cannot be used: backbone.net.fc.bias is not finite")
    assert [found.name for found in tmp_path.iterdir()] == ["nan.pt"]


def test_a_store_of_other_classes_is_refused(trained, flowers_store, painted, tmp_path):
    out = tmp_path / "out"
    store = build_here(painted, tmp_path / "painted.h5").path
    _refused(trained, store, out, r"has 3 classes, .* has 2; .* class 0: 'daisy' in the checkpoint, 'a' in the store")
    config = torch.load(trained / "last.pt", weights_only=True)["config"]
    path = _changed(trained, tmp_path / "four.pt", config={**config, "classes": [*config["classes"], "rose"]})
    _refused(path, flowers_store, out, r"class 3: 'rose' in the checkpoint, missing in the store")


def test_a_centre_that_is_larger_than_the_stored_images_is_refused(trained, flowers_store, tmp_path):
    config = torch.load(trained / "last.pt", weights_only=True)["config"]
    data = {**config["settings"]["data"], "test": "center", "image_size": 80}
    path = _changed(trained, tmp_path / "large.pt", config={**config, "settings": {**config["settings"], "data": data}})
    _refused(path, flowers_store, tmp_path / "out", r"centre crop of 80 pixels .* contains images of 64 pixels")


def test_a_store_that_lacks_a_shard_is_refused(trained, flowers_store, tmp_path):
    store = tmp_path / flowers_store.name
    shutil.copy(flowers_store, store)
    shutil.copytree(flowers_store.with_suffix(".shards"), store.with_suffix(".shards"))
    next((store.with_suffix(".shards") / "test" / "images").iterdir()).unlink()
    _refused(trained, store, tmp_path / "out", r"is not complete: 1 shards are missing")


def test_without_a_test_split_one_must_be_named(trained, painted, tmp_path):
    shutil.rmtree(painted / "test")
    store = build_here(painted, tmp_path / "train-only.h5").path
    _refused(trained, store, tmp_path / "out", r"neither a test nor a val split; choose another with --split")


def test_every_figure_has_an_interval(document, spoken):
    rows = [document["figures"], *document["fgsm"], *document["drop"]]
    for row in rows:
        assert row["interval"].keys() == {"top1", "loss", "calibration_error"}  # no top-5 of three classes
        low, high = row["interval"]["top1"]
        assert low <= row["top1"] <= high
    low, high = document["figures"]["interval"]["loss"]
    assert low < document["figures"]["loss"] < high
    assert f"{document['figures']['loss']:.4f} [{low:.4f}, {high:.4f}]" in spoken
    worst = min(range(3), key=document["figures"]["per_class"].__getitem__)
    low, high = document["figures"]["per_class_interval"][worst]
    said = f"{document['classes'][worst]}, {document['figures']['per_class'][worst]:.2f} % [{low:.2f}, {high:.2f}]"
    assert f"worst class: {said}" in " ".join(spoken.split())
    assert "95 %, percentiles of 2000 bootstrap resamples of the images" in " ".join(spoken.split())


@pytest.fixture(scope="module")
def corrupted(trained: Path, flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corrupted") / "out"
    with pytest.MonkeyPatch.context() as patch:
        if not PROOF:
            patch.setattr(Figure, "savefig", lambda *_, **__: None)
        _evaluate(trained, flowers_store, out, "--fgsm", "none", "--drop", "none", "--corruptions")
    return out


@pytest.mark.usefixtures("undrawn")
def test_corruptions_are_measured_and_do_not_depend_on_workers_or_batches(corrupted, trained, flowers_store, tmp_path):
    reference, out = corrupted / "evaluation.json", tmp_path / "out"
    given = ("--fgsm", "none", "--drop", "none", "--corruptions", "--reference", reference)
    here = ("--device", "cpu", "--workers", 2, "--batch-size", 7)
    done = _invoke("--checkpoint", trained, "--shards", flowers_store, "--out", out, *given, *here)
    assert done.exit_code == 0, done.output
    first, second = (json.loads((path / "evaluation.json").read_text())["corruptions"] for path in (corrupted, out))
    assert [row["top1"] for row in first["rows"]] == [row["top1"] for row in second["rows"]]
    assert second["interval"] == first["interval"]
    assert (first["mce"], second["mce"]) == (None, pytest.approx(100))
    assert second["reference"]["path"] == str(reference)
    rows = _rows(out / "corruptions.csv")
    assert [float(row["top1"]) for row in rows] == [row["top1"] for row in first["rows"]]
    assert {row["images"] for row in rows} == {"18"}
    assert len(rows) == 65
    said = " ".join(done.output.split())
    (line,) = [line for line in done.output.splitlines() if line.startswith("│ mean")]
    firsts = [row["top1"] for row in first["rows"] if row["severity"] == 1]
    assert line.split()[3] == f"{sum(firsts) / 13:.2f}"
    assert f" {first['top1']:.2f} [" in line
    assert "100.00 [" in said
    assert "their mean is mCE" in said


@pytest.mark.usefixtures("undrawn")
def test_several_steps_and_the_mirror_image(trained, flowers_store, tmp_path):
    given = ("--fgsm", 8, "--pgd", 8, "--drop", "none", "--tta", "flip", "--out", tmp_path / "out")
    done = _invoke("--checkpoint", trained, "--shards", flowers_store, *HERE, *given)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    (one,), (many,) = found["fgsm"], found["pgd"]
    assert many["loss"] >= 0.99 * one["loss"] > found["figures"]["loss"]
    assert found["tta"] == "flip"
    assert "PGD, epsilon 8/255" in done.output
    assert "probabilities averaged over each image and its mirror image" in done.output


@pytest.mark.usefixtures("undrawn")
def test_the_mirror_image_of_a_store_gives_the_same_figures(trained, flowers_store, tmp_path, monkeypatch):
    import lgcoamix.evaluation.subject as module

    given = ("--fgsm", "none", "--drop", "none", "--tta", "flip")
    found = _evaluate(trained, flowers_store, tmp_path / "first", *given)
    ours = module.to_inputs
    monkeypatch.setattr(module, "to_inputs", lambda *given: ours(*given).flip(3))
    mirrored = _evaluate(trained, flowers_store, tmp_path / "second", *given)
    assert mirrored["figures"]["loss"] == pytest.approx(found["figures"]["loss"], rel=1e-6)
    plain = _evaluate(trained, flowers_store, tmp_path / "third", "--fgsm", "none", "--drop", "none")
    assert plain["figures"]["loss"] != pytest.approx(found["figures"]["loss"], rel=1e-6)


def test_the_reference_is_an_input(corrupted, trained, flowers_store):
    done = _invoke(
        *("--checkpoint", trained, "--shards", flowers_store, "--out", corrupted, *HERE, "--corruptions"),
        *("--reference", corrupted / "evaluation.json"),
    )
    assert done.exit_code == 2
    assert _has(done, "holds an input of this command")
