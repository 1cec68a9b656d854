"""The epochs of a run: steps, evaluation, checkpoints, logs."""

import time
from collections.abc import Iterable
from pathlib import Path
from signal import SIGTERM
from typing import Any

from lgcoamix.data.build import Loaders
from lgcoamix.data.loader import worker_failures
from lgcoamix.errors import Interrupted, RunError
from lgcoamix.evaluation.loop import evaluate
from lgcoamix.runs.checkpoint import checkpoints_in, load_resumable
from lgcoamix.runs.documents import CONFIG, RESULTS, read_config
from lgcoamix.runs.folder import RunFolder
from lgcoamix.runs.identity import refuse_other_run, unknown_digests
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.report import Report
from lgcoamix.settings.sections import Settings
from lgcoamix.training.epoch import refuse_infinite_weights, train_one_epoch
from lgcoamix.training.loggers import Logs
from lgcoamix.training.optim import set_rate
from lgcoamix.training.progress_line import ProgressLine, speed
from lgcoamix.training.signals import Stop, command_to_continue, listening, promise
from lgcoamix.training.state import TrainingState
from lgcoamix.training.step import Step

_NO_MEANS = {"sums": {}, "weights": {}}  # between two epochs


class _Stopped(Exception):  # noqa: N818 - not an error
    """A signal arrived; raised only where the state is complete."""


