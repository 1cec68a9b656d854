"""Evaluate a checkpoint on a store, and write a folder of metrics, tables and figures."""

import json
import platform
import re
from collections.abc import Callable
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lgcoamix.data import ResidentDataset, RunBatches, SuperpixelDataset, View, make_loader, on_device
from lgcoamix.data.loader import end_workers, worker_failures
from lgcoamix.data.pictures import pictures, source_of
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.evaluation import corruption_errors, plots
from lgcoamix.evaluation.bootstrap import CONFIDENCE, RESAMPLES, intervals
from lgcoamix.evaluation.flipped import classify
from lgcoamix.evaluation.localisation import Plan, localise, plan_localisation
from lgcoamix.evaluation.metrics import Figures, confidences, measure, mistakes, parts_of, to_plain
from lgcoamix.evaluation.pgd import pgd
from lgcoamix.evaluation.robustness import ascent, black, drop_patches, perturb
from lgcoamix.models.statistics import statistics_of
from lgcoamix.ops.device import pick_device
from lgcoamix.ops.normalise import Statistics, to_inputs
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.runs.checks import refuse_incomplete
from lgcoamix.runs.documents import checkpoint_file, protocol_of
from lgcoamix.runs.drawing import Plot, write_plots
from lgcoamix.runs.load import Trained, make_network, read_trained
from lgcoamix.settings.options import EvaluationOptions
from lgcoamix.settings.sections import Settings
from preprocess.files import digest_of, write_whole
from preprocess.outputs import EVALUATION, making
from preprocess.store import Store
from preprocess.text import to_csv

_SHOWN = 24  # mistakes in the figure
_PACKAGES = ("lgcoamix", "torch", "timm", "numpy")

Condition = tuple[str, float]  # ("clean", 0), ("fgsm" or "pgd", epsilon in 1/255), ("drop", share)
Intervals = dict[tuple[Condition, str], tuple[float, float]]  # by condition and metric
_CLEAN: Condition = ("clean", 0.0)
_BACKBONE: Condition = ("backbone", 0.0)  # clean, without the mid-level branch


def evaluate_checkpoint(
    store: Store, options: EvaluationOptions, start: Callable[[str, int], Callable[[int], None]]
) -> dict[str, Any]:
    """Evaluate a checkpoint on a split, clean and under attacks, and write the output folder.

    Parameters
    ----------
    store : open store with the classes of the checkpoint.
    options : checkpoint, split, output folder, attacks and loading.
    start : called with a description and the number of images; returns a callback that counts finished images.

    Returns
    -------
    The content of ``evaluation.json``.

    Notes
    -----
    Everything runs in float32, even if training used half precision. Metrics logged in training may differ slightly.

    Raises
    ------
    SettingsError : the device is missing, the grid is finer than the inputs, or the reference is no match.
    RunError : the checkpoint is unusable, does not match the store, or returns non-finite logits; the split is empty;
        the store is incomplete; there is nothing to localise.
    """
    path = checkpoint_file(options.checkpoint)
    device = pick_device(options.device)
    trained, digest = read_trained(path), digest_of(path)  # at once: a training that goes on replaces the file
    check_store(store, options.split, trained)
    _check_grid(options, trained.settings)
    reference = _reference(store, options)
    model = make_network(trained).to(device)
    plan = plan_localisation(model, store, options.split, trained.settings.data) if options.localise else None
    loader = _loader(store, options, trained.settings, device)
    with making(options.out, EVALUATION) as aside:
        advance = start(f"{store.name} {options.split}", len(loader.dataset))
        with worker_failures():
            logits, labels = _classify(model, loader, statistics_of(trained.settings, device), options, device, advance)
        figures = {condition: measure(values, labels) for condition, values in logits.items()}
        parts = {
            (condition, name): part
            for condition, found in figures.items()
            for name, part in parts_of(logits[condition], labels, found).items()
        }
        document = _document(store, options, trained, digest, figures, intervals(parts, options.seed), device)
        if plan:
            right = (logits[_CLEAN].argmax(dim=1) == labels)[plan.samples]
            document["localisation"] = _localise(model, store, options, trained.settings, plan, right, start)
        if options.corruptions:
            with worker_failures():
                right = _corrupted(model, loader, statistics_of(trained.settings, device), options, device, start)
            document["corruptions"] = corruption_errors.describe(
                right, trained.settings.data.image_size, _library(), options.seed, reference
            )
            rows = corruption_errors.table(document["corruptions"], len(labels))
            write_whole(aside / "corruptions.csv", to_csv(rows, end="\r\n").encode())
        _write_predictions(aside, store, options, logits[_CLEAN], labels)
        wrong = _mistakes(loader.dataset, logits[_CLEAN], labels)
        drawn = _plots(store.classes, options, figures, wrong, title_of(store, options.split, trained))
        write_plots(aside, drawn, options.plots)
        write_whole(aside / "evaluation.json", _to_text(document).encode())
    return document


