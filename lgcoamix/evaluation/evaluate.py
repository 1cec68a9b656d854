"""Evaluate a checkpoint on a store, and write a folder of metrics, tables and figures."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from lgcoamix.errors import SettingsError
from lgcoamix.evaluation import corruption_errors, plots
from lgcoamix.evaluation.conditions import CLEAN, classify_under_all, curves_of, intervals_of
from lgcoamix.evaluation.corruptions import right_under_each
from lgcoamix.evaluation.document import describe, to_text
from lgcoamix.evaluation.localisation import localise, plan_localisation
from lgcoamix.evaluation.metrics import measure
from lgcoamix.evaluation.predictions import confident_mistakes, prediction_plots, prediction_rows
from lgcoamix.evaluation.subject import Subject, check_store, title_of
from lgcoamix.ops.device import pick_device
from lgcoamix.runs.documents import checkpoint_file
from lgcoamix.runs.drawing import write_plots
from lgcoamix.runs.load import make_network, read_trained
from lgcoamix.settings.options import EvaluationOptions
from lgcoamix.settings.report import Start
from lgcoamix.settings.sections import Settings
from preprocess.files import digest_of, write_whole
from preprocess.outputs import EVALUATION, making
from preprocess.store import Store
from preprocess.text import to_csv


def evaluate_checkpoint(store: Store, options: EvaluationOptions, start: Start) -> dict[str, Any]:
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
    reference = _reference(store, options, trained.settings.data.image_size)
    subject = Subject(store, options, trained, make_network(trained).to(device), device)
    plan = plan_localisation(subject) if options.localise else None
    with making(options.out, EVALUATION) as aside:
        dataset = subject.dataset()
        logits, labels = classify_under_all(subject, dataset, start)
        figures = {condition: measure(values, labels) for condition, values in logits.items()}
        document = describe(subject, digest, figures, intervals_of(logits, labels, figures, options.seed))
        if plan:
            right = (logits[CLEAN].argmax(dim=1) == labels)[plan.samples]
            document["localisation"] = localise(subject, plan, right.numpy(), start)
        if options.corruptions:
            document["corruptions"] = corruption_errors.describe(
                right_under_each(subject, start), dataset.view.size, _library(), options.seed, reference
            )
            rows = corruption_errors.table(document["corruptions"], len(labels))
            write_whole(aside / "corruptions.csv", to_csv(rows, end="\r\n").encode())
        rows = prediction_rows(dataset, logits[CLEAN], labels)
        write_whole(aside / "predictions.csv", to_csv(rows, end="\r\n").encode())
        clean, title = figures[CLEAN], title_of(store, options.split, trained, options.tta)
        wrong = confident_mistakes(dataset, logits[CLEAN], labels)
        drawn = {"reliability": plots.reliability_plot(clean, title)}
        drawn |= prediction_plots(store.classes, clean, wrong, title)
        if curves := curves_of(options, figures):
            drawn["robustness"] = plots.robustness_plot(clean, curves, title)
        write_plots(aside, drawn, options.plots)
        write_whole(aside / "evaluation.json", to_text(document).encode())
    return document


def _check_grid(options: EvaluationOptions, settings: Settings) -> None:
    size = settings.data.image_size
    if options.drop and options.drop_grid > size:
        raise SettingsError(
            f"--drop-grid {options.drop_grid} exceeds the input size of {size} pixels; use a coarser grid"
        )


def _library() -> str:
    return f"albumentations {version('albumentations')}"


def _reference(store: Store, options: EvaluationOptions, side: int) -> tuple[dict[str, float], dict[str, Any]] | None:
    if options.reference is None:
        return None
    if not options.corruptions:
        raise SettingsError("--reference is for corruption errors: give --corruptions as well")
    path = Path(options.reference)
    return corruption_errors.read_reference(path, options.split, store.content_keys, _library(), side, options.tta)
