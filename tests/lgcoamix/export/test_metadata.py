"""The head of the model card, as the library of the hub reads it."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results

from lgcoamix.evaluation.metrics import METRICS
from lgcoamix.export import metadata
from lgcoamix.export.card import make_card
from lgcoamix.export.measured import Data, Measured
from lgcoamix.runs.load import read_trained
from preprocess.datasets import DATASETS
from tests.lgcoamix.export.test_export import CLASSES, _export, _settings
from tests.lgcoamix.runs.checkpoints import describe, write_checkpoint

HEAD = {
    "library_name": "timm",
    "pipeline_tag": "image-classification",
    "tags": ["image-classification", "timm", "lgcoamix"],
}
TASK = {"type": "image-classification", "name": "Image classification"}


def _entry(dataset: dict[str, str], top1: float, top5: float | None = None) -> dict[str, Any]:
    metrics = [{"type": "accuracy", "name": "Top-1 accuracy", "value": top1}]
    metrics += [] if top5 is None else [{"type": "top_5_accuracy", "name": "Top-5 accuracy", "value": top5}]
    return {"task": TASK, "dataset": dataset, "metrics": metrics}


def _read(text: str) -> dict[str, Any]:
    """The head of a card; the library reads the results in it without a complaint."""
    data = ModelCard(text).data
    assert isinstance(data, ModelCardData)
    head = data.to_dict()
    if "model-index" in head:
        _, results = model_index_to_eval_results(head["model-index"])
        assert len(results) == sum(len(entry["metrics"]) for entry in head["model-index"][0]["results"])
    return head


def _evaluation(folder: Path, checkpoint: Path, split: str, store: dict[str, Any], **parts: Any) -> None:
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    document = {"checkpoint": {"sha256": digest}, "split": split, "store": store, "drop_grid": 7, **parts}
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(document))


def test_the_accuracy_of_the_training_is_in_the_head(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "best.pt", _settings(), CLASSES)
    _export(checkpoint, tmp_path / "out")
    flowers = {"type": "flowers", "name": "flowers", "config": "flowers", "split": "test"}
    assert _read((tmp_path / "out" / "README.md").read_text()) == {
        **HEAD,
        "metrics": ["accuracy"],
        "model-index": [{"name": "out", "results": [_entry(flowers, 0.6125)]}],
    }


def test_held_out_images_are_no_split_and_the_split_has_its_name_in_the_store(tmp_path):
    config = describe(_settings(), CLASSES) | {"val_fraction": 0.1, "test_split": "val"}
    row = {"epoch": 7, "val_top1": 90.0, "test_top1": 70.0}
    checkpoint = write_checkpoint(tmp_path / "best.pt", _settings(), CLASSES, config=config, metrics=row)
    _export(checkpoint, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    flowers = {"type": "flowers", "name": "flowers", "config": "flowers", "split": "val"}
    assert _read(text)["model-index"] == [{"name": "out", "results": [_entry(flowers, 0.7)]}]
    assert "| images held out of train, this checkpoint (epoch 8), measured by the training |  | 90.00 % |" in text
    assert "| val, this checkpoint (epoch 8), measured by the training |  | 70.00 % |" in text


def test_the_training_measured_a_network_with_and_without_its_branch(tmp_path):
    settings = _settings(method="snapmix").with_values("mixer", mid=True)
    row = {"epoch": 7, "test_top1": 72.5, "test_backbone_top1": 70.0}
    _export(write_checkpoint(tmp_path / "best.pt", settings, CLASSES, metrics=row), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    when = "this checkpoint (epoch 8), measured by the training"
    assert f"| test, {when}, with the mid-level branch |  | 72.50 % |" in text
    assert f"| test, {when}, without the mid-level branch: as exported |  | 70.00 % |" in text
    flowers = {"type": "flowers", "name": "flowers", "config": "flowers", "split": "test"}
    assert _read(text)["model-index"] == [{"name": "out", "results": [_entry(flowers, 0.7)]}]


def test_an_accuracy_with_mirror_images_is_not_that_of_the_model(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "best.pt", _settings(), CLASSES)
    store = describe(_settings(), CLASSES)["store"]
    figures = {"images": 18, "top1": 72.5}
    _evaluation(tmp_path / "evaluation-test", checkpoint, "test", store, figures=figures, backbone=None, tta="flip")
    _export(checkpoint, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "measured by evaluate, probabilities averaged over image and mirror image | 18 | 72.50 % |" in text
    assert _read(text)["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.6125  # of the training


@pytest.mark.parametrize("mid", [False, True])
def test_an_evaluation_counts_more_than_the_training_and_only_what_is_exported_counts(mid, tmp_path):
    settings = _settings(method="snapmix").with_values("mixer", mid=mid)
    config = describe(settings, CLASSES)
    config["store"]["dataset"] = "cub"
    checkpoint = write_checkpoint(tmp_path / "best.pt", settings, CLASSES, config=config)
    figures = {"images": 18, "top1": 60.5, "top5": 91.75, "loss": 1.5, "calibration_error": 0.125}
    parts = {"figures": figures, "backbone": {**figures, "top1": 59.0} if mid else None}
    _evaluation(tmp_path / "evaluation-test", checkpoint, "test", config["store"], **parts)
    other = {"name": "flowers", "keys": {"test/images": "0" * 16}}  # of other images under the same name
    third = {"figures": {**figures, "top1": 100 / 3}, "backbone": {**figures, "top1": 100 / 3} if mid else None}
    _evaluation(tmp_path / "evaluation-other", checkpoint, "test", other, **third)
    _export(checkpoint, tmp_path / "out")
    mine = {"type": "cub", "name": "flowers", "config": "flowers", "split": "test"}
    entries = [_entry(mine, 0.59 if mid else 0.605, 0.9175), _entry({**mine, "type": "flowers"}, 0.333333, 0.9175)]
    assert _read((tmp_path / "out" / "README.md").read_text()) == {
        **HEAD,
        "tags": [*HEAD["tags"], "snapmix"],
        "datasets": ["cub"],
        "metrics": ["accuracy"],
        "model-index": [{"name": "out", "results": entries[::-1] if mid else entries}],
    }


def test_without_results_of_the_exported_network_there_is_no_index(tmp_path):
    settings = _settings(method="snapmix").with_values("mixer", mid=True)  # measured with the branch
    _export(write_checkpoint(tmp_path / "best.pt", settings, CLASSES), tmp_path / "out")
    head = _read((tmp_path / "out" / "README.md").read_text())
    assert head == {**HEAD, "tags": [*HEAD["tags"], "snapmix"]}


def test_the_model_has_the_name_of_its_repository(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "best.pt", _settings(), CLASSES)
    config = _export(checkpoint, tmp_path / "out")
    head = _read(make_card(read_trained(checkpoint), config, {}, "out", None, hub="anna/birds"))
    assert head["model-index"][0]["name"] == "birds"


@pytest.mark.parametrize(
    "name", ["a: b", "'", '"x"', "- x", "---", "{{ x }}", "null", "1e3", "é世界 #1", "yes", "x" * 500]
)
def test_odd_names_of_stores_and_splits_are_read_back(name):
    values = dict.fromkeys(METRICS, 50.0)
    text = metadata.head_of(name, None, None, [Measured("x", values, 1, Data(name, None, name))])
    index = _read(f"---\n{text}\n---\n")["model-index"]
    dataset = index[0]["results"][0]["dataset"]
    assert (index[0]["name"], dataset["name"], dataset["split"]) == (name, name, name)
    assert set(dataset["type"]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def test_every_way_to_list_a_store_that_is_no_published_set_is_known():
    own = {name for name, adapter in DATASETS.items() if adapter.source == "yours" or adapter.create}
    assert own == set(metadata._OWN)
