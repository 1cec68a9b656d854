"""Recreate, bit for bit, what a run was trained on: the batch of one step, or one sample and its transforms.

Order, windows, scales, gates and plans are functions of (seed, epoch, step), so nothing is stored for this. Methods
with an attention pass also need the weights at that step: training is repeated from the newest earlier checkpoint.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lgcoamix.data import RunBatches, SuperpixelDataset
from lgcoamix.data.build import Loaders, make_loaders
from lgcoamix.data.order import split_evenly
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.mixing import Batch, Mixed, Plan
from lgcoamix.ops.device import pick_device, seed_layers
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.runs.checkpoint import checkpoints_in, load_resumable
from lgcoamix.runs.checks import check_training
from lgcoamix.runs.documents import CONFIG, RESULTS, read_config, read_document, settings_of
from lgcoamix.runs.identity import LIVE, compare_runs, identity, outside_files, unknown_digests
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.report import Report
from lgcoamix.settings.sections import Settings
from lgcoamix.training.epoch import Progress, train_one_epoch
from lgcoamix.training.optim import set_rate
from lgcoamix.training.run import make_step
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Waiting
from preprocess.store import Store

_NAMED = 3  # similar keys in an error message
_NEEDED = ("recipe", "settings", "seed", "val_fraction", "test_split", "store", "classes", "world", "device", "threads")


@dataclass(frozen=True)
class Part:
    """Input of one forward pass on one rank.

    Parameters
    ----------
    rank : of the process.
    number : of the part, if gradients were accumulated.
    batch : normalised images before mixing, with labels and maps.
    plan : how they were mixed; None if they were not.
    mixed : input of the network.
    """

    rank: int
    number: int
    batch: Batch
    plan: Plan | None
    mixed: Mixed


class Replay:
    """A run whose steps can be recreated.

    Parameters
    ----------
    folder : run folder.
    shards : the store; None uses the path recorded by the run.
    device : ``auto``, ``cpu``, ``cuda``, ``mps``; None uses that of the run.
    report : receives progress and notes.

    Raises
    ------
    RunError : the folder holds no run, or the store is not the one it was trained on.
    """

    def __init__(self, folder: Path, shards: Path | None, device: str | None, report: Report) -> None:
        self.folder, self.report = folder, report
        self.config = _read_config(folder)
        self.settings = settings_of(self.config, folder / CONFIG)
        self.world: int = self.config["world"]
        if worlds := self.config.get("worlds"):
            raise RunError(
                f"{folder} was trained by {', then '.join(map(str, worlds))} processes, and which steps by how many is "
                "not recorded: replay needs a run of one number"
            )
        self.store = _open_store(self.config, shards)
        self.options = _options(self.config, folder, device)
        try:
            mine = identity(self.store, self.settings, self.options, Path(self.config.get("folder", "")))
        except SettingsError as error:
            raise RunError(
                f"{folder / CONFIG} was written by another version of this program, or is damaged: augment: {error}"
            ) from None
        differences = compare_runs(mine, self.config)
        if differences:
            raise RunError(
                f"{folder} was not trained on {self.store.path}, or with other files of weights: {differences}; pass "
                "the right store with --shards, and restore the files"
            )
        for note in unknown_digests(mine, self.config):
            report.say(note)
        check_training(self.store, self.settings)
        self.device = pick_device(self.options.device)
        if self.device.type != self.config["device"]:
            report.say(
                f"note: the run was on {self.config['device']}, this replay is on {self.device.type}: the last "
                "digits may differ"
            )
        # Weights are loaded only for methods with an attention pass, see _step_before.
        self.step = self._make_step(weights="none")
        ranks, needs_maps = self.step.ranks, self.step.mixer.needs_maps
        self.loaders: Loaders = make_loaders(self.store, self.settings, self.options, needs_maps, ranks)

    @property
    def dataset(self) -> SuperpixelDataset:
        """The training dataset."""
        return self.loaders.train.dataset

    def check(self, epoch: int, number: int = 0) -> None:
        """Check that the run has a step.

        Raises
        ------
        SettingsError
        """
        for name, value, length in (
            ("--epoch", epoch, self.settings.optim.epochs),
            ("--step", number, len(self.loaders.batches)),
        ):
            if not 0 <= value < length:
                raise SettingsError(f"{name} must be between 0 and {length - 1} for {self.folder}, got {value}")

    def progress_notes(self, epoch: int, number: int) -> list[str]:
        """A note if the run may not have reached a step yet."""
        if (self.folder / RESULTS).exists():
            return []
        state = self._newest_before(self.settings.optim.epochs, 0)
        place = (0, 0) if state is None else (state["position"]["epoch"], state["position"]["step"])
        if (epoch, number) < place:
            return []
        return [
            f"note: this run is unfinished and may not have reached this step: its newest checkpoint is before step "
            f"{place[1]} of epoch {place[0]}"
        ]

    def find(self, key: str, epoch: int) -> tuple[int, int]:
        """Find a sample in an epoch.

        Returns
        -------
        Its index in the dataset, and the number of its step.

        Raises
        ------
        SettingsError : no training sample has this key.
        RunError : the sample is not used in this epoch.
        """
        keys = self.store.keys("train")
        if key not in keys:
            close = [name for name in keys if key in name][:_NAMED]
            hint = f"did you mean {' or '.join(close)}?" if close else f"keys are like {keys[0]}"
            raise SettingsError(f"{self.store.path} has no training sample {key!r}; {hint}")
        places = np.flatnonzero(self.dataset.samples == keys.index(key))
        if not len(places):
            raise RunError(f"{key} is held out for validation (--val-fraction {self.options.val_fraction:g})")
        whole = RunBatches(len(self.dataset), self.settings.optim.batch_size, self.options.seed)
        for number, indices in enumerate(whole.at(epoch)):
            if (epoch, places[0]) in indices:
                return int(places[0]), number
        raise RunError(f"{key} is not used in epoch {epoch}: it was alone in the last batch, which was dropped")

    def parts(self, epoch: int, number: int) -> Iterator[Part]:
        """Recreate the inputs of one step: one part per rank and share of accumulated gradients.

        Raises
        ------
        SettingsError : the run has no such step.
        RunError : the network at that step cannot be recreated.
        """
        self.check(epoch, number)
        with _threads(self.config["threads"]):
            yield from self._parts(epoch, number)

    def _parts(self, epoch: int, number: int) -> Iterator[Part]:
        first = self._step_before(epoch, number) if self.step.mixer.needs_model else self.step
        statistics = [buffer.clone() for buffer in first.network.buffers()]
        is_open = self.settings.optim.mixes_in(epoch) and first.gate(epoch, number)
        for rank in range(self.world):
            step = first.on_rank(Ranks(self.device, rank, self.world))
            order = self.loaders.batches.at(epoch, number, rank)
            if order.weight(number):  # a small last batch may have no share for a rank
                for buffer, value in zip(first.network.buffers(), statistics, strict=True):
                    buffer.copy_(value)  # every rank begins a step with those of the first
                batch = self.dataset.__getitems__(next(iter(order))).to(self.device)
                yield from self._parts_of(step, batch, epoch, number, is_open)

    def _parts_of(self, step: Step, batch: Batch, epoch: int, number: int, is_open: bool) -> Iterator[Part]:
        shares = split_evenly(len(batch.labels), step.accumulate)
        seed_layers(derive_seed("layers", step.seed, epoch, number, step.ranks.rank), self.device)
        for place, (begin, end) in enumerate(shares):
            part = step.normalise(batch.part(begin, end))
            plan = step.plan(part, epoch, number, is_open, place)
            mixed = step.mix(part, plan)
            yield Part(step.ranks.rank, place, part, plan, mixed)
            if step.mixer.needs_model and place + 1 < len(shares):  # updates BatchNorm for the next part
                with step.autocast():
                    step.model(mixed.images, mixed.regions, mixed.count)

    def _make_step(self, weights: str | None = None) -> Step:
        settings, ranks = _with_absolute_paths(self.settings, self.config), Ranks(self.device, 0, self.world)
        return make_step(self.store, settings, self.options, ranks, self.report, weights)

    def _step_before(self, epoch: int, number: int) -> Step:
        """The run's network just before a step."""
        at, state = (0, 0), self._newest_before(epoch, number)
        step = self._make_step(weights=None if state is None else "none")  # a checkpoint has all weights
        if state is not None:
            step.restore(state)
            at = state["position"]["epoch"], state["position"]["step"]
        if at != (epoch, number):
            self._train(step, at, (epoch, number))
        step.network.train()
        return step

    def _newest_before(self, epoch: int, number: int) -> dict[str, Any] | None:
        """State of the newest intact checkpoint at or before a step."""
        for path in checkpoints_in(self.folder):  # the newest first
            try:
                state = load_resumable(path)
            except RunError as error:  # damaged, or just removed by the running training
                self.report.say(f"note: {error}; trying an older one")
                continue
            if (state["position"]["epoch"], state["position"]["step"]) <= (epoch, number):
                return state
        return None

    def _train(self, step: Step, at: tuple[int, int], goal: tuple[int, int]) -> None:
        """Train from one position (epoch, step) of the run to another."""
        method, batches = self.settings.method, self.loaders.batches
        if self.world > 1:
            raise RunError(
                f"{method} needs the network at this step, and {self.folder} was trained by {self.world} processes: "
                f"only steps with a checkpoint can be replayed, and epoch {goal[0]}, step {goal[1]} has none"
            )
        if self.device.type != "cpu":
            self.report.say("note: sums on a GPU have no fixed order: the last digits of the weights may differ")
        steps = (goal[0] - at[0]) * len(batches) + goal[1] - at[1]
        place = "the beginning" if at == (0, 0) else f"epoch {at[0]}, step {at[1]}"
        self.report.say(f"{method} needs the network at this step: retraining {steps} steps from {place}")
        advance = self.report.start("retraining", steps)
        progress = Progress(*at, Means(), Waiting(self.device))
        while (progress.epoch, progress.number) != goal:
            progress = self._train_epoch(step, progress, goal, advance)

    def _train_epoch(
        self, step: Step, progress: Progress, goal: tuple[int, int], advance: Callable[[int], None]
    ) -> Progress:
        """Train to the goal or the end of the epoch, as :class:`lgcoamix.training.trainer.Trainer` does."""
        batches, optim, epoch = self.loaders.batches, self.settings.optim, progress.epoch
        batches.epoch, batches.first = epoch, progress.number
        set_rate(step.optimiser, optim, epoch)

        def after_step(_: int) -> None:
            advance(1)
            if (progress.epoch, progress.number) == goal:
                raise _Arrived

        try:
            train_one_epoch(step, self.loaders.train, batches, progress, after_step, optim.mixes_in(epoch))
        except _Arrived:
            return progress
        return Progress(epoch + 1, 0, Means(), Waiting(self.device))


