"""Precision, memory order, compilation, accumulation, averages, clipping: alone by hand, and in pairs."""

import csv
import io
import math
from functools import partial
from itertools import combinations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn

from lgcoamix.cli import train
from lgcoamix.data import RunBatches
from lgcoamix.errors import SettingsError
from lgcoamix.mixing import MIXERS, Batch
from lgcoamix.models import LocalGlobalNet
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.losses import local_contrast
from lgcoamix.ops.means import Means
from lgcoamix.ops.normalise import no_normalisation
from lgcoamix.settings.sections import ComputeSettings, OptimSettings
from lgcoamix.training.epoch import Progress, train_one_epoch
from lgcoamix.training.optim import make_average, make_optimiser, refuse_other_optimiser
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Waiting
from tests.conftest import PROOF
from tests.lgcoamix.toys import Toy

ALONE = Ranks(torch.device("cpu"))
SMALL = (
    "--backbone",
    "test_resnet",
    "--weights",
    "none",
    "--image-size",
    "32",
    "--batch-size",
    "18",
    "--device",
    "cpu",
)
PLAINLY = ("--workers", 0, "--no-tensorboard", "--no-pictures")


def _batches(count: int = 3) -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (6, 3, 4, 4), generator=draw, dtype=torch.uint8) for _ in range(count)]
    return [Batch(part, torch.randint(4, (6,), generator=draw)) for part in images]


def _run(model: nn.Module, optim: OptimSettings, compute: ComputeSettings | None = None, mixer: str = "none") -> Step:
    """Train one epoch of three batches."""
    optimiser, average = make_optimiser(model, optim), make_average(model, optim)
    parts = (compute or ComputeSettings(), optim.clip, optim.accumulate, average)
    step = Step(model, MIXERS[mixer](), optimiser, no_normalisation(), ALONE, 0, *parts)
    batches = _batches()
    progress = Progress(0, 0, Means(), Waiting(ALONE.device))
    train_one_epoch(step, batches, RunBatches(18, 6, seed=0), progress, lambda _: None)
    return step


def _by_hand(clip: float = math.inf, average: float = 0.0) -> tuple[Toy, list[torch.Tensor]]:
    """Plain gradient descent with rate 0.5; also the moving average of the weights."""
    model = Toy()
    mean = [value.detach().clone() for value in model.parameters()]
    for batch in _batches():
        loss = F.cross_entropy(model(batch.images / 255).logits, batch.labels)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients))
        with torch.no_grad():
            for value, gradient in zip(model.parameters(), gradients, strict=True):
                value -= 0.5 * gradient * min(1.0, clip / (norm + 1e-6))
            mean = [average * old + (1 - average) * new for old, new in zip(mean, model.parameters(), strict=True)]
    return model, mean


