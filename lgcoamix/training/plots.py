"""Figures of a run: learning curves, a mixed batch, λ by area and by attention."""

import copy
from collections.abc import Iterable

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lgcoamix.mixing import Batch, Mixed, Plan
from lgcoamix.ops.normalise import to_picture
from lgcoamix.ops.output import Output
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.runs.drawing import new_figure, plain, tiled_figure
from lgcoamix.training.step import Step
from preprocess.inspect.sheet import outlined

_SHOWN = 6  # images of a mixed batch
_ROW = 6  # unmixed images per row


def curves_figure(rows: list[dict[str, float]], title: str) -> Figure:
    """Plot losses, accuracies and, if the method defines it, λ over the epochs.

    Parameters
    ----------
    rows : one dictionary per epoch, as in ``metrics.csv``.
    title : title of the figure.
    """
    panels = {
        "loss": [name for name in ("loss", "global", "local", "contrast", "val_loss", "test_loss") if name in rows[-1]],
        "top-1 (%)": [name for name in ("val_top1", "test_top1") if name in rows[-1]],
        "λ": [name for name in ("lam_area", "lam_attention", "lam_difference", "score_std") if _ever(rows, name)],
    }
    panels = {label: names for label, names in panels.items() if names}
    figure = new_figure(4.5 * len(panels), 3.6, title)
    for axis, (label, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for name in names:
            points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
            axis.plot(*zip(*points, strict=True), label=name, marker="." if len(rows) < 30 else None)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(fontsize=8)
        plain(axis)
    return figure


def _ever(rows: list[dict[str, float]], name: str) -> bool:
    return any(name in row for row in rows)


@torch.no_grad()
def mixed_figure(step: Step, batch: Batch, classes: tuple[str, ...]) -> Figure:
    """Show how a batch is mixed: both sources, the mask, the mixed image with its regions, and every λ.

    Parameters
    ----------
    step : model and mixer. Mixing is always on here.
    batch : batch of the training loader.
    classes : class names.
    """
    batch = step.normalise(_some(batch, _SHOWN).to(step.device))
    pair = _mix(step, batch, 0)
    if pair is None:
        return unmixed_figure(batch, classes, "unmixed inputs: this method does not mix")
    plan, mixed = pair
    output = _forward(step, mixed)
    attention = None if output.local is None else step.mixer.attention(output.local, mixed)
    return pairs_figure(batch, plan, mixed, classes, attention)


def pairs_figure(
    batch: Batch,
    plan: Plan,
    mixed: Mixed,
    classes: tuple[str, ...],
    attention: Tensor | None = None,
    count: int = 32,
    title: str = "",
) -> Figure:
    """Show mixed images next to their sources.

    Parameters
    ----------
    batch : normalised batch, with its statistics.
    plan, mixed : the mixing plan and its result.
    classes : class names.
    attention : (B,) λ by attention, if any.
    count : maximum number of rows.
    title : title of the figure.
    """
    weights = {"λ area": mixed.lam} if _sums_to_one(mixed) else {"weights: a": mixed.weight_a, "b": mixed.weight_b}
    weights |= {} if attention is None else {"λ attention": attention}
    sources = to_picture(batch.images, *batch.statistics).cpu().numpy()
    blends = to_picture(mixed.images, *batch.statistics).cpu().numpy()
    pasted = (mixed.images != batch.images).any(dim=1).cpu().numpy()
    if mixed.regions is not None:
        pasted = (mixed.regions >= mixed.count // 2).cpu().numpy()
    images, texts = [], []
    for row, partner in enumerate(plan.permutation.tolist()[:count]):
        blend = blends[row]
        if mixed.regions is not None:
            blend = outlined(blend, mixed.regions[row].cpu().numpy())
        images += [sources[row], sources[partner], pasted[row].astype(float), blend]
        names = (f"{letter}: {classes[int(batch.labels[place])]}" for letter, place in (("a", row), ("b", partner)))
        lams = ", ".join(f"{name} {float(weight[row]):.2f}" for name, weight in weights.items())
        texts += [*names, "pasted from b", lams]
    return tiled_figure(images, texts, 4, title, width=2.3)


def unmixed_figure(batch: Batch, classes: tuple[str, ...], title: str, count: int = _ROW) -> Figure:
    """Show the images of a normalised batch, ``count`` at most."""
    images = to_picture(batch.images, *batch.statistics)[:count].cpu().numpy()
    texts = [classes[label] for label in batch.labels.tolist()[:count]]
    return tiled_figure(images, texts, _ROW, title, width=1.53)


def sample_figure(
    stored: tuple[np.ndarray, np.ndarray | None],
    window: tuple[int, int, int, int, bool],
    shown: tuple[np.ndarray, np.ndarray | None],
    title: str,
) -> Figure:
    """Show a stored image with its crop window, next to the crop.

    Parameters
    ----------
    stored : (H, W, 3) uint8 array, and (H, W) ids to outline, if any.
    window : top, left, height, width and flip, in stored pixels.
    shown : (S, S, 3) uint8 array, and (S, S) ids to outline, if any.
    title : title of the figure.
    """
    top, left, height, width, flip = window
    figure = new_figure(7.2, 4.2, title)
    before, after = figure.subplots(1, 2)
    (height_stored, width_stored), size = stored[0].shape[:2], len(shown[0])
    images = [image if ids is None else outlined(image, ids) for image, ids in (stored, shown)]
    _show(before, images[0], f"stored, {width_stored}x{height_stored}; the window", (height_stored, width_stored))
    before.add_patch(Rectangle((left - 0.5, top - 0.5), width, height, fill=False, color="red", linewidth=2))
    _show(after, images[1], f"shown, {size}x{size}" + (", mirrored" if flip else ""))
    return figure


@torch.no_grad()
def lambda_figure(step: Step, batches: Iterable[Batch], title: str) -> Figure | None:
    """Plot λ by attention against λ by area, one point per image.

    Parameters
    ----------
    step : current model, and mixer. Mixing is always on here.
    batches : batches of training images.

    Returns
    -------
    None for a method without attention.
    """
    points: list[tuple[np.ndarray, np.ndarray]] = []
    for number, batch in enumerate(batches):
        pair = _mix(step, step.normalise(batch.to(step.device)), number)
        output = None if pair is None else _forward(step, pair[1])
        if output is None or output.local is None:
            return None
        attention = step.mixer.attention(output.local, pair[1])
        points.append((pair[1].lam.cpu().numpy(), attention.cpu().numpy()))
    area, attention = (np.concatenate(values) for values in zip(*points, strict=True))
    figure = new_figure(4.6, 4.6)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
    axis.scatter(area, attention, s=8, alpha=0.5)
    axis.set(xlabel="λ by area", ylabel="λ by attention", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    difference = np.abs(attention - area).mean()
    axis.set_title(f"{title}\n{len(area)} images, mean |difference| {difference:.4f}", fontsize=9, parse_math=False)
    plain(axis)
    return figure


def _mix(step: Step, batch: Batch, number: int) -> tuple[Plan, Mixed] | None:
    """Mix a batch for a figure; None for a method that does not mix."""
    if not step.mixer.mix_prob:
        return None
    generator = torch.Generator().manual_seed(derive_seed("picture", step.seed, number))
    network = step.network
    if step.mixer.needs_model:  # whose attention pass, as in training, may move the statistics of BatchNorm
        network = copy.deepcopy(network).train()
    plan = step.mixer.plan(batch, generator, network, is_open=True)
    return None if plan is None else (plan, step.mixer.mix(batch, plan))


def _forward(step: Step, mixed: Mixed) -> Output:
    network = step.evaluated.eval()
    return network(mixed.images, mixed.regions, mixed.count)


def _some(batch: Batch, count: int) -> Batch:
    return batch if len(batch.labels) <= count else batch.part(0, count)


def _sums_to_one(mixed: Mixed) -> bool:
    return bool(((mixed.weight_a + mixed.weight_b - 1).abs() < 1e-4).all())


def _show(axis: Axes, image: np.ndarray, title: str, shape: tuple[int, ...] | None = None) -> None:
    """Show an image; ``shape`` is its size in pixels if it was enlarged."""
    extent = None if shape is None else (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=extent)
    axis.set_title(title, fontsize=8, parse_math=False)
    axis.set_axis_off()
