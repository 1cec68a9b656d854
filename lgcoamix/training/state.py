"""State of a training between two steps: how it is saved to and loaded from a checkpoint."""

from typing import Any

import torch

from lgcoamix.data import RunBatches
from lgcoamix.ops.device import precise
from lgcoamix.ops.means import Means
from lgcoamix.training.epoch import Progress, read_finite, refuse_infinite_weights
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Clock


class TrainingState:
    """Network, optimiser, position in the data, means of the epoch so far, clock.

    Parameters
    ----------
    step : network and optimiser, on this rank.
    batches : order of the training samples.
    config : content of ``config.json``.
    """

    def __init__(self, step: Step, batches: RunBatches, config: dict[str, Any]) -> None:
        self.step, self.batches, self.config, self.ranks = step, batches, config, step.ranks
        self.enter(0)

    def enter(
        self, epoch: int, number: int = 0, means: Means | None = None, seconds: float = 0.0, waited: float = 0.0
    ) -> None:
        """Move to just before step ``number`` of an epoch; the other arguments are its totals so far."""
        self.clock = Clock(self.ranks.device, seconds, waited)
        self.progress = Progress(epoch, number, means or Means(), self.clock.waiting)

    def load(self, state: dict[str, Any], epochs: int) -> None:
        """Continue from the content of a checkpoint, of a run of so many epochs.

        Raises
        ------
        ValueError : the checkpoint is not of this network and optimiser, or its position is outside of the run.
        """
        position, means = state["position"], state["means"]
        if position["epoch"] > epochs or position["step"] > len(self.batches):
            raise ValueError(
                f"position: expected at most epoch {epochs} and step {len(self.batches)}, got epoch "
                f"{position['epoch']}, step {position['step']}"
            )
        self.step.restore(state)
        means = self._on_rank_0(means["sums"], means["weights"])
        self.enter(position["epoch"], position["step"], means, position["seconds"], position["waited"])

    def weights(self) -> dict[str, Any]:
        """Weights and configuration, which every checkpoint holds."""
        return {**self.step.weights(), "config": self.config}

    def state_dict(self, rows: list[dict[str, float]], means: dict[str, Any]) -> dict[str, Any]:
        """Everything needed to resume the run.

        Parameters
        ----------
        rows : finished epochs, as in ``metrics.csv``.
        means : from :meth:`gather_means`.
        """
        return {
            **self.weights(),
            **self.step.state_dict(),
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

    def gather_means(self) -> dict[str, Any]:
        """Means of the epoch so far, over all ranks, which must all call this. Rank 0 then holds the totals.

        Raises
        ------
        RunError : the loss or a weight is not finite.
        """
        read_finite(self.progress, self.ranks)
        refuse_infinite_weights(self.step.network)
        sums, weights = self.progress.means.totals(self.ranks)
        self.progress.means = self._on_rank_0(sums, weights)
        return {"sums": sums, "weights": weights}

    def take_lambdas(self) -> list[dict[str, float]]:
        """Remove and return the monitors of the mixed steps since the last call, over all ranks."""
        lams, self.progress.lams = self.progress.lams, []
        if not lams:
            return []
        names = list(lams[0][1])
        values = torch.stack([torch.stack([precise(values[name]) for name in names]) for _, values in lams]).cpu()
        rows = self.ranks.total(values).tolist()
        return [
            {"epoch": self.progress.epoch, "step": number, **dict(zip(names, row, strict=True))}
            for (number, _), row in zip(lams, rows, strict=True)
        ]

    def timing(self) -> dict[str, float]:
        """Speed of this epoch so far, as a row of ``timing.csv``."""
        seconds, waited = self.clock.seconds, self.clock.waited
        images = min(self.progress.number * self.batches.batch_size, self.batches.length)
        return {
            "epoch": self.progress.epoch,
            "train_seconds": seconds,
            "images_per_second": images / max(seconds, 1e-9),
            "waiting": waited / max(seconds, 1e-9),
        }

    def _on_rank_0(self, sums: dict[str, float], weights: dict[str, float]) -> Means:
        nothing = dict.fromkeys(sums, 0.0)
        return Means(sums, weights) if self.ranks.first else Means(nothing, nothing)
