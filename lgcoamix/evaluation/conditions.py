"""The conditions under which images are classified: as they are, attacked, or with patches dropped."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lgcoamix.evaluation.bootstrap import intervals
from lgcoamix.evaluation.metrics import Figures, parts_of
from lgcoamix.evaluation.pgd import pgd
from lgcoamix.evaluation.plots import Curve
from lgcoamix.evaluation.robustness import ascent, black, drop_patches, perturb
from lgcoamix.evaluation.subject import Subject
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.settings.options import EvaluationOptions
from lgcoamix.settings.report import Start

Condition = tuple[str, float]  # kind and strength
CLEAN: Condition = ("clean", 0.0)
BACKBONE: Condition = ("backbone", 0.0)  # clean, without the mid-level branch
# Kinds with several strengths, as the options name them -> what a strength is, in a table and along an axis.
KINDS = {
    "fgsm": ("epsilon_255", "FGSM: epsilon, in 1/255"),
    "pgd": ("epsilon_255", "PGD: epsilon, in 1/255"),
    "drop": ("share", "share of {grid}x{grid} patches dropped"),
}


@torch.no_grad()
def classify_under_all(subject: Subject, dataset: Dataset, start: Start) -> tuple[dict[Condition, Tensor], Tensor]:
    """Compute (n, N) float32 logits for every condition and (n,) labels, on the CPU. Each batch is read once."""
    (mean, std), options = subject.statistics, subject.options
    # One seed for all shares: a larger share drops the patches of a smaller one, and more.
    generators = {share: torch.Generator().manual_seed(derive_seed("drop", options.seed)) for share in options.drop}
    starts = {epsilon: torch.Generator().manual_seed(derive_seed("pgd", options.seed)) for epsilon in options.pgd}
    kept: dict[Condition, list[Tensor]] = {}
    labels = []

    def keep(condition: Condition, logits: Tensor) -> None:
        kept.setdefault(condition, []).append(logits.float())

    def predict(images: Tensor) -> Tensor:
        return subject.classify(images)[0]

    for images, truth in subject.batches(dataset, f"{subject.store.name} {options.split}", start):
        labels.append(truth)
        whole, backbone = subject.classify(images)
        keep(CLEAN, whole)
        if backbone is not None:
            keep(BACKBONE, backbone)
        direction = ascent(predict, images, truth) if options.fgsm else images
        for epsilon in options.fgsm:
            keep(("fgsm", epsilon), predict(perturb(images, direction, epsilon / 255, mean, std)))
        for epsilon, generator in starts.items():
            keep(("pgd", epsilon), predict(pgd(predict, images, truth, epsilon / 255, mean, std, generator)))
        for share, generator in generators.items():
            dropped = drop_patches(images, share, options.drop_grid, generator, black(mean, std))
            keep(("drop", share), predict(dropped))
    return {condition: torch.cat(parts).cpu() for condition, parts in kept.items()}, torch.cat(labels).cpu()


def intervals_of(
    logits: Mapping[Condition, Tensor], labels: Tensor, figures: Mapping[Condition, Figures], seed: int
) -> dict[Condition, dict[str, tuple[float, float]]]:
    """Return the interval of each metric under each condition; all are resampled together."""
    parts = {
        (condition, name): part
        for condition, found in figures.items()
        for name, part in parts_of(logits[condition], labels, found).items()
    }
    ends = intervals(parts, seed)
    return {condition: {name: ends[of, name] for of, name in ends if of == condition} for condition in figures}


def curves_of(options: EvaluationOptions, figures: Mapping[Condition, Figures]) -> list[Curve]:
    """Line up the figures of each kind that was asked for by its strengths."""
    return [
        Curve(kind, label.format(grid=options.drop_grid), strengths, tuple(figures[kind, each] for each in strengths))
        for kind, (_, label) in KINDS.items()
        if (strengths := getattr(options, kind))
    ]