def check_store(store: Store, split: str, trained: Trained) -> None:
    """Check that a checkpoint can classify the images of a split.

    Raises
    ------
    RunError : the classes differ, the split is empty, the store is incomplete, or its images are smaller than the
        centre that the test crops.
    """
    _check_classes(store, trained)
    if split not in store.splits or not len(store.splits[split]):
        filled = ", ".join(name for name, split in store.splits.items() if len(split))
        raise RunError(f"{store.path} has no images in split {split!r}; choose one of: {filled}")
    refuse_incomplete(store)
    data = trained.settings.data
    if data.test == "center" and (store.size is None or data.image_size > store.size):
        stored = "images of various sizes" if store.size is None else f"images of {store.size} pixels"
        raise RunError(
            f"{trained.path} tests on a centre crop of {data.image_size} pixels (data.test=center), but {store.path} "
            f"contains {stored}; build a store with a larger --size"
        )


def _check_grid(options: EvaluationOptions, settings: Settings) -> None:
    size = settings.data.image_size
    if options.drop and options.drop_grid > size:
        raise SettingsError(
            f"--drop-grid {options.drop_grid} exceeds the input size of {size} pixels; use a coarser grid"
        )


def _library() -> str:
    return f"albumentations {version('albumentations')}"


def _reference(store: Store, options: EvaluationOptions) -> tuple[dict[str, float], dict[str, Any]] | None:
    if options.reference is None:
        return None
    if not options.corruptions:
        raise SettingsError("--reference is for corruption errors: give --corruptions as well")
    return corruption_errors.read_reference(Path(options.reference), options.split, store.content_keys, _library())


def _check_classes(store: Store, trained: Trained) -> None:
    if store.classes == trained.classes:
        return
    pairs = enumerate(zip_longest(trained.classes, store.classes))
    number, (ours, theirs) = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
    ours, theirs = ("missing" if name is None else repr(name) for name in (ours, theirs))
    remedy = f"use the store of the training: {trained.config.get('store', {}).get('path', 'see config.json')}"
    if "source" in trained.config:
        remedy = f"if its classes are those of the store, in this order, convert it again with --shards {store.path}"
    raise RunError(
        f"{trained.path} has {len(trained.classes)} classes, {store.path} has {len(store.classes)}; they first differ "
        f"at class {number}: {ours} in the checkpoint, {theirs} in the store; {remedy}"
    )


def _loader(
    store: Store,
    options: EvaluationOptions,
    settings: Settings,
    device: torch.device,
    subset: np.ndarray | None = None,
) -> DataLoader:
    """Load every sample, or those of a subset, once, in store order, with the test protocol of the training."""
    dataset = SuperpixelDataset(store, options.split, View(settings.data, train=False), maps=False, subset=subset)
    batches = RunBatches(len(dataset), options.batch_size or settings.optim.batch_size, None)
    return make_loader(dataset, batches, options.workers, device.type == "cuda")


