"""Maps of the whole stored image against maps of every crop: how alike they are, and what each costs."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Group
from rich.table import Table

from lgcoamix.data import LiveDataset, SuperpixelDataset, View
from lgcoamix.settings.sections import DataSettings
from preprocess.store import Store
from preprocess.superpixels import adjusted_rand_index, slic
from preprocess.superpixels.scales import seed_grid
from tests.benchmarks.common import photographs

_IMAGES, _STORED, _SHOWN, _BATCH, _ROUNDS = 256, 256, 224, 16, 5
_CROPS = {
    "random crops": DataSettings(image_size=_SHOWN, crop="random"),
    "resized crops": DataSettings(image_size=_SHOWN),  # of the recipe general
}


def measure() -> Group:
    """Compare stored and live maps of the same crops by their adjusted Rand index; then time both."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            store = _build(Path(name))
            return Group(_agreement(store), _times(store))
    finally:
        torch.set_num_threads(threads)


def _build(home: Path) -> Store:
    for number, picture in enumerate(photographs(_IMAGES, _STORED)):
        path = home / "raw" / "train" / f"class{number % 2}" / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
    out = home / "photographs.h5"
    command = [sys.executable, "-m", "preprocess", "build", "folder", "--root", str(home / "raw"), "--out", str(out)]
    subprocess.run([*command, "--size", str(_STORED), "--shard-size", "64"], check=True, capture_output=True)
    return Store(out)


def _agreement(store: Store) -> Table:
    """Mean and standard deviation over the photographs, one crop of each, for every scale of the store."""
    table = Table(
        "crop of the stored image",
        "segments",
        "stored, live",
        "live, next seed grid",
        "live, another photograph's",
        "superpixels: stored",
        "live",
        title=f"adjusted Rand index of maps at {_SHOWN} of stored {_STORED}: mean ± standard deviation, "
        f"{_IMAGES} photographs, {store.superpixels.name}",
    )
    chosen = store.superpixels
    for name, settings in _CROPS.items():
        view = View(settings, train=True)
        for scale, column in zip(chosen.scales, chosen.columns, strict=True):
            store.superpixels = replace(chosen, scales=(scale,), columns=(column,))
            figures = np.array(list(_figures(store, view, scale.segments)))
            summary = zip(zip(figures.mean(0), figures.std(0, ddof=1), strict=True), (2, 2, 2, 1, 1), strict=True)
            cells = [f"{mean:.{digits}f} ± {deviation:.{digits}f}" for (mean, deviation), digits in summary]
            table.add_row(name, str(scale.segments), *cells)
    store.superpixels = chosen
    return table


def _figures(store: Store, view: View, segments: int) -> Iterator[tuple[float, ...]]:
    """For every photograph: live map against stored map, live map of the next seed grid, and the live map of another.

    Then how many superpixels there are in the window of the stored map and in the live map.
    """
    stored, live = SuperpixelDataset(store, "train", view), LiveDataset(store, "train", view)
    last = live[len(live) - 1][1].numpy()
    for place in range(len(live)):
        image, ids, _ = live[place]
        ids = ids.numpy()
        windows = view.windows([(_STORED, _STORED)], live.draw([place]).uniforms)
        asked = max(1, round(segments * windows.height[0] * windows.width[0] / _STORED**2))
        other = slic(image.permute(1, 2, 0).numpy(), _next_grid(asked), store.superpixels.compactness)
        cut = stored[place][1].numpy()
        agreement = (adjusted_rand_index(ids, them) for them in (cut, other, last))
        yield *agreement, len(np.unique(cut)), len(np.unique(ids))
        last = ids


def _next_grid(segments: int) -> int:
    """The next count for which SLIC starts from other seeds: 31 after 30; those between give the same map."""
    shape, count = (_SHOWN, _SHOWN), segments + 1
    while seed_grid(shape, count) == seed_grid(shape, segments):
        count += 1
    return count


def _times(store: Store) -> Table:
    """Milliseconds of a processor for one image, in one process, from cached files; rounds take turns."""
    table = Table("a core, from memory", "ms/image", "images/s", "count (K)")
    view = View(_CROPS["resized crops"], train=True)
    ways = {
        "no maps": SuperpixelDataset(store, "train", view, maps=False),
        "stored maps": SuperpixelDataset(store, "train", view),
        "live maps": LiveDataset(store, "train", view),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1 + _ROUNDS):
        for name, dataset in ways.items():
            seconds = _busy(lambda dataset=dataset: _pass(dataset))
            if number > 0:  # the first opens files and compiles
                times[name].append(seconds)
    for name, dataset in ways.items():
        each = statistics.median(times[name]) / len(dataset)
        table.add_row(name, f"{1e3 * each:.2f}", f"{1 / each:.0f}", str(dataset.count or "-"))
    return table


def _pass(dataset: SuperpixelDataset) -> None:
    for start in range(0, len(dataset), _BATCH):
        dataset.__getitems__(range(start, min(start + _BATCH, len(dataset))))


def _busy(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin
