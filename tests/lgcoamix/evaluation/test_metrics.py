"""Figures against scikit-learn, a slow loop and numbers worked out by hand; their pictures at 2 to 102 classes."""

import json
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, log_loss, recall_score, top_k_accuracy_score

from lgcoamix.errors import RunError
from lgcoamix.evaluation.document import to_text
from lgcoamix.evaluation.metrics import METRICS, MOST_CONFUSED, Figures, confidences, measure, mistakes, to_plain
from lgcoamix.evaluation.plots import (
    Curve,
    Mistake,
    confusion_plot,
    mistakes_plot,
    per_class_plot,
    per_class_rows,
    reliability_plot,
    robustness_plot,
)
from lgcoamix.runs.documents import read_document
from lgcoamix.runs.drawing import write_plots
from preprocess.inspect.drawing import SCREEN, rendered
from tests.conftest import PROOF


def draw_logits(N: int, n: int, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are right more often than not."""
    generator = torch.Generator().manual_seed(N)
    labels = torch.randint(N, (n,), generator=generator)
    logits = scale * torch.randn(n, N, generator=generator)
    logits[torch.arange(n), labels] += scale * 1.5
    return logits, labels


def of(*probabilities: tuple[float, ...]) -> torch.Tensor:
    """Logits whose softmax is known."""
    return torch.tensor(probabilities).log()


@pytest.mark.parametrize(("N", "n"), [(2, 50), (6, 200), (7, 300), (40, 500)])
def test_figures_are_those_of_scikit_learn(N, n):
    logits, labels = draw_logits(N, n)
    figures = measure(logits, labels)
    scores, truth, names = logits.double().numpy(), labels.numpy(), np.arange(N)
    guesses = scores.argmax(axis=1)
    assert figures.images == n
    assert figures["top1"] == pytest.approx(100 * (guesses == truth).mean())
    if N > 5:
        assert figures["top5"] == pytest.approx(100 * top_k_accuracy_score(truth, scores, k=5, labels=names))
    assert figures["loss"] == pytest.approx(log_loss(truth, softmax(scores, axis=1), labels=names))
    assert np.array_equal(figures.confusion, confusion_matrix(truth, guesses, labels=names))
    recalls = 100 * recall_score(truth, guesses, labels=names, average=None, zero_division=np.nan)
    assert figures.per_class == pytest.approx(recalls.tolist())
    assert list(figures.counts) == np.bincount(truth, minlength=N).tolist()


def test_a_class_without_samples_has_no_accuracy():
    figures = measure(of((0.8, 0.1, 0.1), (0.2, 0.1, 0.7), (0.1, 0.2, 0.7)), torch.tensor([0, 0, 2]))
    assert figures.per_class == (50.0, None, 100.0)
    assert figures.counts == (2, 0, 1)
    half, nothing, one = figures.per_class_interval
    assert nothing is None
    assert half == pytest.approx(tuple(100 * end for end in binomtest(1, 2).proportion_ci(method="wilson")))
    assert one == pytest.approx(tuple(100 * end for end in binomtest(1, 1).proportion_ci(method="wilson")))
    assert per_class_rows(figures, "abc") == [
        {"class": "a", "images": 2, "accuracy": "50.00", "low": "9.45", "high": "90.55"},
        {"class": "b", "images": 0, "accuracy": "", "low": "", "high": ""},
        {"class": "c", "images": 1, "accuracy": "100.00", "low": "20.65", "high": "100.00"},
    ]
    assert figures.confusion.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 1]]


def test_the_largest_confusion_matrix_is_no_larger_than_what_is_read(tmp_path):
    """Of 4,096 classes it was, and our own file was called damaged."""
    row = to_text({"confusion": [[0] * MOST_CONFUSED]})
    (tmp_path / "rows.json").write_text(" " * (MOST_CONFUSED * len(row)) + "{}")
    assert read_document(tmp_path / "rows.json") == {}


def test_of_tens_of_thousands_of_classes_no_confusion_matrix_is_made():
    """It would take 39 GB."""
    N = 70_000
    logits = torch.zeros(3, N)
    logits[[0, 1, 2], [69_999, 5, 69_999]] = 9.0
    figures = measure(logits, torch.tensor([69_999, 69_999, 0]))
    assert figures.confusion is None
    assert to_plain(figures)["confusion"] is None
    assert (figures.counts[69_999], figures.counts[0], sum(figures.counts)) == (2, 1, 3)
    assert (figures.per_class[69_999], figures.per_class[0], figures.per_class[5]) == (50.0, 0.0, None)


def test_accuracies_of_tens_of_thousands_of_classes_are_drawn_at_once(tmp_path):
    N = 20_000
    figures = Figures(N, {"top1": 50.0}, (), (50.0,) * N, (1,) * N, None)
    begin = time.process_time()
    write_plots(tmp_path, {"per_class": per_class_plot(figures, ["name"] * N)}, "png")
    assert time.process_time() - begin < 4  # a bar for each took 13
    assert _coloured(tmp_path / "per_class.png") > 0.05


def test_top5_is_none_where_it_could_not_miss():
    assert measure(*draw_logits(5, 20))["top5"] is None
    assert measure(*draw_logits(6, 20))["top5"] is not None


def test_the_calibration_error_worked_out_by_hand():
    # 0.9, 0.9: one of two is right, off by 0.4; 0.62, 0.62: both are, off by 0.38. Half of the samples each.
    figures = measure(of((0.9, 0.1), (0.9, 0.1), (0.38, 0.62), (0.62, 0.38)), torch.tensor([0, 1, 1, 0]))
    assert figures["calibration_error"] == pytest.approx(0.5 * 0.4 + 0.5 * 0.38, abs=1e-6)
    filled = {number: part for number, part in enumerate(figures.reliability) if part.count}
    assert list(filled) == [9, 13]  # 0.62 * 15 = 9.3 and 0.9 * 15 = 13.5
    assert (filled[9].count, filled[9].accuracy) == (2, 1.0)
    assert (filled[13].count, filled[13].accuracy) == (2, 0.5)
    assert filled[13].confidence == pytest.approx(0.9, abs=1e-6)
    assert (filled[9].low, filled[9].high) == pytest.approx((0.6, 2 / 3))
    assert [part.confidence for number, part in enumerate(figures.reliability) if number not in (9, 13)] == [None] * 13


@pytest.mark.parametrize(("N", "scale"), [(2, 1.0), (10, 2.0), (10, 12.0)])  # 12: many are sure to the last digit
def test_the_calibration_error_is_that_of_a_slow_loop(N, scale):
    logits, labels = draw_logits(N, 400, scale)
    probabilities = softmax(logits.double().numpy(), axis=1).astype(np.float32)
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, label in zip(probabilities, labels.tolist(), strict=True):
        sure = float(row.max())
        bins[min(math.floor(sure * 15), 14)].append((sure, int(row.argmax()) == label))
    error = 0.0
    for samples in filter(None, bins):
        sure, right = np.array(samples).mean(axis=0)
        error += len(samples) / 400 * abs(sure - right)
    figures = measure(logits, labels)
    assert figures["calibration_error"] == pytest.approx(error, abs=1e-5)
    assert [part.count for part in figures.reliability] == [len(samples) for samples in bins]
    table = sum(part.count / 400 * abs(part.confidence - part.accuracy) for part in figures.reliability if part.count)
    assert table == pytest.approx(error, abs=1e-5)


def test_a_confidence_of_1_is_in_the_last_bin_with_those_just_below():
    # Half are sure and wrong, half are right with 0.97: in one bin, 0.5 are right with 0.985 on average.
    logits = torch.cat([torch.tensor([[200.0, 0.0]]).expand(5, 2), of((0.97, 0.03)).expand(5, 2)])
    figures = measure(logits, torch.tensor([1] * 5 + [0] * 5))
    assert figures["calibration_error"] == pytest.approx(0.485, abs=1e-6)
    assert figures.reliability[14].count == 10


def test_logits_between_0_and_1_are_logits():
    logits = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
    sure = 1 / (1 + math.exp(-0.8))
    figures = measure(logits, torch.tensor([0, 0]))
    assert figures["calibration_error"] == pytest.approx(1 - sure, abs=1e-6)
    assert confidences(logits).tolist() == pytest.approx([sure, sure])


def test_mistakes_come_by_falling_confidence_and_equals_by_place():
    logits = of((0.6, 0.4), (0.9, 0.1), (0.2, 0.8), (0.9, 0.1), (0.3, 0.7), (0.1, 0.9))
    labels = torch.tensor([1, 1, 1, 1, 0, 1])  # right: 2 and 5
    assert mistakes(logits, labels, 10).tolist() == [1, 3, 4, 0]
    assert mistakes(logits, labels, 2).tolist() == [1, 3]
    assert mistakes(logits, labels, 0).tolist() == []
    assert mistakes(logits[[2, 5]], labels[[2, 5]], 5).tolist() == []
    many = of((0.9, 0.1), (0.8, 0.2)).repeat(500, 1)
    wrong = torch.ones(1000, dtype=torch.long)
    assert mistakes(many, wrong, 1000).tolist() == [*range(0, 1000, 2), *range(1, 1000, 2)]


def test_mistakes_that_are_sure_to_the_last_digit_of_float32_are_still_put_in_order():
    logits = torch.tensor([[20.0, 0.0], [30.0, 0.0], [25.0, 0.0]])
    assert mistakes(logits, torch.tensor([1, 1, 1]), 3).tolist() == [1, 2, 0]


def test_figures_fit_into_json():
    plain = json.loads(json.dumps(to_plain(measure(*draw_logits(6, 30))), allow_nan=False))
    assert plain.keys() == set(Figures.__dataclass_fields__) - {"values"} | METRICS.keys() | {"per_class_interval"}
    assert [len(column) for column in plain["reliability"].values()] == [15] * 5
    assert np.array(plain["confusion"]).sum() == 30


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.long), r"got \(3, 2\) and \(4,\)"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), "at least one sample"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), r"labels must lie in \[0, 2\).*got 0 to 2"),
    ],
)
def test_logits_and_labels_that_do_not_fit_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        measure(logits, labels)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_network_that_diverged_is_named(value):
    logits = torch.zeros(3, 2)
    logits[1, 0] = value
    with pytest.raises(RunError, match="not finite for 1 of 3 images"):
        measure(logits, torch.tensor([0, 1, 0]))


def _coloured(path: Path) -> float:
    """Share of pixels that are not grey."""
    with Image.open(path) as picture:
        return float((np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=2) > 30).mean())


@pytest.mark.parametrize("N", [2, 3, 30, 31, 102] if PROOF else [3, 30, 31])
def test_every_picture_shows_something_for_few_and_many_classes(N, tmp_path, monkeypatch):
    if not PROOF:  # as for a screen: most of the time is for the pixels of a print
        monkeypatch.setattr("lgcoamix.runs.drawing.rendered", partial(rendered, dpi=SCREEN))
    logits, labels = draw_logits(N, 6 * N)
    if N == 3:
        labels[labels == 1] = 0  # a class without samples
    figures, weaker = measure(logits, labels), measure(logits.roll(1, dims=0), labels)
    names = [f"{label:03d}.a name with $ and _ that is long^{label}$" for label in range(N)]
    drawn = {
        "reliability": reliability_plot(figures, "a $title"),
        "confusion": confusion_plot(figures, names, "a $title$"),
        "per_class": per_class_plot(figures, names, "a $title$"),
        "robustness": robustness_plot(figures, [Curve("fgsm", "strength", (1.0, 2.0), (weaker, weaker))]),
    }
    write_plots(tmp_path, drawn, "png")
    shares = {path.name: _coloured(path) for path in tmp_path.glob("*.png")}
    assert shares.keys() == {f"{name}.png" for name in ("reliability", "confusion", "per_class", "robustness")}
    assert all(share > 0.002 for share in shares.values()), shares
    assert shares["per_class.png"] > 0.05


def test_the_sheet_of_mistakes_shows_every_picture(tmp_path):
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10), (10, 250, 250), (250, 10, 250), (99, 9, 9)]
    shown = [Mistake("key", np.full((8, 8, 3), colour, np.uint8), "a $", "b_$^", 0.9) for colour in colours]
    write_plots(tmp_path, {"mistakes": mistakes_plot(shown)}, "png")
    sheet = np.asarray(Image.open(tmp_path / "mistakes.png").convert("RGB")).astype(int)
    for colour in colours:
        assert (np.abs(sheet - colour).max(axis=2) <= 2).sum() > 5000


def test_without_mistakes_the_sheet_says_so(tmp_path):
    write_plots(tmp_path, {"mistakes": mistakes_plot([])}, "png")
    sheet = np.asarray(Image.open(tmp_path / "mistakes.png").convert("L"))
    assert (sheet < 128).sum() > 300  # letters