@torch.no_grad()
def _classify(
    model: nn.Module,
    loader: DataLoader,
    statistics: Statistics,
    options: EvaluationOptions,
    device: torch.device,
    advance: Callable[[int], None],
) -> tuple[dict[Condition, Tensor], Tensor]:
    """Compute (n, N) float32 logits for every condition and (n,) labels, on the CPU. Each batch is read once."""
    mean, std = statistics
    # One seed for all shares: a larger share drops the patches of a smaller one, and more.
    generators = {share: torch.Generator().manual_seed(derive_seed("drop", options.seed)) for share in options.drop}
    starts = {epsilon: torch.Generator().manual_seed(derive_seed("pgd", options.seed)) for epsilon in options.pgd}
    kept: dict[Condition, list[Tensor]] = {_CLEAN: []}
    labels = []

    def predict(images: Tensor) -> Tensor:
        return classify(model, images, options.tta == "flip")[0]

    for batch in on_device(loader, device):
        images = to_inputs(batch.images, mean, std)
        labels.append(batch.labels)
        whole, backbone = classify(model, images, options.tta == "flip")
        kept[_CLEAN].append(whole.float())
        if backbone is not None:
            kept.setdefault(_BACKBONE, []).append(backbone.float())
        direction = ascent(predict, images, batch.labels) if options.fgsm else None
        for epsilon in options.fgsm:
            attacked = perturb(images, direction, epsilon / 255, mean, std)
            kept.setdefault(("fgsm", epsilon), []).append(predict(attacked).float())
        for epsilon, generator in starts.items():
            attacked = pgd(predict, images, batch.labels, epsilon / 255, mean, std, generator)
            kept.setdefault(("pgd", epsilon), []).append(predict(attacked).float())
        for share, generator in generators.items():
            attacked = drop_patches(images, share, options.drop_grid, generator, black(mean, std))
            kept.setdefault(("drop", share), []).append(predict(attacked).float())
        advance(len(batch.labels))
    return {condition: torch.cat(parts).cpu() for condition, parts in kept.items()}, torch.cat(labels).cpu()


def _localise(
    model: nn.Module,
    store: Store,
    options: EvaluationOptions,
    settings: Settings,
    plan: Plan,
    right: Tensor,
    start: Callable[[str, int], Callable[[int], None]],
) -> dict[str, Any]:
    """Pass again over the images that have a box, ``right`` where their class was predicted."""
    device = next(model.parameters()).device
    loader = _loader(store, options, settings, device, plan.samples)
    advance = start(f"{store.name} {options.split}, boxes", len(plan.samples))
    with worker_failures():
        statistics = statistics_of(settings, device)
        return localise(model, loader, statistics, plan, right.numpy(), options.seed, device, advance)


@torch.no_grad()
def _corrupted(
    model: nn.Module,
    loader: DataLoader,
    statistics: Statistics,
    options: EvaluationOptions,
    device: torch.device,
    start: Callable[[str, int], Callable[[int], None]],
) -> np.ndarray:
    """Whether each image is classified correctly under each corruption: (n, conditions) bool array."""
    from lgcoamix.evaluation.corruptions import Corrupted

    clean = loader.dataset
    end_workers(loader)
    clean.prepare()  # no file may be open when the next ones start
    dataset = Corrupted(clean, clean.view.size, options.seed)
    batches = RunBatches(len(dataset), loader.batch_sampler.batch_size, None)
    advance = start(f"{len(dataset.conditions)} corruptions of {options.split}", len(dataset))
    corrupted, right = make_loader(dataset, batches, options.workers, device.type == "cuda"), []
    for batch in on_device(corrupted, device):
        logits, _ = classify(model, to_inputs(batch.images, *statistics), options.tta == "flip")
        right.append((logits.argmax(dim=1) == batch.labels).cpu())
        advance(len(batch.labels))
    end_workers(corrupted)
    return torch.cat(right).numpy().reshape(len(dataset.conditions), len(clean)).T


def _document(
    store: Store,
    options: EvaluationOptions,
    trained: Trained,
    digest: str,
    figures: dict[Condition, Figures],
    ranges: Intervals,
    device: torch.device,
) -> dict[str, Any]:
    def interval(condition: Condition) -> dict[str, Any]:
        return {"interval": {name: list(ends) for (of, name), ends in ranges.items() if of == condition}}

    def table(kind: str, column: str) -> list[dict[str, Any]]:
        return [
            {column: condition[1], **found.values, **interval(condition)}
            for condition, found in figures.items()
            if condition[0] == kind
        ]

    return {
        "checkpoint": {
            "name": trained.path.name,
            "path": str(trained.path.resolve()),
            "sha256": digest,
            "trained": trained.when,
            "weights": trained.weights,
        },
        "store": {"name": store.name, "path": str(store.path), "keys": store.content_keys},
        "split": options.split,
        "protocol": _protocol(store, options, trained),
        "classes": list(store.classes),
        "tta": options.tta,
        "interval": f"{100 * CONFIDENCE:g} %, percentiles of {RESAMPLES} bootstrap resamples of the images",
        "figures": to_plain(figures[_CLEAN]) | interval(_CLEAN),
        "backbone": to_plain(figures[_BACKBONE]) | interval(_BACKBONE) if _BACKBONE in figures else None,
        "fgsm": table("fgsm", "epsilon_255"),
        "pgd": table("pgd", "epsilon_255"),
        "drop": table("drop", "share"),
        "drop_grid": options.drop_grid,
        "localisation": None,
        "corruptions": None,
        "seed": options.seed,
        "device": str(device),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    }