class _Arrived(Exception):  # noqa: N818 - not an error
    """Retraining has reached the step to be replayed."""


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use as many threads as the run: the last digits of a forward pass depend on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        if "architecture" in read_document(folder / CONFIG):
            raise RunError(f"expected a run folder, but {folder} is an exported model")
        config = read_config(folder)
    except FileNotFoundError:
        raise RunError(f"expected a run folder, but {folder} has no {CONFIG}") from None
    missing = [name for name in _NEEDED if name not in config]
    missing += [f"store.{name}" for name in ("path", "superpixels") if not config["store"].get(name)]
    if missing:
        raise RunError(f"expected a run folder, but {folder / CONFIG} lacks {', '.join(missing)}")
    return config


def _with_absolute_paths(settings: Settings, config: dict[str, Any]) -> Settings:
    """Resolve relative paths of weights against the folder in which the run was started."""
    home = Path(config.get("folder", ""))
    for setting, path in outside_files(settings, home).items():
        section, name = setting.split(".")
        settings = settings.with_values(section, **{name: str(home / path)})
    return settings


def _open_store(config: dict[str, Any], shards: Path | None) -> Store:
    path = shards or Path(config.get("folder", ""), config["store"]["path"])
    if not path.is_file():
        raise RunError(f"the run was trained on {path}, which is missing; pass its new location with --shards")
    return Store(path, config["store"]["superpixels"].removesuffix(LIVE))


def _options(config: dict[str, Any], folder: Path, device: str | None) -> RunOptions:
    live = config["store"]["superpixels"].endswith(LIVE)
    return RunOptions(
        out=folder,
        recipe=config["recipe"],
        seed=config["seed"],
        device=device or config["device"],
        workers=0,
        val_fraction=config["val_fraction"],
        loader="streaming",  # the resident loader yields the same bits
        maps="live" if live else "stored",
        augment=config.get("augment"),
    )
