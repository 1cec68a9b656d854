"""The pictures of a run: learning curves and a mixed batch."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from skimage.segmentation import mark_boundaries

from lgcoamix.engine import Step
from lgcoamix.inputs import to_inputs, to_picture
from lgcoamix.mixing import Batch
from lgcoamix.seeding import derive_seed

_SHOWN = 6
_LINE_SCALE = 384  # side, in pixels, to which a small picture is enlarged before boundaries are drawn


def draw_curves(rows: list[dict[str, float]], out: Path, title: str) -> None:
    """Draw losses, accuracies and, where the method has one, λ over the epochs.

    Parameters
    ----------
    rows : one dictionary an epoch, as in ``metrics.csv``.
    out : picture file.
    title : above the picture.
    """
    panels = {
        "loss": [name for name in ("loss", "global", "local", "contrast", "val_loss", "test_loss") if name in rows[-1]],
        "top-1 (%)": [name for name in ("val_top1", "test_top1") if name in rows[-1]],
        "λ": [name for name in ("lam_area", "lam_attention", "lam_difference", "score_std") if _ever(rows, name)],
    }
    panels = {label: names for label, names in panels.items() if names}
    figure = Figure(figsize=(4.5 * len(panels), 3.6), layout="constrained")
    figure.suptitle(title)
    for axis, (label, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name in names:
            points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
            axis.plot(*zip(*points, strict=True), label=name, marker="." if len(rows) < 30 else None)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(out, dpi=110)


def _ever(rows: list[dict[str, float]], name: str) -> bool:
    return any(name in row for row in rows)


@torch.no_grad()
def draw_mixed(step: Step, batch: Batch, classes: tuple[str, ...], out: Path) -> None:
    """Draw how a batch is mixed: both sources, the mask, the mixed image with its regions, and every λ.

    Parameters
    ----------
    step : model and mixer; the first open gate is taken.
    batch : a batch from the training loader.
    classes : class names.
    out : picture file.
    """
    batch = batch.to(step.device)
    batch = Batch(to_inputs(batch.images, *step.statistics), batch.labels, batch.maps, batch.count)
    plan = None
    for attempt in range(100):  # the gate of a method may be closed most of the time
        generator = torch.Generator().manual_seed(derive_seed("picture", step.seed, attempt))
        plan = step.mixer.plan(batch, generator, step.model)
        if plan is not None:
            break
    if plan is None:
        _draw_unmixed(step, batch, classes, out)
        return
    mixed = step.mixer.mix(batch, plan)
    step.model.eval()
    output = step.model(mixed.images, mixed.regions, mixed.count)
    lams = {"area": mixed.lam}
    if output.local is not None:
        lams["attention"] = step.mixer.attention(output.local, mixed)
    own = to_picture(batch.images, *step.statistics).cpu().numpy()
    blend = to_picture(mixed.images, *step.statistics).cpu().numpy()
    other = plan.permutation.cpu().numpy()
    pasted = (mixed.images != batch.images).any(dim=1).cpu().numpy()
    if mixed.regions is not None:
        pasted = (mixed.regions >= mixed.count // 2).cpu().numpy()
    rows = range(min(_SHOWN, len(own)))
    figure = Figure(figsize=(9.2, 2.45 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for row in rows:
        partner = other[row]
        text = ", ".join(f"λ {name} {float(lam[row]):.2f}" for name, lam in lams.items())
        _show(axes[row, 0], own[row], f"a: {classes[int(batch.labels[row])]}")
        _show(axes[row, 1], own[partner], f"b: {classes[int(batch.labels[partner])]}")
        _show(axes[row, 2], pasted[row].astype(float), "pasted from b")
        regions = None if mixed.regions is None else mixed.regions[row].cpu().numpy()
        _show(axes[row, 3], blend[row] if regions is None else _with_boundaries(blend[row], regions), text)
    figure.savefig(out, dpi=110)


def _with_boundaries(picture: np.ndarray, regions: np.ndarray) -> np.ndarray:
    # Enlarged first, so that the lines do not hide a small picture.
    factor = max(1, _LINE_SCALE // len(regions))
    enlarged = picture.repeat(factor, axis=0).repeat(factor, axis=1)
    return mark_boundaries(enlarged, regions.repeat(factor, axis=0).repeat(factor, axis=1), color=(1, 1, 0))


def _draw_unmixed(step: Step, batch: Batch, classes: tuple[str, ...], out: Path) -> None:
    pictures = to_picture(batch.images, *step.statistics).cpu().numpy()[: 2 * _SHOWN]
    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    figure.suptitle("this method mixes nothing: inputs as they are")
    axes = figure.subplots(2, _SHOWN, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, picture, label in zip(axes, pictures, batch.labels.tolist(), strict=False):
        _show(axis, picture, classes[label])
    figure.savefig(out, dpi=110)


def _show(axis: Axes, picture: np.ndarray, title: str) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.set_axis_off()
