"""The predictions for a split: their table, the most confident mistakes among them, and plots."""

from torch import Tensor

from lgcoamix.data import ResidentDataset, SuperpixelDataset
from lgcoamix.data.pictures import pictures, source_of
from lgcoamix.evaluation import plots
from lgcoamix.evaluation.metrics import Figures, confidences, mistakes
from lgcoamix.runs.drawing import Plot

_SHOWN = 24  # mistakes in the figure


def prediction_rows(dataset: SuperpixelDataset, logits: Tensor, labels: Tensor) -> list[dict[str, object]]:
    """Lay out ``predictions.csv``: one row per image of the whole split, in its order."""
    store = dataset.store
    rows = zip(store.keys(dataset.split), *_classified(store.classes, logits, labels), strict=True)
    return [
        {"key": key, "label": label, "prediction": guess, "confidence": f"{confidence:.6f}"}
        for key, label, guess, confidence in rows
    ]


def confident_mistakes(
    dataset: SuperpixelDataset | ResidentDataset, logits: Tensor, labels: Tensor
) -> list[plots.Mistake]:
    """Find the most confident mistakes, with their stored images.

    Parameters
    ----------
    dataset : samples of the split, in the order of the logits.
    logits : (n, N) float32 tensor on the CPU.
    labels : (n,) int64 tensor on the CPU.
    """
    places = mistakes(logits, labels, _SHOWN)
    if not len(places):
        return []
    source, images = source_of(dataset), pictures(dataset, places.tolist())
    every = source.store.keys(source.split)
    keys = [every[sample] for sample in source.samples[places.numpy()].tolist()]
    rows = zip(keys, images, *_classified(source.store.classes, logits[places], labels[places]), strict=True)
    return [plots.Mistake(*row) for row in rows]


def prediction_plots(
    classes: tuple[str, ...], figures: Figures, wrong: list[plots.Mistake], title: str
) -> dict[str, Plot]:
    """Draw the confusion matrix, unless there are too many classes, the accuracy per class, and mistakes."""
    drawn = {} if figures.confusion is None else {"confusion": plots.confusion_plot(figures, classes, title)}
    below = "\nmost confident mistakes: true class above, predicted class below" if wrong else ""
    return drawn | {
        "per_class": plots.per_class_plot(figures, classes, title),
        "mistakes": plots.mistakes_plot(wrong, f"{title}{below}"),
    }


def _classified(classes: tuple[str, ...], logits: Tensor, labels: Tensor) -> tuple[list[str], list[str], list[float]]:
    """Names of the true and the predicted classes, and confidences."""
    actual, predicted = ([classes[label] for label in each.tolist()] for each in (labels, logits.argmax(dim=1)))
    return actual, predicted, confidences(logits).tolist()
