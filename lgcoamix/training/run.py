"""One run: train on a store, evaluate, and write the run folder."""

import platform
import subprocess
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from lgcoamix.data.build import make_loaders
from lgcoamix.data.loader import make_loader, worker_failures
from lgcoamix.data.order import RunBatches
from lgcoamix.errors import RunError, SettingsError
from lgcoamix.evaluation.loop import predictions
from lgcoamix.mixing import Mixer, make_mixer
from lgcoamix.models import LocalGlobalNet
from lgcoamix.models.hub import hub_name
from lgcoamix.models.statistics import statistics_of
from lgcoamix.ops.class_activation import classifier_weight, last_map
from lgcoamix.ops.distributed import Ranks, joined
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.runs.documents import RESULTS, images_named, protocol_of
from lgcoamix.runs.folder import RunFolder
from lgcoamix.runs.identity import refuse_changed_files
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.report import Report, silent
from lgcoamix.settings.sections import Settings
from lgcoamix.settings.text import first_line
from lgcoamix.training.foreign_inputs import foreign_inputs
from lgcoamix.training.optim import make_average, make_optimiser
from lgcoamix.training.step import Step
from lgcoamix.training.trainer import Trainer
from preprocess.extras import required
from preprocess.machine import processor
from preprocess.store import Store

_LAMBDA_IMAGES = 512  # points in lambda.png
_PACKAGES = ("torch", "timm", "numpy", "h5py", "albumentations", "opencv-python-headless", "scikit-image", "pillow")


def train(
    store: Store, settings: Settings, options: RunOptions, identity: dict[str, Any], report: Report
) -> dict[str, Any]:
    """Train, evaluate after every epoch, and write the run folder; or resume it.

    Parameters
    ----------
    store, settings, options : of the run, checked by :func:`lgcoamix.runs.checks.preflight`.
    identity : what decides the outcome, from preflight.
    report : receives progress.

    Returns
    -------
    Results: last epoch, best epoch (and what it was chosen on), median of the last 10. Empty on other ranks than 0.

    Raises
    ------
    SettingsError : settings that conflict with each other or with the network.
    PackageError : a log or a picture needs a package that is missing or broken.
    RunError : the folder holds another run, the loss is not finite, or a checkpoint cannot be written or read.
    Interrupted : a signal arrived; the run is saved.
    """
    _import_late(options)
    with joined(options.device) as ranks:
        report = report if ranks.first else silent()
        step = make_step(store, settings, options, ranks, report)
        refuse_changed_files(settings, identity)
        recorded = replace(options, augment=identity.get("augment"))  # the file may have changed since
        loaders = make_loaders(store, settings, recorded, step.mixer.needs_maps, ranks)
        for line in (*loaders.notices, *(foreign_inputs(settings, step.mixer) if ranks.first else ())):
            report.say(line)
        config = _describe(store, settings, options, identity, ranks)
        trainer = Trainer(settings, options, identity, config, step, loaders, report)
        try:
            if not ranks.first:
                trainer.fit(None)
                return {}
            with RunFolder(options.out, next(iter(loaders.tests)), options.keep) as folder:
                trainer.fit(folder)
                results = folder.results()
                splits = ", ".join(images_named(name, config) for name in loaders.tests)
                chosen_on = images_named(results["best_chosen_on"], config)
                results["protocol"] = protocol_of(config, splits, chosen_on)
                if options.pictures:
                    _draw(trainer, store)
                trainer.logs.close(results)
                folder.write_json(RESULTS, results)
                return results
        finally:
            loaders.close()


def _import_late(options: RunOptions) -> None:
    """Import what is used late in a run: a missing package must not end it after hours, or leave a folder behind."""
    if options.pictures:
        with required("--pictures", "train"):
            import lgcoamix.training.plots  # noqa: F401
    if options.tensorboard:
        with required("--tensorboard"):
            import torch.utils.tensorboard  # noqa: F401
    if options.wandb:
        with required("--wandb"):
            import wandb  # noqa: F401