def _protocol(store: Store, options: EvaluationOptions, trained: Trained) -> str:
    """The conditions of these figures; ``best.pt`` was chosen on a split, another checkpoint was not."""
    config, here = trained.config, {"images": store.document["images"]}
    on = "val" if config.get("val_fraction") else config.get("test_split")
    return protocol_of({**config, "store": here}, options.split, on if trained.path.name == "best.pt" else None)


def _write_predictions(folder: Path, store: Store, options: EvaluationOptions, logits: Tensor, labels: Tensor) -> None:
    actual, predicted = (
        [store.classes[label] for label in values.tolist()] for values in (labels, logits.argmax(dim=1))
    )
    sure = [f"{confidence:.6f}" for confidence in confidences(logits).tolist()]
    columns = {"key": store.keys(options.split), "label": actual, "prediction": predicted, "confidence": sure}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    write_whole(folder / "predictions.csv", to_csv(rows, end="\r\n").encode())


def _mistakes(dataset: SuperpixelDataset | ResidentDataset, logits: Tensor, labels: Tensor) -> list[plots.Mistake]:
    places = mistakes(logits, labels, _SHOWN)
    if not len(places):
        return []
    source, images = source_of(dataset), pictures(dataset, places.tolist())
    classes, keys = source.store.classes, source.store.keys(source.split)
    samples = source.samples[places.numpy()].tolist()
    guesses, sure = logits[places].argmax(dim=1).tolist(), confidences(logits[places]).tolist()
    return [
        plots.Mistake(keys[sample], image, classes[label], classes[guess], confidence)
        for sample, image, label, guess, confidence in zip(
            samples, images, labels[places].tolist(), guesses, sure, strict=True
        )
    ]


def _plots(
    classes: tuple[str, ...],
    options: EvaluationOptions,
    figures: dict[Condition, Figures],
    wrong: list[plots.Mistake],
    title: str,
) -> dict[str, Plot]:
    clean = figures[_CLEAN]
    drawn = {"reliability": plots.reliability_plot(clean, title)} | _clean_plots(classes, clean, wrong, title)
    grid = options.drop_grid
    kinds = (
        ("fgsm", "FGSM: epsilon, in 1/255"),
        ("pgd", "PGD: epsilon, in 1/255"),
        ("drop", f"share of {grid}x{grid} patches dropped"),
    )
    curves = [
        plots.Curve(kind, label, strengths, tuple(figures[kind, strength] for strength in strengths))
        for kind, label in kinds
        if (strengths := getattr(options, kind))
    ]
    return drawn | ({"robustness": plots.robustness_plot(clean, curves, title)} if curves else {})


def prediction_plots(
    dataset: SuperpixelDataset | ResidentDataset, logits: Tensor, labels: Tensor, title: str
) -> dict[str, Plot]:
    """Draw the confusion matrix, unless there are too many classes, the accuracy per class, and mistakes.

    Parameters
    ----------
    dataset : samples of the split, in the order of the logits.
    logits : (n, N) float32 tensor on the CPU.
    labels : (n,) int64 tensor on the CPU.
    title : title of each figure.
    """
    wrong = _mistakes(dataset, logits, labels)
    return _clean_plots(source_of(dataset).store.classes, measure(logits, labels), wrong, title)


def _clean_plots(classes: tuple[str, ...], figures: Figures, wrong: list[plots.Mistake], title: str) -> dict[str, Plot]:
    drawn = {} if figures.confusion is None else {"confusion": plots.confusion_plot(figures, classes, title)}
    below = "\nmost confident mistakes: true class above, predicted class below" if wrong else ""
    return drawn | {
        "per_class": plots.per_class_plot(figures, classes, title),
        "mistakes": plots.mistakes_plot(wrong, f"{title}{below}"),
    }


def title_of(store: Store, split: str, trained: Trained) -> str:
    """Two lines that say what is shown: the checkpoint, the store and the split."""
    path = trained.path.resolve()
    return f"{path.parent.name}/{path.name}, {trained.when}\non {store.name}, split {split}"


def _to_text(document: dict[str, Any]) -> str:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    # One line per innermost list of numbers. JSON strings never contain the line breaks this matches.
    return re.sub(r"\[\n\s+([^\[\]{}\"]*?)\n\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"