PLAIN = {"lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "batch_size": 6}


def _assert_same(own: nn.Module, theirs: list[torch.Tensor]) -> None:
    for left, right in zip(own.parameters(), theirs, strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_accumulated_parts_give_the_gradient_of_the_whole_batch(parts):
    model = Toy()
    _run(model, OptimSettings(**PLAIN, accumulate=parts))
    _assert_same(model, list(_by_hand()[0].parameters()))


def test_clipping_bounds_the_norm_of_the_gradient():
    model, free = Toy(), Toy()
    _run(model, OptimSettings(**PLAIN, clip=0.05, accumulate=2))
    _assert_same(model, list(_by_hand(clip=0.05)[0].parameters()))
    _run(free, OptimSettings(**PLAIN))
    assert not torch.allclose(free.linear.weight, model.linear.weight, atol=1e-3)


def test_the_norm_is_that_of_the_gradient_before_the_loss_is_scaled():
    model, start = Toy(), torch.cat([value.detach().flatten() for value in Toy().parameters()])
    _run(model, OptimSettings(**PLAIN, clip=0.05), ComputeSettings(amp="fp16"))
    found, wanted = (
        torch.cat([value.detach().flatten() for value in each.parameters()]) for each in (model, _by_hand(clip=0.05)[0])
    )
    assert float((wanted - start).norm()) > 0.03  # three steps of 0.5 · 0.05, not all one way
    assert float((found - wanted).norm()) < 0.005


def test_a_run_goes_on_with_the_scale_that_its_loss_had():
    first, second = (_run(Toy(), OptimSettings(**PLAIN), ComputeSettings(amp="fp16")) for _ in range(2))
    first.scaler.update(512.0)  # as after overflows
    second.restore({**first.state_dict(), **first.weights()})
    assert second.scaler.get_scale() == 512


def _one_step(batch: Batch, mixer: str, parts: int) -> tuple[Step, Progress, dict[str, float]]:
    model = Toy()
    optimiser = torch.optim.SGD(model.parameters(), 0.5)
    step = Step(model, MIXERS[mixer](), optimiser, no_normalisation(), ALONE, accumulate=parts)
    progress, count = Progress(0, 0, Means(), Waiting(ALONE.device)), len(batch.labels)
    return step, progress, train_one_epoch(step, [batch], RunBatches(count, count, seed=0), progress, lambda _: None)


@pytest.mark.parametrize(("count", "parts"), [(7, 2), (7, 3), (5, 2)])
def test_parts_of_different_lengths_count_by_their_images(count, parts):
    draw, twin = torch.Generator().manual_seed(0), Toy()
    images = torch.randint(256, (count, 3, 4, 4), generator=draw, dtype=torch.uint8)
    batch = Batch(images, torch.randint(4, (count,), generator=draw))
    step, _, row = _one_step(batch, "none", parts)
    loss = F.cross_entropy(twin(images / 255).logits, batch.labels)
    loss.backward()
    _assert_same(step.network, [value - 0.5 * value.grad for value in twin.parameters()])
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-6)


def test_monitors_of_parts_of_different_lengths_count_by_their_images():
    batch = Batch(torch.randint(256, (7, 3, 4, 4), dtype=torch.uint8), torch.arange(7) % 4)
    step, progress, row = _one_step(batch, "mixup", 2)
    three, four = (
        float(step.plan(batch.part(*ends), 0, 0, part=part).lam) for part, ends in enumerate([(0, 3), (3, 7)])
    )
    ((number, lams),) = progress.lams
    assert row["lam"] == pytest.approx((3 * three + 4 * four) / 7, rel=1e-6)
    assert (number, float(lams["lam"])) == (0, pytest.approx((3 * three + 4 * four) / 7, rel=1e-6))


def test_the_average_of_the_weights_is_what_is_evaluated():
    step = _run(Toy(), OptimSettings(**PLAIN, ema=0.7))
    assert step.evaluated is not step.network
    _assert_same(step.evaluated, _by_hand(average=0.7)[1])
    _assert_same(step.network, list(_by_hand()[0].parameters()))


def test_the_weight_decay_can_leave_out_biases_and_norms():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    groups = make_optimiser(model, OptimSettings(decay="weights", weight_decay=0.1)).param_groups
    decayed = {id(value) for group in groups if group["weight_decay"] for value in group["params"]}
    assert decayed == {id(model[0].weight), id(model[3].weight)}
    (everything,) = make_optimiser(model, OptimSettings(decay="all", weight_decay=0.1)).param_groups
    assert everything["weight_decay"] == 0.1
    assert len(everything["params"]) == 6


def test_what_a_transformer_keeps_from_decay_is_kept_unless_all_is_asked_for():
    network = LocalGlobalNet("vit_tiny_patch16_224", 3, image_size=32, local=False)
    groups = make_optimiser(network, OptimSettings(decay="weights", weight_decay=0.1)).param_groups
    decayed = {id(value) for group in groups if group["weight_decay"] for value in group["params"]}
    assert id(network.backbone.net.pos_embed) not in decayed
    assert id(network.backbone.net.cls_token) not in decayed
    assert id(network.backbone.net.head.weight) in decayed
    (group,) = make_optimiser(network, OptimSettings(decay="all", weight_decay=0.1)).param_groups
    assert (group["weight_decay"], len(group["params"])) == (0.1, len(list(network.parameters())))


def test_the_optimisers_are_the_named_ones():
    model = Toy()
    plain = make_optimiser(model, OptimSettings())
    assert type(plain) is torch.optim.SGD
    assert not plain.param_groups[0]["nesterov"]
    assert make_optimiser(model, OptimSettings(nesterov=True)).param_groups[0]["nesterov"]
    for name, set_true, wanted in (
        ("sgdw", False, False),
        ("sgdp", False, False),
        ("lars", True, True),
        ("momentum", True, True),
        ("nlars", False, True),  # by its name
    ):
        settings = OptimSettings(optimiser=name, nesterov=set_true)
        assert make_optimiser(model, settings).param_groups[0]["nesterov"] == wanted, name
    assert make_optimiser(model, OptimSettings(optimiser="sgdw", momentum=0))
    with pytest.raises(SettingsError, match=r"optim\.nesterov=true: timm's adamw has no Nesterov"):
        make_optimiser(model, OptimSettings(optimiser="adamw", nesterov=True))
    assert type(make_optimiser(model, OptimSettings(optimiser="adamw"))) is torch.optim.AdamW
    with pytest.raises(SettingsError, match="no optimiser 'adamx'; did you mean"):
        make_optimiser(model, OptimSettings(optimiser="adamx"))
    with pytest.raises(SettingsError, match="second derivatives"):
        make_optimiser(model, OptimSettings(optimiser="adahessian"))


@pytest.mark.parametrize("name", ["adafactorbv", "adamw", "adan", "lamb", "muon", "nadamw", "novograd", "sgd"])
def test_every_optimiser_takes_its_own_state_again(name):
    settings, model = OptimSettings(optimiser=name), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    model.get_classifier = lambda: model[2]
    optimiser, again = make_optimiser(model, settings), make_optimiser(model, settings)
    model(torch.rand(2, 3, 4, 4)).square().sum().backward()
    optimiser.step()
    file = io.BytesIO()
    torch.save(optimiser.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    refuse_other_optimiser(again, state)
    state["param_groups"][0]["weight_decay"] += 1
    with pytest.raises(ValueError, match=r"optimiser.param_groups.0.weight_decay: expected 0.0005, got 1.0005"):
        refuse_other_optimiser(again, state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_contrast_is_computed_in_full_precision_under_autocast(dtype):
    draw = torch.Generator().manual_seed(0)
    rows, labels = torch.randn(40, 16, generator=draw), torch.randint(4, (40,), generator=draw)
    with torch.autocast("cpu", dtype):
        found = local_contrast(rows, labels)
    assert float(found) == pytest.approx(float(local_contrast(rows, labels)), rel=1e-6)


# Every pair of values of any two switches is in one row at least.
SWITCHES = ("amp", "channels_last", "compile", "accumulate", "ema", "clip")
ROWS = {
    "000000": (0, 0, 0, 0, 0, 0),
    "011101": (0, 1, 1, 1, 0, 1),
    "101110": (1, 0, 1, 1, 1, 0),
    "110011": (1, 1, 0, 0, 1, 1),
    "110100": (1, 1, 0, 1, 0, 0),
    "011010": (0, 1, 1, 0, 1, 0),
    "000111": (0, 0, 0, 1, 1, 1),
    "101001": (1, 0, 1, 0, 0, 1),
}


def test_the_matrix_holds_every_pair():
    for one, other in combinations(range(len(SWITCHES)), 2):
        assert {(row[one], row[other]) for row in ROWS.values()} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def _train(store: Path, out: Path, row: tuple[int, ...]) -> dict[str, float]:
    """One epoch of LGCOAMix, every batch mixed; its last row of metrics."""
    amp, channels_last, compiled, accumulate, ema, clip = row
    options = ("--shards", store, *SMALL, "--epochs", 1, *PLAINLY, "--out", out)
    assignments = {
        "mixer.mix_prob": 1.0,
        "mixer.top_ratio": 1.0,  # at the start scores are 0 up to rounding, which would choose the regions
        "compute.amp": "bf16" if amp else "off",
        "compute.channels_last": "true" if channels_last else "false",
        "compute.compile": "true" if compiled else "false",
        "optim.accumulate": 2 if accumulate else 1,
        "optim.ema": 0.5 if ema else 0.0,
        "optim.clip": 1.0 if clip else 0.0,
    }
    sets = [text for name, value in assignments.items() for text in ("--set", f"{name}={value}")]
    done = CliRunner().invoke(train, list(map(str, (*options, *sets))))
    assert done.exit_code == 0, done.output
    with (out / "metrics.csv").open(newline="") as file:
        (found,) = csv.DictReader(file)
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("name", [name for name in ROWS if PROOF or name in ("101110", "110011", "000111")])
def test_the_switches_go_together_and_change_the_figures_little(name, flowers_store, tmp_path, monkeypatch):
    if not PROOF:  # dynamo traces everything, but the code that it generates would take two minutes to compile
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    row = ROWS[name]
    found = _train(flowers_store, tmp_path / "run", row)
    same_mathematics = _train(flowers_store, tmp_path / "plain", (0, 0, 0, *row[3:]))
    tolerance = 0.05 if row[0] else 0.005
    for term in ("loss", "global", "local", "contrast", "lam_area", "test_loss"):
        assert found[term] == pytest.approx(same_mathematics[term], rel=tolerance), term
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert (state["model_ema"] is not None) == bool(row[4])


def test_half_precision_with_a_scaled_loss_trains(flowers_store, tmp_path):
    sets = ("optim.clip=1", "optim.accumulate=2", "optim.optimiser=adamw", "optim.lr=0.001", "optim.plain_epochs=1")
    options = ("--shards", flowers_store, *SMALL, "--epochs", 2, *PLAINLY, "--amp", "fp16")
    options += ("--image-size", 16, "--set", "model.width=8")  # a CPU multiplies halves slowly
    assigned = [text for pair in sets for text in ("--set", pair)]
    command = (*options, *assigned, "--set", "mixer.mix_prob=1", "--out", tmp_path / "run")
    done = CliRunner().invoke(train, list(map(str, command)))
    assert done.exit_code == 0, done.output
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mixed"]) for row in rows] == [1, 0]  # the last epoch mixes nothing
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["scaler"]["scale"] > 0


@pytest.mark.parametrize("decay", ["all", "weights"])
def test_new_layers_have_a_rate_of_their_own(decay):
    network = LocalGlobalNet("resnet10t", 3, image_size=32, mid=True)
    settings = OptimSettings(decay=decay, lr=0.001, new_layers=10.0, weight_decay=0.1)
    groups = make_optimiser(network, settings).param_groups
    rates = {id(part): (group["lr"], group["lr_scale"]) for group in groups for part in group["params"]}
    for name, part in network.named_parameters():
        old = name.startswith("backbone.net.") and not name.startswith("backbone.net.fc.")
        assert rates[id(part)] == pytest.approx((0.001, 1.0) if old else (0.01, 10.0)), name
    assert len(rates) == len(list(network.parameters()))
    assert all(group["lr_scale"] == 1 for group in make_optimiser(network, OptimSettings()).param_groups)


def test_the_schedule_moves_both_rates(flowers_store, tmp_path):
    rates = ("--set", "optim.new_layers=10", "--set", "optim.lr=0.02", "--set", "optim.warmup=0")
    out = tmp_path / "run"
    options = (*SMALL, "--epochs", 2, *PLAINLY, *rates, "--mixer", "none", "--out", out)
    done = CliRunner().invoke(train, ["--shards", str(flowers_store), *map(str, options)])
    assert done.exit_code == 0, done.output
    groups = torch.load(out / "last.pt", weights_only=True)["optimiser"]["param_groups"]
    assert sorted(group["lr"] for group in groups) == pytest.approx([0.01, 0.1])  # the second epoch of a cosine of 2


def test_both_heads_of_a_distilled_transformer_are_new():
    network = LocalGlobalNet("deit_tiny_distilled_patch16_224", 3, image_size=32, local=False)
    groups = make_optimiser(network, OptimSettings(lr=0.001, new_layers=10.0)).param_groups
    fast = {id(part) for group in groups if group["lr_scale"] == 10 for part in group["params"]}
    net = network.backbone.net
    assert fast == {id(part) for head in (net.head, net.head_dist) for part in head.parameters()}
