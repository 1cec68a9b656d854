"""The epochs of a run: steps, evaluation, checkpoints, logs, and the state between two steps."""

import json
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from signal import SIGTERM
from typing import Any

import torch

from lgcoamix.data import EpochBatches, make_loader
from lgcoamix.data.build import Loaders
from lgcoamix.errors import Interrupted, RunError
from lgcoamix.evaluation.loop import evaluate, predictions
from lgcoamix.ops.device import precise
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.runs.checkpoint import checkpoints_in, load_checkpoint
from lgcoamix.runs.folder import RunFolder
from lgcoamix.runs.identity import identity, refuse_other_run
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.report import Report
from lgcoamix.settings.sections import Settings
from lgcoamix.training.epoch import Progress, read_finite, refuse_infinite_weights, train_one_epoch
from lgcoamix.training.loggers import Logs
from lgcoamix.training.optim import set_rate
from lgcoamix.training.signals import Stop, command_to_continue, listening
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Clock
from preprocess.store import Store

_TERMS = ("loss", "global", "local", "contrast", "mid")  # of the progress line
_LAMBDA_IMAGES = 512  # points in lambda.png
_SHOW_EVERY = 2.0  # seconds between two looks at the losses, each of which waits for the device


class _Stopped(Exception):  # noqa: N818 - not an error
    """A signal came; raised where the state is complete."""


