"""The files of a replay: tensors, a table and an image of one step, or of one sample."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from lgcoamix.data.pictures import pictures
from lgcoamix.runs.documents import short_pipeline
from lgcoamix.runs.drawing import Plot
from lgcoamix.training.plots import pairs_plot, sample_figure, unmixed_plot
from lgcoamix.training.replay import Part, Replay
from preprocess.files import write_whole
from preprocess.inspect.drawing import rendered
from preprocess.outputs import REPLAY, making
from preprocess.text import to_csv

_DRAWN = 32  # images in batch.png


def replay_step(replay: Replay, epoch: int, number: int, out: Path, form: str = "png") -> list[str]:
    """Write what the run was trained on at one step: tensors, a table, an image.

    Parameters
    ----------
    epoch, number : of the step, both from 0, as in ``lambdas.csv``.
    out : folder; created if missing.
    form : of the image, as in ``write_plots``.

    Returns
    -------
    Lines about what was found and written.
    """
    parts = list(replay.parts(epoch, number))
    lines, rows = replay.progress_notes(epoch, number), []
    with making(out, REPLAY) as aside:
        for part in parts:
            suffix = "" if len(parts) == 1 else f"-rank{part.rank}-part{part.number}"
            names = f"batch{suffix}.safetensors", f"batch{suffix}.{form}"
            write_whole(aside / names[0], _tensor_bytes(replay, part, epoch, number))
            write_whole(aside / names[1], rendered(_plot(replay, part, epoch, number).figure, form))
            rows += _rows(replay, part, epoch)
            mixed = "not mixed" if part.plan is None else f"mixed by {replay.settings.method}"
            lines.append(f"{len(part.batch.labels)} images, {mixed}: {out / names[0]}, {out / names[1]}")
        write_whole(aside / "samples.csv", to_csv(rows).encode())
    return [*lines, f"keys, labels and windows: {out / 'samples.csv'}"]


def replay_sample(replay: Replay, key: str, epoch: int, out: Path, form: str = "png") -> list[str]:
    """Write one training sample in an epoch: as stored, as cropped, as the network received it.

    Parameters
    ----------
    key : of the sample, as in ``samples.csv`` and ``preprocess show``.
    epoch : from 0.
    out, form : as for :func:`replay_step`.

    Returns
    -------
    Lines about what was found and written.
    """
    replay.check(epoch)
    place, number = replay.find(key, epoch)
    dataset, store = replay.dataset, replay.store
    draws = dataset.draw([(epoch, place)])
    shown = dataset.__getitems__([(epoch, place)])
    stored = store.images("train", draws.samples)[0]
    window = dataset.view.windows([stored.shape[:2]], draws.uniforms)[0]
    scale = store.scales[int(draws.scales[0])].segments
    tensors = {"stored": torch.from_numpy(stored), "shown": shown.images[0]}
    stored_map = shown_map = None
    if shown.maps is not None:
        shown_map = shown.maps[0].numpy()
        tensors["shown_map"] = shown.maps[0]
        if replay.options.maps == "stored":
            stored_map = dataset.read_maps(draws)[0]
            tensors["stored_map"] = torch.from_numpy(stored_map)
    tensors["input"] = replay.step.normalise(shown.to(replay.device)).images[0]
    label = store.classes[int(shown.labels[0])]
    title = f"{key}, {label}; epoch {epoch}" + ("" if shown_map is None else f"; {scale} segments requested")
    if replay.config.get("augment") is not None:
        title += "; augmented"
    pixels = shown.images[0].permute(1, 2, 0).numpy()
    figure = sample_figure((stored, stored_map), window, (pixels, shown_map), title)
    with making(out, REPLAY) as aside:
        write_whole(aside / "sample.safetensors", save(_plain(tensors), {"key": key, "epoch": str(epoch)}))
        write_whole(aside / f"sample.{form}", rendered(figure, form))
    top, left, height, width, flip = window
    return [
        *replay.progress_notes(epoch, number),
        f"{key} ({label}) is used at step {number} of epoch {epoch}",
        f"window of {width}x{height} at column {left}, row {top}" + (", mirrored" if flip else "") + _augmented(replay),
        f"its batch: --epoch {epoch} --step {number}",
        f"wrote {out / 'sample.safetensors'}, {out / f'sample.{form}'}",
    ]


def _tensor_bytes(replay: Replay, part: Part, epoch: int, number: int) -> bytes:
    mixed, batch = part.mixed, part.batch
    tensors = {
        "images": mixed.images,
        "labels_a": mixed.labels_a,
        "labels_b": mixed.labels_b,
        "weight_a": mixed.weight_a,
        "weight_b": mixed.weight_b,
        "sources": batch.images,
        "samples": batch.samples,
    }
    tensors |= {} if mixed.regions is None else {"regions": mixed.regions}
    tensors |= {} if batch.maps is None else {"maps": batch.maps}
    tensors |= {} if part.plan is None else {"permutation": part.plan.permutation}
    about = {"method": replay.settings.method, "epoch": epoch, "step": number, "count": mixed.count, "rank": part.rank}
    return save(_plain(tensors), {name: str(value) for name, value in about.items()})


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies, as safetensors requires."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _plot(replay: Replay, part: Part, epoch: int, number: int) -> Plot:
    classes, count = replay.store.classes, len(part.batch.labels)
    title = f"epoch {epoch}, step {number}: {count} images"
    only = f", the first {_DRAWN}" if count > _DRAWN else ""
    shown = pictures(replay.dataset, _indices(replay, part, epoch))
    if part.plan is None:
        return unmixed_plot(part.batch, shown[:_DRAWN], classes, f"{title}, not mixed{only}")
    title = f"{title}, {replay.settings.method}{only}"
    return pairs_plot(part.batch, part.plan, part.mixed, shown, classes, count=_DRAWN, title=title)


def _indices(replay: Replay, part: Part, epoch: int) -> list[tuple[int, int]]:
    """The index of each image of a part in the data set."""
    places = {sample: place for place, sample in enumerate(replay.dataset.samples.tolist())}
    return [(epoch, places[sample]) for sample in part.batch.samples.tolist()]


def _augmented(replay: Replay) -> str:
    pipeline = short_pipeline(replay.config.get("augment"))
    return "" if pipeline is None else f", augmented by {pipeline}"


def _rows(replay: Replay, part: Part, epoch: int) -> Iterator[dict[str, Any]]:
    """One row per image: key, label, partner, weights, window."""
    dataset, store, mixed = replay.dataset, replay.store, part.mixed
    keys, classes = store.keys("train"), store.classes
    samples = part.batch.samples.tolist()
    draws = dataset.draw(_indices(replay, part, epoch))
    sizes = [(store.size, store.size)] * len(samples)
    if not store.uniform:
        sizes = [image.shape[:2] for image in store.images("train", samples)]
    windows = dataset.view.windows(sizes, draws.uniforms)
    partners = None if part.plan is None else part.plan.permutation.tolist()
    for row, sample in enumerate(samples):
        partner = None if partners is None else samples[partners[row]]
        top, left, height, width, flip = windows[row]
        yield {
            "rank": part.rank,
            "part": part.number,
            "key": keys[sample],
            "label": classes[int(mixed.labels_a[row])],
            "partner": "" if partner is None else keys[partner],
            "partner_label": "" if partner is None else classes[int(mixed.labels_b[row])],
            "weight_a": float(mixed.weight_a[row]),
            "weight_b": float(mixed.weight_b[row]),
            "segments": store.scales[int(draws.scales[row])].segments if part.batch.maps is not None else "",
            "top": top,
            "left": left,
            "height": height,
            "width": width,
            "flip": int(flip),
        }
