"""The head of a model card, which the hub reads: library, task, tags, data sets, and accuracies as a model-index."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from lgcoamix.export.measured import Data, Measured

_TASK = "image-classification"
# Ways to list a store's images, in ``preprocess.datasets.DATASETS``; every other name there is a published data set.
_OWN = ("folder", "table", "hf", "webdataset", "demo")
_METRICS = {"top1": ("accuracy", "Top-1 accuracy"), "top5": ("top_5_accuracy", "Top-5 accuracy")}
_DIGITS = 6  # of an accuracy in [0, 1]: exact for up to 500,000 images


def head_of(
    name: str, method: str | None, dataset: str | None, results: Iterable[Measured], licence: str | None = None
) -> str:
    """Write the lines of YAML.

    Parameters
    ----------
    name : of the model.
    method : mixing method of the training; None if that was not ours.
    dataset : how the training's images were listed; None if not known.
    results : those of the exported network are taken, of each split the last.
    licence : its identifier on the hub; None leaves it out.

    References
    ----------
    https://github.com/huggingface/hub-docs/blob/main/modelcard.md
    """
    measured = {result.data: result.values for result in results if result.data is not None}
    tags = [_TASK, "timm", "lgcoamix", *([method] if method not in (None, "none", "lgcoamix") else [])]
    head: dict[str, Any] = {"license": licence} if licence else {}
    head |= {"library_name": "timm", "pipeline_tag": _TASK, "tags": tags}
    if _is_published(dataset):
        head["datasets"] = [dataset]
    if measured:
        head["metrics"] = ["accuracy"]
        entries = [_entry(data, values) for data, values in measured.items()]
        head["model-index"] = [{"name": name, "results": entries}]
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=1_000_000).rstrip()


def _entry(data: Data, values: dict[str, float | None]) -> dict[str, Any]:
    kind = data.dataset if _is_published(data.dataset) else re.sub(r"[^\w.-]+", "-", data.store, flags=re.ASCII)
    dataset = {"type": kind, "name": data.store, "config": data.store, "split": data.split}
    metrics = [
        {"type": kind, "name": label, "value": round(values[key] / 100, _DIGITS)}
        for key, (kind, label) in _METRICS.items()
        if values[key] is not None
    ]
    return {"task": {"type": _TASK, "name": "Image classification"}, "dataset": dataset, "metrics": metrics}


def _is_published(dataset: str | None) -> bool:
    return dataset is not None and dataset not in _OWN