def _draw(trainer: Trainer, store: Store) -> None:
    """Plot learning curves, a mixed batch, λ, and the final predictions on the test split (or the validation share)."""
    from lgcoamix.evaluation.metrics import measure
    from lgcoamix.evaluation.predictions import confident_mistakes, prediction_plots
    from lgcoamix.runs.drawing import write_plots
    from lgcoamix.training.plots import curves_plot, lambda_plot, mixed_plot
    from preprocess.inspect.drawing import SCREEN, rendered

    step, loaders, settings, options = trainer.step, trainer.loaders, trainer.settings, trainer.options
    last = settings.optim.epochs - 1
    title = f"{store.name}, {settings.method}, {settings.model.backbone}"
    lams = lambda_plot(step, loaders.first_batches(last, _LAMBDA_IMAGES), title)
    drawn = {
        "curves": curves_plot(trainer.folder.rows, title),
        "mixed": mixed_plot(step, *loaders.first_pictures(last), store.classes),
        **({} if lams is None else {"lambda": lams}),
    }
    write_plots(options.out, drawn, options.plots)
    if trainer.logs.wants_pictures:
        for name, plot in drawn.items():
            trainer.logs.add_picture(name, rendered(plot.figure, dpi=SCREEN), last)
    name, loader = list(loaders.tests.items())[-1]
    dataset = loader.dataset
    everything = RunBatches(len(dataset), settings.optim.batch_size, None)  # of all ranks
    loader = make_loader(dataset, everything, loader.num_workers)
    found = predictions(step.evaluated, loader, step.statistics, step.device, step.autocast)
    with worker_failures("rerun with --resume auto and --workers 0"):
        logits, labels = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    figures, wrong = measure(logits, labels), confident_mistakes(dataset, logits, labels)
    write_plots(options.out, prediction_plots(store.classes, figures, wrong, f"{title}, {name}"), options.plots)


def make_step(
    store: Store, settings: Settings, options: RunOptions, ranks: Ranks, report: Report, weights: str | None = None
) -> Step:
    """Build network, mixer and optimiser of a run, on this rank's device.

    Parameters
    ----------
    weights : initial weights in the place of the run's, such as ``none`` for a network that a checkpoint will fill.

    Raises
    ------
    SettingsError, RunError, BackboneError, WeightsError : settings that conflict with store or network.
    """
    mixer: Mixer = make_mixer(settings.method, **asdict(settings.mixer))
    if mixer.needs_maps and options.maps == "stored" and not store.has_maps("train"):
        raise RunError(
            f"{store.path} has no superpixels {store.superpixels.name} for the split 'train'; build them, or "
            "choose others with --superpixels"
        )
    if mixer.fetches:
        report.say(f"downloading {mixer.fetches} for {settings.method} (skipped if cached)")
    mixer.prepare()
    model, compute, optim = settings.model, settings.compute, settings.optim
    weights = model.weights if weights is None else weights
    hub = hub_name(model.backbone, weights)
    if hub:
        report.say(f"downloading the weights {hub} (skipped if cached)")
    torch.manual_seed(derive_seed("weights", options.seed))
    network = LocalGlobalNet.of(settings, len(store.classes), weights)
    if network.filled:
        report.say(f"{model.weights} holds a whole network: {', '.join(network.filled)} start from it as well")
    _try_input(network, settings, mixer)
    network.to(ranks.device, memory_format=torch.channels_last if compute.channels_last else None)
    return Step(
        network,
        mixer,
        make_optimiser(network, optim, scaled=compute.amp == "fp16" and ranks.device.type == "cuda"),
        statistics_of(settings, ranks.device),
        ranks,
        options.seed,
        compute,
        optim.clip,
        optim.accumulate,
        make_average(network, optim),
    )


@torch.no_grad()
def _try_input(model: LocalGlobalNet, settings: Settings, mixer: Mixer) -> None:
    """Run one blank image through the network: some networks check the input size only in the forward pass."""
    size = settings.data.image_size
    regions = None if model.decoder is None else torch.zeros(1, size, size, dtype=torch.long)
    try:
        model.eval()(torch.zeros(1, 3, size, size), regions, 1)
    except Exception as error:
        raise SettingsError(
            f"{settings.model.backbone} cannot take inputs of {size}x{size}: {first_line(error)}"
        ) from error
    if mixer.needs_model:
        try:
            classifier_weight(model, last_map(model, torch.zeros(1, 3, size, size)).shape[1])
        except ValueError as error:
            raise SettingsError(f"{settings.method} with {settings.model.backbone}: {error}") from None


def _describe(
    store: Store, settings: Settings, options: RunOptions, identity: dict[str, Any], ranks: Ranks
) -> dict[str, Any]:
    return {
        **identity,
        "starting_weights": hub_name(settings.model.backbone, settings.model.weights),  # "pretrained" says not which
        "store": {
            "path": str(store.path),
            "name": store.name,
            "dataset": store.dataset,
            "images": store.document["images"],  # export passes it on to predict
            "samples": {name: len(split) for name, split in store.splits.items()},
            **identity["store"],
        },
        "folder": str(Path.cwd()),  # relative paths in the settings start here
        "workers": options.workers,
        "device": str(ranks.device.type),
        "hardware": _hardware(ranks.device),
        "world": ranks.world,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "commit": _commit(),
    }


def _hardware(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the source tree, with "+" if it was changed; None for an installed package."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None
    command = ["git", "-C", str(home), "describe", "--always", "--abbrev=12", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