class Trainer:
    """Run the epochs of one run on one rank.

    Parameters
    ----------
    settings, options : of the run.
    identity : what decides the outcome.
    config : content of ``config.json``.
    step, loaders : of this rank.
    report : receives progress.
    """

    def __init__(
        self,
        settings: Settings,
        options: RunOptions,
        identity: dict[str, Any],
        config: dict[str, Any],
        step: Step,
        loaders: Loaders,
        report: Report,
    ) -> None:
        self.settings, self.options, self.identity, self.config = settings, options, identity, config
        self.ranks, self.step, self.loaders, self.report = step.ranks, step, loaders, report
        self.state = TrainingState(step, loaders.batches, config)
        self.line = ProgressLine(self.state, settings.optim.epochs, report)
        self.folder: RunFolder | None = None
        self.logs: Logs | None = None
        self.stop = Stop()

    def fit(self, folder: RunFolder | None) -> None:
        """Run the remaining epochs. ``folder`` is None on all ranks but the first."""
        self.folder = folder
        self._resume(self.ranks.from_first(self._checkpoint_to_resume() if folder else None))
        promise(self.options.out)
        if folder:
            self._start_logs()
        with listening(alone=self.ranks.world == 1) as self.stop:
            try:
                with worker_failures("rerun with --resume auto and --workers 0"):
                    for epoch in range(self.state.progress.epoch, self.settings.optim.epochs):
                        self._run_epoch(epoch)
            except _Stopped:
                raise self._interrupted() from None
            except RuntimeError as error:
                if "DataLoader worker" in str(error) and self.stop.signal is not None and self.ranks.world == 1:
                    # The worker received the signal before it could ignore it. No step is interrupted from here on.
                    raise self._interrupted() from None
                raise
        if self.ranks.any(self.stop.signal is not None):  # after the last step
            raise self._interrupted()

    def _checkpoint_to_resume(self) -> str | None:
        """On rank 0: the checkpoint to resume, or None after starting a new folder."""
        out, newest = self.options.out, self.folder.newest()
        if self.options.resume not in (None, "auto"):
            newest = Path(self.options.resume)
        if newest is not None:
            return str(newest)
        if (out / CONFIG).exists():  # killed before its first checkpoint
            refuse_other_run(self.identity, read_config(out), out)
        self.folder.begin(self.config)
        return None

    def _resume(self, path: str | None) -> None:
        if path is None:
            return
        try:
            state = load_resumable(Path(path))
        except RunError as error:
            raise RunError(f"{error}; {_remedy_for(Path(path))}") from None
        refuse_other_run(self.identity, state["config"], self.options.out)
        try:
            self.state.load(state, self.settings.optim.epochs)
        except ValueError as error:
            raise RunError(f"{path} does not fit this run: {error}; {_remedy_for(Path(path))}") from None
        for note in unknown_digests(self.identity, state["config"]):
            self.report.say(note)
        if self.folder:
            self.folder.set_aside_newer_than(Path(path), len(state["rows"]))
            self.folder.restore(state)
            (self.folder.path / RESULTS).unlink(missing_ok=True)  # of a finished run that goes on from an older one
        before = state["config"]
        for name in ("versions", "device", "threads"):
            if before.get(name) != self.config[name]:
                self.report.say(
                    f"note: {name} was {before.get(name)}, is now {self.config[name]}: the last digits may differ"
                )
        if (world := before.get("world", 1)) != self.config["world"]:
            self._note_processes(world)
        progress = self.state.progress
        self.report.say(f"resuming after step {progress.number} of epoch {progress.epoch + 1}")

    def _note_processes(self, before: int) -> None:
        """Say and record that a run goes on with another number of processes."""
        now = self.config["world"]
        self.report.say(
            f"note: the run had {before} processes, it has {now} now: every batch is divided, mixed and normalised in "
            "other parts from here on, as in another run; replay will refuse it"
        )
        if self.folder:
            config = read_config(self.folder.path)
            worlds = config.get("worlds", [before])
            if worlds[-1] != now:  # else a start that was killed before its first checkpoint has recorded it
                self.folder.write_json(CONFIG, {**config, "worlds": [*worlds, now]})

    def _start_logs(self) -> None:
        """Start logging. The last saved epoch may not have been logged, so it is logged again."""
        again = self.state.progress.number == 0 and bool(self.folder.rows)
        self.logs = Logs(self.options, self.config, self.state.progress.epoch - again)
        if again:
            self._log_epoch()

    def _run_epoch(self, epoch: int) -> None:
        optim, state, batches = self.settings.optim, self.state, self.loaders.batches
        batches.epoch, batches.first = epoch, state.progress.number
        rate = set_rate(self.step.optimiser, optim, epoch)
        advance = self.report.start(f"epoch {epoch + 1}/{optim.epochs}", batches.length)
        advance(state.progress.number * batches.batch_size)
        state.clock.go()

        def after_step(count: int) -> None:
            advance(count)
            self._after_step(count)

        mixing = optim.mixes_in(epoch)
        trained = train_one_epoch(self.step, self.loaders.train, batches, state.progress, after_step, mixing)
        state.clock.stop()
        timing = state.timing()
        begin = time.perf_counter()
        refuse_infinite_weights(self.step.network)
        row = {"epoch": epoch, "lr": rate, **trained, **self._evaluate()}
        timing["test_seconds"] = time.perf_counter() - begin
        self._finish_epoch(row, timing)

    def _after_step(self, count: int) -> None:
        number = self.state.progress.number
        if self.ranks.any(self.stop.signal is not None):
            raise _Stopped
        if number % self.options.checkpoint_every == 0 and number < len(self.loaders.batches):
            self._save()
        self.line.count(count)

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
            # Several ranks finish the evaluation: they may be at different batches.
            if self.stop.signal is not None and self.ranks.world == 1:
                raise _Stopped
            yield batch

    def _finish_epoch(self, row: dict[str, float], timing: dict[str, float]) -> None:
        lams = self.state.take_lambdas()
        epoch, folder = self.state.progress.epoch, self.folder
        self.state.enter(epoch + 1)
        if folder is None:
            return
        folder.rows.append(row)
        folder.timings.append(timing)
        folder.append_lambdas(lams)
        folder.save_best({**self.state.weights(), "epoch": epoch, "metrics": row})
        folder.save(self.state.state_dict(folder.rows, _NO_MEANS))
        folder.write_tables()
        self._log_epoch()
        tops = ", ".join(f"{name} top-1 {row[f'{name}_top1']:.2f} %" for name in self.loaders.tests)
        epochs = self.settings.optim.epochs
        left = f", {self.line.time_left()}" if epoch + 1 < epochs else ""
        self.report.say(f"epoch {epoch + 1}/{epochs}: loss {row['loss']:.4f}, {tops}, {speed(timing)}{left}")

    def _log_epoch(self) -> None:
        epoch = len(self.folder.rows) - 1
        self.logs.add_epoch(self.folder.rows[-1], self.folder.timings[-1])
        if self.logs.wants_pictures and epoch % max(1, self.settings.optim.epochs // 10) == 0:
            from lgcoamix.training.plots import mixed_plot  # matplotlib
            from preprocess.inspect.drawing import SCREEN, rendered

            plot = mixed_plot(self.step, *self.loaders.first_pictures(epoch), self.config["classes"])
            self.logs.add_picture("mixed", rendered(plot.figure, dpi=SCREEN), epoch)

    def _save(self) -> None:
        """Write a checkpoint within an epoch. All ranks must call this; the first writes."""
        means, lams = self.state.gather_means(), self.state.take_lambdas()
        if self.folder is not None:
            self.folder.append_lambdas(lams)
            self.folder.save(self.state.state_dict(self.folder.rows, means))

    def _interrupted(self) -> Interrupted:
        self._save()
        self.ranks.any(False)  # wait for the first to write: torchrun ends all ranks once one exits
        number, epoch = self.state.progress.number, self.state.progress.epoch
        place = f"step {number} of epoch {epoch + 1}" if number or not epoch else f"epoch {epoch}"
        line = f"interrupted; saved after {place}, to continue: {command_to_continue(self.options.out)}"
        return Interrupted(line, self.stop.signal or SIGTERM)


def _remedy_for(damaged: Path) -> str:
    """What to do about a checkpoint that cannot be read."""
    known = checkpoints_in(damaged.parent)
    older = known[known.index(damaged) + 1 :] if damaged in known else known
    return f"resume an older one with --resume {older[0]}" if older else "give another --out to start again"
