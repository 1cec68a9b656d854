"""SnapMix's mid-level branch: what it computes, where its gradient ends, and both figures of a run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from lgcoamix.cli import main
from lgcoamix.mixing import MIXERS, Batch, Mixed, SnapMix
from lgcoamix.models import BackboneError, LocalGlobalNet, Output
from preprocess.store import Store

SMALL = ("--backbone", "resnet10t", "--weights", "none", "--image-size", 32, "--batch-size", 12, "--epochs", 2)
HERE = ("--device", "cpu", "--workers", 0)
QUIET = ("--no-pictures", "--no-tensorboard")


@pytest.fixture
def network() -> LocalGlobalNet:
    torch.manual_seed(0)
    return LocalGlobalNet("resnet10t", 5, image_size=64, local=False, mid=True)


def test_the_branch_is_convolution_relu_maximum_and_linear(network):
    images = torch.rand(3, 3, 64, 64)
    output = network.eval()(images)
    net = network.backbone.net
    with torch.no_grad():
        third = net.layer3(net.layer2(net.layer1(net.maxpool(net.act1(net.bn1(net.conv1(images)))))))
    state = network.mid_branch.state_dict()
    weights = [value for value in state.values() if value.ndim == 4]
    assert [value.shape for value in weights] == [(256, 256, 1, 1)]
    conv, bias, linear, offset = state.values()
    rows = F.linear(third.permute(0, 2, 3, 1), conv[:, :, 0, 0], bias).clamp(min=0).amax(dim=(1, 2))
    torch.testing.assert_close(output.mid, F.linear(rows, linear, offset))
    torch.testing.assert_close(output.logits, net(images))
    torch.testing.assert_close(output.prediction, output.logits + output.mid)


def test_the_prediction_of_a_network_without_the_branch_is_its_own():
    logits = torch.rand(2, 3)
    assert torch.equal(Output(logits).prediction, logits)


def test_no_gradient_of_the_branch_reaches_the_backbone(network):
    network(torch.rand(3, 3, 64, 64)).mid.sum().backward()
    assert all(values.grad is None for values in network.backbone.parameters())
    assert all(values.grad is not None for values in network.mid_branch.parameters())


def test_both_classifiers_have_the_same_weighted_loss():
    draw = torch.Generator().manual_seed(1)
    logits, mid = torch.randn(2, 3, generator=draw), torch.randn(2, 3, generator=draw)
    weights = torch.tensor([0.7, 0.2]), torch.tensor([0.4, 0.9])  # they do not sum to 1
    mixed = Mixed(torch.zeros(2, 3, 4, 4), torch.tensor([0, 2]), torch.tensor([1, 0]), *weights)
    terms = SnapMix(mid=True).loss(Output(logits, mid=mid), mixed)
    for name, values in (("global", logits), ("mid", mid)):
        rows = values.log_softmax(dim=1).tolist()
        by_hand = -(0.7 * rows[0][0] + 0.4 * rows[0][1] + 0.2 * rows[1][2] + 0.9 * rows[1][0]) / 2
        assert float(terms[name]) == pytest.approx(by_hand)
    assert terms.keys() == {"global", "mid"}
    assert SnapMix().loss(Output(logits), mixed).keys() == {"global"}


def test_only_snapmix_with_the_option_asks_for_the_branch():
    assert {name for name in MIXERS if MIXERS[name]().needs_mid} == set()
    assert SnapMix(mid=True).needs_mid


def test_a_batch_that_is_not_mixed_trains_the_branch_too(network):
    mixed = SnapMix(mid=True)(torch.rand(1, 3, 64, 64), torch.tensor([2]), generator=torch.Generator(), model=network)
    terms = SnapMix(mid=True).loss(network.eval()(mixed.images), mixed)
    assert torch.isfinite(terms["mid"])


def test_the_plan_looks_with_the_backbone_of_such_a_network(network):
    batch = Batch(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1]))
    plan = SnapMix().plan(batch, torch.Generator().manual_seed(0), network)
    alone = SnapMix().plan(batch, torch.Generator().manual_seed(0), network.backbone.net)
    assert torch.equal(plan.percent, alone.percent)


def test_a_network_of_one_map_is_refused():
    with pytest.raises(BackboneError, match="vit_tiny_patch16_224 has a single feature map"):
        LocalGlobalNet("vit_tiny_patch16_224", 3, image_size=32, local=False, mid=True)


@pytest.fixture(scope="module")
def trained(flowers_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    options = (
        *SMALL,
        *HERE,
        "--no-pictures",
        "--no-tensorboard",
        "--mixer",
        "snapmix",
        "--set",
        "mixer.mid=true",
        "--set",
        "optim.lr=0.02",
    )
    done = CliRunner().invoke(main, ["train", *map(str, ("--shards", flowers_store, *options, "--out", out))])
    assert done.exit_code == 0, done.output
    assert "test_backbone" in done.output
    return out


def test_a_run_reports_both_figures(trained, flowers_store):
    with (trained / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"mid", "test_top1", "test_loss", "test_backbone_top1", "test_backbone_loss"} <= rows[-1].keys()
    results = json.loads((trained / "results.json").read_text())
    assert results["test_top1"]["last"] == pytest.approx(float(rows[-1]["test_top1"]))
    assert results["test_backbone_top1"]["last"] == pytest.approx(float(rows[-1]["test_backbone_top1"]))
    # The losses, in a loop of our own over the stored images.
    store = Store(flowers_store)
    network = LocalGlobalNet("resnet10t", 3, image_size=32, local=False, mid=True).eval()
    network.load_state_dict(torch.load(trained / "last.pt", weights_only=True)["model"])
    labels = torch.from_numpy(store.labels("test"))
    stored = torch.from_numpy(np.stack(store.images("test", range(18)))).permute(0, 3, 1, 2).float() / 255
    images = F.avg_pool2d(stored, 2)  # 64 pixels to 32; the run rounds them to whole numbers
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        output = network((images - mean) / std)
    both, alone = (float(F.cross_entropy(v, labels)) for v in (output.logits + output.mid, output.logits))
    assert float(rows[-1]["test_loss"]) == pytest.approx(both, rel=0.005)
    assert float(rows[-1]["test_backbone_loss"]) == pytest.approx(alone, rel=0.005)
    assert abs(both - alone) > 0.02 * alone


def test_evaluate_reports_both_figures(trained, flowers_store, tmp_path):
    options = ("--checkpoint", trained / "last.pt", "--shards", flowers_store, "--out", tmp_path / "e", *HERE)
    done = CliRunner().invoke(main, ["evaluate", *map(str, options), "--fgsm", "none", "--drop", "none"])
    assert done.exit_code == 0, done.output
    assert "without the mid-level branch" in done.output
    document = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    with (trained / "metrics.csv").open(newline="") as file:
        row = list(csv.DictReader(file))[-1]
    for figures, prefix in ((document["figures"], "test"), (document["backbone"], "test_backbone")):
        assert figures["loss"] == pytest.approx(float(row[f"{prefix}_loss"]), rel=1e-4)
        assert figures["top1"] == pytest.approx(float(row[f"{prefix}_top1"]), abs=1e-4)


def test_the_sum_of_both_is_taken_in_full_precision():
    logits, mid = torch.tensor([[100.0, 100.0]]).bfloat16(), torch.tensor([[0.0, 0.2]]).bfloat16()
    assert Output(logits, mid=mid).prediction.tolist()[0] == pytest.approx([100.0, 100.2], abs=1e-2)


def test_a_network_without_the_branch_is_refused():
    mixed = Mixed(torch.zeros(1, 3, 4, 4), torch.zeros(1).long(), torch.zeros(1).long(), torch.ones(1), torch.zeros(1))
    with pytest.raises(ValueError, match=r"needs the mid-level branch: LocalGlobalNet\(\.\.\., mid=True\)"):
        SnapMix(mid=True).loss(Output(torch.zeros(1, 3)), mixed)


def test_attacks_are_against_both_classifiers(trained, flowers_store, tmp_path):
    options = ("--checkpoint", trained / "last.pt", "--shards", flowers_store, "--out", tmp_path / "e", *HERE)
    done = CliRunner().invoke(main, ["evaluate", *map(str, options), "--fgsm", "0.001", "--drop", "none"])
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    (still,) = document["fgsm"]  # hardly an attack
    assert still["loss"] == pytest.approx(document["figures"]["loss"], rel=1e-3)
    assert abs(still["loss"] - document["backbone"]["loss"]) > 0.005
