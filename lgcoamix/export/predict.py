"""Classify image files and folders with an exported network, and write one table."""

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lgcoamix.data import RunBatches, make_loader
from lgcoamix.data.files import FileBatch, ImageFiles, find_images
from lgcoamix.data.loader import end_workers, worker_failures
from lgcoamix.errors import RunError
from lgcoamix.export.folder import Exported, read_exported
from lgcoamix.ops.device import pick_device
from lgcoamix.ops.normalise import make_statistics, to_inputs
from lgcoamix.settings.options import PredictOptions
from lgcoamix.settings.report import Start
from preprocess import interrupt
from preprocess.datasets.census import count_left_out, describe
from preprocess.datasets.tree import names_in
from preprocess.outputs import writing
from preprocess.text import cells, listed, shown, shown_name

_SHOWN = 10  # images in the summary


@dataclass(frozen=True)
class Prediction:
    """Prediction for one file.

    Parameters
    ----------
    path : image file.
    classes : names and probabilities, most likely first; ties in class order. Empty for an unusable file.
    error : why the file is unusable, else empty.
    """

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Summary:
    """Summary of the table.

    Parameters
    ----------
    images : number of files.
    first : predictions of the first usable files.
    failed : unusable files.
    left_out : folder -> what is in it and no image, in words.
    """

    images: int
    first: tuple[Prediction, ...]
    failed: tuple[Prediction, ...]
    left_out: Mapping[Path, str]


def predict(options: PredictOptions, start: Start) -> Summary:
    """Classify files and write the table, completely or not at all.

    Parameters
    ----------
    options : images, model, output and loading.
    start : called with a description and the number of files; returns a callback that counts finished files.

    Raises
    ------
    SettingsError : the device is missing.
    RunError : the folders contain no images; the model is damaged, not an export, or returns non-finite logits; a
        DataLoader worker died; the device runs out of memory.
    """
    device = pick_device(options.device)
    paths = find_images(options.images)
    if not paths:
        raise RunError(_nothing_found(options.images))
    exported = read_exported(options.model)
    first, failed, done = [], [], 0
    top = min(options.top, len(exported.classes))
    ranks = range(1, top + 1)
    names = ["image", *(f"{name}_{rank}" for rank in ranks for name in ("class", "probability")), "error"]

    def tell() -> None:
        interrupt.explain(shown(f"interrupted after {done} of {len(paths)} images; {options.out} was not written"))

    with interrupt.undoing(tell), writing(options.out) as table:
        table.write(_lines([names]))
        advance = start("classifying", len(paths))
        for batch in _predictions(exported, paths, options, top, device):
            table.write(_lines([_row(found, top) for found in batch]))
            failed += [found for found in batch if found.error]
            first += [found for found in batch if not found.error][: _SHOWN - len(first)]
            done += len(batch)
            advance(len(batch))
    return Summary(len(paths), tuple(first), tuple(failed), _left_out(options.images))


def _row(found: Prediction, top: int) -> list[object]:
    answers = [cell for name, share in found.classes for cell in (name, f"{share:.6f}")]
    return cells([str(found.path), *(answers or [""] * 2 * top), found.error])


def _lines(rows: list[list[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")  # bytes of file names that are not UTF-8 stay unchanged


def _left_out(given: tuple[Path, ...]) -> dict[Path, str]:
    folders = [path for path in given if os.path.isdir(path)]  # noqa: PTH112 - Path.is_dir raises where access is denied
    found = {folder: count_left_out(folder, set(names_in(folder))) for folder in folders}
    return {folder: describe(counts) for folder, counts in found.items() if counts}


def _nothing_found(given: tuple[Path, ...]) -> str:
    held = "; ".join(f"{shown_name(folder)} holds {counts}" for folder, counts in _left_out(given).items())
    return f"no images in {listed([shown_name(path) for path in given], 5)}: {held or 'it is empty'}"


@torch.no_grad()
def _predictions(
    exported: Exported, paths: list[Path], options: PredictOptions, top: int, device: torch.device
) -> Iterator[list[Prediction]]:
    """Yield predictions batch by batch, in the order of the files."""
    dataset = ImageFiles(paths, exported.images, exported.data)
    batches = RunBatches(len(dataset), options.batch_size, None)
    loader = make_loader(dataset, batches, min(options.workers, len(batches)), device.type == "cuda")
    try:
        net = exported.net.to(device)
        mean, std = make_statistics(exported.mean, exported.std, device)
        with worker_failures():
            for batch in loader:
                logits = torch.empty(0, len(exported.classes))
                if len(batch.images):
                    logits = net(to_inputs(batch.images.to(device), mean, std)).float().cpu()
                yield _answers(paths, batch, logits, exported.classes, top)
    except torch.OutOfMemoryError:
        raise RunError(
            f"{device} ran out of memory with {options.batch_size} images per batch: use a smaller --batch-size, or "
            "--device cpu"
        ) from None
    finally:
        end_workers(loader)


def _answers(
    paths: list[Path], batch: FileBatch, logits: Tensor, classes: tuple[str, ...], top: int
) -> list[Prediction]:
    logits = logits.double()
    order = logits.sort(dim=1, descending=True, stable=True).indices[:, :top]  # stable: ties in class order
    shares = logits.softmax(dim=1).gather(1, order).tolist()
    rows = zip(order.tolist(), shares, logits.isfinite().all(dim=1).tolist(), strict=True)
    answers = []
    for place, reason in zip(batch.places, batch.reasons, strict=True):
        path = paths[place]
        if reason is not None:
            answers.append(Prediction(path, error=reason))
            continue
        labels, probabilities, finite = next(rows)
        if not finite:
            raise RunError(f"the network's logits are not finite for {shown_name(path)}: export it again")
        names = (classes[label] for label in labels)
        answers.append(Prediction(path, tuple(zip(names, probabilities, strict=True))))
    return answers