class Trainer:
    """The epochs of a run, and the state between them.

    Parameters
    ----------
    store, settings, options : of the run.
    config : as it goes into ``config.json``.
    step, loaders : the parts, on this rank.
    report : tells where the run is.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        options: RunOptions,
        config: dict[str, Any],
        step: Step,
        loaders: Loaders,
        report: Report,
    ) -> None:
        self.store, self.settings, self.options, self.config = store, settings, options, config
        self.ranks, self.step, self.loaders, self.report = step.ranks, step, loaders, report
        self._stand_at(0, 0, Means())
        self.folder: RunFolder | None = None
        self.stop = Stop()

    def fit(self, folder: RunFolder | None) -> dict[str, Any]:
        """Run the epochs that are left. ``folder`` is None on all ranks but the first."""
        self.folder = folder
        self._take_up(self.ranks.from_first(self._checkpoint_to_take_up() if folder else None))
        self.begun_at, self.done, self.shown = time.perf_counter(), 0, 0.0
        logs = self._logs() if folder else None
        with listening(alone=self.ranks.world == 1) as self.stop:
            try:
                for epoch in range(self.progress.epoch, self.settings.optim.epochs):
                    self._run_epoch(epoch, logs)
            except _Stopped:
                raise self._interrupted() from None
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                if self.stop.signal is not None and self.ranks.world == 1:
                    # It got the signal before it could leave it to us. From then on nothing is raised within a step.
                    raise self._interrupted() from None
                raise RunError(
                    f"a loading process has died ({error}), for lack of memory perhaps: go on with --resume auto and "
                    "fewer --workers"
                ) from error
        return self._finish(logs) if folder else {}

    def _logs(self) -> Logs:
        """Start logging. An epoch that was the last thing saved may not have been logged, and is once more."""
        again = self.progress.number == 0 and bool(self.folder.rows)
        logs = Logs(self.options, self.config, self.progress.epoch - again)
        if again:
            self._log_epoch(logs)
        return logs

    def _log_epoch(self, logs: Logs) -> None:
        row, epoch = self.folder.rows[-1], len(self.folder.rows) - 1
        logs.add_epoch(row, self.folder.timings[-1])
        if logs.wants_pictures and epoch % max(1, self.settings.optim.epochs // 10) == 0:
            logs.add_figure("mixed", self._mixed_figure(epoch), epoch)

    def _stand_at(self, epoch: int, number: int, means: Means, seconds: float = 0.0, waited: float = 0.0) -> None:
        """Take up the state before a step."""
        self.clock = Clock(self.ranks.device, seconds, waited)
        self.progress = Progress(epoch, number, means, self.clock.waiting)

    def _interrupted(self) -> Interrupted:
        self._save()
        self.ranks.any(False)  # a rank that ends makes torchrun end the others: only when the first has written
        place = f"step {self.progress.number} of epoch {self.progress.epoch + 1}"
        line = f"interrupted; saved after {place}, to continue:\n  {command_to_continue(self.options.out)}"
        return Interrupted(line, self.stop.signal or SIGTERM)

    def _checkpoint_to_take_up(self) -> str | None:
        """On rank 0: the checkpoint to go on from, or None after a new folder was begun."""
        out, newest = self.options.out, self.folder.newest()
        if self.options.resume not in (None, "auto"):
            newest = Path(self.options.resume)
        if newest is not None:
            return str(newest)
        if (out / "config.json").exists():  # killed before its first checkpoint
            config = json.loads((out / "config.json").read_text())
            refuse_other_run(identity(self.store, self.settings, self.options), config, out)
        self.folder.begin(self.config)
        return None

    def _take_up(self, path: str | None) -> None:
        if path is None:
            return
        try:
            state = load_checkpoint(Path(path))
        except RunError as error:
            raise RunError(f"{error}; {_remedy_for(Path(path))}") from None
        mine = identity(self.store, self.settings, self.options)
        refuse_other_run(mine, state["config"], self.options.out)
        if "position" not in state:
            raise RunError(f"{path} holds weights, not the state of a run: take last.pt or last-1.pt")
        self.step.restore(state)
        place = state["position"]
        means = self._from_here_on(state["means"]["sums"], state["means"]["weights"])
        self._stand_at(place["epoch"], place["step"], means, place["seconds"], place["waited"])
        if self.folder:
            self.folder.set_aside_newer_than(Path(path), len(state["rows"]))
            self.folder.restore(state)
        for name in ("versions", "device", "threads", "world"):
            if state["config"].get(name) != self.config[name]:
                self.report.say(
                    f"note: {name} was {state['config'].get(name)}, now {self.config[name]}: digits may differ"
                )
        self.report.say(f"going on after step {place['step']} of epoch {place['epoch'] + 1}")

    def _run_epoch(self, epoch: int, logs: Logs | None) -> None:
        optim, step, batches = self.settings.optim, self.step, self.loaders.batches
        batches.epoch, batches.first = epoch, self.progress.number
        rate = set_rate(step.optimiser, optim, epoch)
        advance = self.report.start(f"epoch {epoch + 1}/{optim.epochs}", batches.length)
        advance(self.progress.number * batches.batch_size)
        self.clock.go()

        def after_step(count: int) -> None:
            advance(count)
            self._after_step(count)

        mixing = optim.mixes_in(epoch)
        trained = train_one_epoch(step, self.loaders.train, batches, self.progress, after_step, mixing)
        self.clock.stop()
        timing = self._timing()
        row: dict[str, float] = {"epoch": epoch, "lr": rate, **trained}
        begin = time.perf_counter()
        refuse_infinite_weights(self.step.network)
        row |= self._evaluate()
        timing["test_seconds"] = time.perf_counter() - begin
        self._finish_epoch(row, timing, logs)

    def _after_step(self, count: int) -> None:
        number = self.progress.number
        self.done += count
        if self.ranks.any(self.stop.signal is not None):
            raise _Stopped
        if number % self.options.checkpoint_every == 0 and number < len(self.loaders.batches):
            self._save()
        if self.ranks.first and time.perf_counter() - self.shown > _SHOW_EVERY:
            self._show()

    def _show(self) -> None:
        """Look at the losses of this rank: only a part, but the others need not stop for it."""
        self.shown = time.perf_counter()
        means = read_finite(self.progress, Ranks(self.ranks.device))
        terms = ", ".join(f"{name} {means[name]:.3f}" for name in _TERMS if name in means)
        timing = self._timing()
        self.report.show(f"{terms}, {timing['images_per_second']:.0f} images/s, {_share(timing)}, {self._time_left()}")

    def _timing(self) -> dict[str, float]:
        """How fast this epoch is so far."""
        seconds, waited = self.clock.seconds, self.clock.waited
        images = min(self.progress.number * self.loaders.batches.batch_size, self.loaders.batches.length)
        return {
            "epoch": self.progress.epoch,
            "train_seconds": seconds,
            "images_per_second": images / max(seconds, 1e-9),
            "waiting": waited / max(seconds, 1e-9),
        }

    def _time_left(self) -> str:
        if not self.done:
            return "time left unknown"
        batches = self.loaders.batches
        total = self.settings.optim.epochs * batches.length
        seen = self.progress.epoch * batches.length + self.progress.number * batches.batch_size
        seconds = (total - seen) * (time.perf_counter() - self.begun_at) / self.done
        return f"{timedelta(seconds=round(max(0.0, seconds)))} left"

    def _evaluate(self) -> dict[str, float]:
        step = self.step
        row: dict[str, float] = {}
        self.ranks.follow_first(step.evaluated)
        for name, loader in self.loaders.tests.items():
            batches = self._until_stopped(loader)
            measured = evaluate(step.evaluated, batches, step.statistics, self.ranks, step.autocast)
            row |= {f"{name}_{key}": value for key, value in measured.items()}
        return row

    def _until_stopped(self, loader: Iterable) -> Iterable:
        for batch in loader:
            # Several ranks finish first: they may be at different batches.
            if self.stop.signal is not None and self.ranks.world == 1:
                raise _Stopped
            yield batch

    def _finish_epoch(self, row: dict[str, float], timing: dict[str, float], logs: Logs | None) -> None:
        lams = self._lambdas()
        epoch, folder = self.progress.epoch, self.folder
        self._stand_at(epoch + 1, 0, Means())
        if folder is None:
            return
        folder.rows.append(row)
        folder.timings.append(timing)
        folder.append_lambdas(lams)
        weights = self._weights()
        folder.save_best({**weights, "epoch": epoch, "metrics": row})
        folder.save({**weights, **self._rest({"sums": {}, "weights": {}})})
        folder.write_tables()
        self._log_epoch(logs)
        tops = ", ".join(f"{name} top-1 {row[f'{name}_top1']:.2f} %" for name in self.loaders.tests)
        self.report.say(
            f"epoch {epoch + 1}/{self.settings.optim.epochs}: loss {row['loss']:.4f}, {tops}, "
            f"{timing['images_per_second']:.0f} images/s, {_share(timing)}"
            + (f", {self._time_left()}" if epoch + 1 < self.settings.optim.epochs else "")
        )

    def _save(self) -> None:
        """Write a checkpoint in the middle of an epoch. All ranks take part, the first writes."""
        read_finite(self.progress, self.ranks)
        refuse_infinite_weights(self.step.network)
        sums, weights = self.progress.means.totals(self.ranks)
        lams = self._lambdas()
        self.progress.means = self._from_here_on(sums, weights)
        if self.folder is not None:
            self.folder.append_lambdas(lams)
            self.folder.save({**self._weights(), **self._rest({"sums": sums, "weights": weights})})

    def _from_here_on(self, sums: dict[str, float], weights: dict[str, float]) -> Means:
        """The means of all ranks so far become rank 0's part."""
        nothing = dict.fromkeys(sums, 0.0)
        return Means(sums, weights) if self.ranks.first else Means(nothing, nothing)

    def _weights(self) -> dict[str, Any]:
        average = self.step.average
        return {
            "model": self.step.network.state_dict(),
            "model_ema": None if average is None else average.module.state_dict(),
            "config": self.config,
        }

    def _rest(self, means: dict[str, Any]) -> dict[str, Any]:
        rows = self.folder.rows
        return {
            "optimiser": self.step.optimiser.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "position": {
                "epoch": self.progress.epoch,
                "step": self.progress.number,
                "seconds": self.clock.seconds,
                "waited": self.clock.waited,
            },
            "means": means,
            "epoch": rows[-1]["epoch"] if rows else -1,
            "metrics": rows[-1] if rows else {},
        }

    def _lambdas(self) -> list[dict[str, float]]:
        """Take the monitors of the mixed steps since the last call, over all ranks."""
        lams, self.progress.lams = self.progress.lams, []
        if not lams:
            return []
        names = list(lams[0][1])
        values = torch.stack([torch.stack([precise(values[name]) for name in names]) for _, values in lams]).cpu()
        rows = self.ranks.total(values).tolist()
        epoch = self.progress.epoch
        return [
            {"epoch": epoch, "step": number, **dict(zip(names, row, strict=True))}
            for (number, _), row in zip(lams, rows, strict=True)
        ]

    def _mixed_figure(self, epoch: int) -> Any:
        from lgcoamix.training.plots import mixed_figure  # draws with scikit-image, which training does without

        return mixed_figure(self.step, next(self.loaders.first_batches(epoch)), self.store.classes)

    def _finish(self, logs: Logs) -> dict[str, Any]:
        from lgcoamix.training.plots import curves_figure, lambda_figure

        results, last = self.folder.results(), self.settings.optim.epochs - 1
        title = f"{self.store.name}, {self.settings.method}, {self.settings.model.backbone}"
        figures = {
            "curves": curves_figure(self.folder.rows, title),
            "mixed": self._mixed_figure(last),
            "lambda": lambda_figure(self.step, self.loaders.first_batches(last, _LAMBDA_IMAGES), title),
        }
        for name, figure in figures.items():
            if figure is not None:
                figure.savefig(self.options.out / f"{name}.png", dpi=110)
                logs.add_figure(name, figure, last)
        self._draw_test(title)
        logs.close(results)
        self.folder.write_json("results.json", results)
        return results

    def _draw_test(self, title: str) -> None:
        """Draw how the last weights do on the test split, or on the validation share where there is none."""
        from lgcoamix.evaluation.evaluate import draw_predictions

        name, loader = list(self.loaders.tests.items())[-1]
        dataset = loader.dataset
        everything = make_loader(
            dataset, EpochBatches(len(dataset), self.settings.optim.batch_size, None), loader.num_workers
        )
        step = self.step
        found = predictions(step.evaluated, everything, step.statistics, step.device, step.autocast)
        logits, labels = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
        draw_predictions(self.options.out, dataset, self.store.classes, logits, labels, f"{title}, {name}")


def _remedy_for(damaged: Path) -> str:
    """What to do about a checkpoint that cannot be read."""
    known = checkpoints_in(damaged.parent)
    older = known[known.index(damaged) + 1 :] if damaged in known else known
    return f"an older one can be taken with --resume {older[0]}" if older else "give another --out to start again"


def _share(timing: dict[str, float]) -> str:
    return f"{100 * timing['waiting']:.0f} % waiting for data"
