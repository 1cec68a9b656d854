"""The training step: what mixing, decoder and local losses cost beside the plain network."""

import torch
from rich.table import Table

from lgcoamix.mixing import MIXERS, Batch, Mixer, unmixed
from lgcoamix.models import LocalGlobalNet
from tests.benchmarks.common import median_seconds

_B, _SIZE, _K, _N = 8, 128, 40, 100


def measure() -> Table:
    """Forward and backward of ResNet-18 for every method, all batches mixed."""
    table = Table(f"step: ResNet-18, batch {_B} at {_SIZE}, {torch.get_num_threads()} threads", "ms", "of plain")
    rows = torch.arange(_SIZE) * 6 // _SIZE
    maps = (rows[:, None] * 6 + rows[None, :]).expand(_B, -1, -1)
    batch = Batch(torch.rand(_B, 3, _SIZE, _SIZE), torch.arange(_B) % _N, maps, _K)
    plain = 0.0
    for name, kind in MIXERS.items():
        mixer = kind() if name == "none" else kind(mix_prob=1.0)
        model = LocalGlobalNet("resnet18", _N, local=mixer.needs_maps)
        seconds = median_seconds(lambda mixer=mixer, model=model: _step(mixer, model, batch))
        plain = plain or seconds
        table.add_row(name, f"{1e3 * seconds:.0f}", f"{seconds / plain:.2f}")
    return table


def _step(mixer: Mixer, model: LocalGlobalNet, batch: Batch) -> None:
    plan = mixer.plan(batch, torch.Generator().manual_seed(0))
    mixed = unmixed(batch) if plan is None else mixer.mix(batch, plan)
    output = model(mixed.images, mixed.regions, mixed.count)
    sum(mixer.loss(output, mixed).values()).backward()
