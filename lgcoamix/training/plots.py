"""Figures of a run: learning curves, a mixed batch, λ by area and by attention."""

import copy
from collections.abc import Iterable

import numpy as np
import torch
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lgcoamix.data.windows import Window
from lgcoamix.mixing import Batch, Mixed, Plan
from lgcoamix.ops.normalise import to_picture
from lgcoamix.ops.output import Output
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.runs.drawing import Plot, tiled_figure
from lgcoamix.training.step import Step
from preprocess.inspect.drawing import GREY, PAGE, legend_above, new_figure, styled
from preprocess.inspect.sheet import outlined

_ROW = 6  # unmixed images per row
# Panels of the learning curves, and what the columns of metrics.csv are called in the field.
_PANELS = {
    "loss": {
        "loss": "training",
        "global": "global",
        "local": "local",
        "contrast": "contrastive",
        "val_loss": "validation",
        "test_loss": "test",
    },
    "top-1 (%)": {"val_top1": "validation", "test_top1": "test"},
    "λ": {
        "lam": "λ",
        "lam_area": "by area",
        "lam_attention": "by attention",
        "lam_difference": "|difference|",
        "score_std": "deviation of scores",
    },
}


@styled
def curves_plot(rows: list[dict[str, float]], title: str) -> Plot:
    """Plot losses, accuracies and, if the method defines it, λ over the epochs; ``metrics.csv`` has the numbers.

    Parameters
    ----------
    rows : one dictionary per epoch, as in ``metrics.csv``.
    title : title of the figure.
    """
    found = {name for row in rows for name in row}
    if all(row.get("global") == row.get("loss") for row in rows):  # one line would hide the other
        found.discard("global")
    panels = {label: found & names.keys() for label, names in _PANELS.items()}
    panels = {label: names for label, names in panels.items() if names}
    figure = new_figure(PAGE, 3.2, title)
    looks = dict(zip(_PANELS["loss"].values(), rcParams["axes.prop_cycle"], strict=False))
    for axis, (label, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for number, name in enumerate(name for name in _PANELS[label] if name in names):
            points = [(row["epoch"] + 1, row[name]) for row in rows if name in row]
            called, marker = _PANELS[label][name], "." if len(rows) < 30 else None
            look = looks.get(called, list(looks.values())[number])
            axis.plot(*zip(*points, strict=True), **look, label=called, marker=marker)
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_above(axis, 2 if len(panels) > 2 else 3)
    return Plot(figure)


@torch.no_grad()
def mixed_plot(step: Step, batch: Batch, shown: np.ndarray, classes: tuple[str, ...]) -> Plot:
    """Show how a batch is mixed: both sources, the mask, the mixed image with its regions, and every λ.

    Parameters
    ----------
    step : model and mixer. Mixing is always on here.
    batch : batch of the training loader.
    shown : (B, H, W, 3) uint8 array, its images for people.
    classes : class names.
    """
    batch = step.normalise(batch.to(step.device))
    pair = _mix(step, batch, 0)
    if pair is None:
        return unmixed_plot(batch, shown, classes, "unmixed inputs: this method does not mix")
    plan, mixed = pair
    output = _forward(step, mixed)
    attention = None if output.local is None else step.mixer.attention(output.local, mixed)
    return pairs_plot(batch, plan, mixed, shown, classes, attention)


def pairs_plot(
    batch: Batch,
    plan: Plan,
    mixed: Mixed,
    shown: np.ndarray,
    classes: tuple[str, ...],
    attention: Tensor | None = None,
    count: int = 32,
    title: str = "",
) -> Plot:
    """Show mixed images next to their sources.

    Parameters
    ----------
    batch : normalised batch, with its statistics.
    plan, mixed : the mixing plan and its result.
    shown : (B, H, W, 3) uint8 array, the images of the batch for people: as in ``lgcoamix.data.pictures``.
    classes : class names.
    attention : (B,) λ by attention, if any.
    count : maximum number of rows.
    title : title of the figure.
    """
    lam = "λ" if attention is None else "λ area"
    weights = {lam: mixed.lam} if _sums_to_one(mixed) else {"weight a": mixed.weight_a, "weight b": mixed.weight_b}
    weights |= {} if attention is None else {"λ attention": attention}
    pasted = (mixed.images != batch.images).any(dim=1)
    if mixed.regions is not None:
        pasted = mixed.regions >= mixed.count // 2
    blends = _blends(batch, plan, mixed, shown, pasted, count)
    images, texts, rows = [], [], []
    for row, partner in enumerate(plan.permutation.tolist()[:count]):
        blend = blends[row]
        if mixed.regions is not None:
            blend = outlined(blend, _fitted(mixed.regions[row].cpu().numpy(), len(blend)))
        images += [shown[row], shown[partner], _fitted(pasted[row].cpu().numpy(), shown.shape[1]).astype(float), blend]
        names = {letter: classes[int(batch.labels[place])] for letter, place in (("a", row), ("b", partner))}
        lams = {name: float(weight[row]) for name, weight in weights.items()}
        texts += [*(f"{letter}: {name}" for letter, name in names.items()), "pasted from b"]
        shares = ", ".join(f"{name.removeprefix('λ').strip()} {value:.2f}".strip() for name, value in lams.items())
        texts.append(f"λ of b: {shares}" if lam in lams else shares)
        rows.append(names | lams)
    return Plot(tiled_figure(images, texts, 4, title), rows)


def _blends(batch: Batch, plan: Plan, mixed: Mixed, shown: np.ndarray, pasted: Tensor, count: int) -> np.ndarray:
    """The mixed images for people: pasted from the pictures if the method copies pixels, else as the network sees them.

    Returns
    -------
    (count, H, W, 3) uint8 array, or fewer.
    """
    copied = torch.where(pasted[:, None], batch.images[plan.permutation], batch.images)
    if not torch.equal(copied, mixed.images):
        return np.rint(255 * to_picture(mixed.images[:count], *batch.statistics).cpu().numpy()).astype(np.uint8)
    mask = np.stack([_fitted(each, shown.shape[1]) for each in pasted[:count].cpu().numpy()])
    return np.where(mask[..., None], shown[plan.permutation[:count].cpu().numpy()], shown[:count])


def _fitted(values: np.ndarray, side: int) -> np.ndarray:
    """Enlarge a square map to a side, in pixels, by its nearest values."""
    places = np.arange(side) * len(values) // side
    return values[np.ix_(places, places)]


def unmixed_plot(batch: Batch, shown: np.ndarray, classes: tuple[str, ...], title: str) -> Plot:
    """Show images of a batch: (B, H, W, 3) uint8 array."""
    names = [classes[label] for label in batch.labels.tolist()[: len(shown)]]
    return Plot(tiled_figure(shown, names, _ROW, title), [{"label": name} for name in names])


@styled
def sample_figure(
    stored: tuple[np.ndarray, np.ndarray | None],
    window: Window,
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
    figure = new_figure(PAGE, 4.1, title)
    before, after = figure.subplots(1, 2)
    (height_stored, width_stored), size = stored[0].shape[:2], len(shown[0])
    images = [image if ids is None else outlined(image, ids) for image, ids in (stored, shown)]
    _show(before, images[0], f"stored, {width_stored}x{height_stored}; the window", (height_stored, width_stored))
    for colour, thickness in (("black", 3.5), ("white", 1.5)):  # shows on every image, in grey as well
        frame = Rectangle((left - 0.5, top - 0.5), width, height, fill=False, color=colour, linewidth=thickness)
        before.add_patch(frame)
    _show(after, images[1], f"shown, {size}x{size}" + (", mirrored" if flip else ""))
    return figure


@styled
@torch.no_grad()
def lambda_plot(step: Step, batches: Iterable[Batch], title: str) -> Plot | None:
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
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, zorder=0)
    axis.scatter(area, attention, s=8, alpha=0.5)
    axis.set(xlabel="λ by area", ylabel="λ by attention", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    difference = np.abs(attention - area).mean()
    axis.set_title(f"{title}\n{len(area)} images, mean |difference| {difference:.4f}", parse_math=False)
    rows = zip(area.tolist(), attention.tolist(), strict=True)
    return Plot(figure, [{"λ by area": one, "λ by attention": other} for one, other in rows])


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


def _sums_to_one(mixed: Mixed) -> bool:
    return bool(((mixed.weight_a + mixed.weight_b - 1).abs() < 1e-4).all())


def _show(axis: Axes, image: np.ndarray, title: str, shape: tuple[int, ...] | None = None) -> None:
    """Show an image; ``shape`` is its size in pixels if it was enlarged."""
    extent = None if shape is None else (-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5)
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=extent)
    axis.set_title(title, parse_math=False)
    axis.set_axis_off()
