"""The options of the commands, besides the settings of a recipe. The command line is made from these fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from lgcoamix.errors import SettingsError
from lgcoamix.settings.checks import LARGEST_SIDE, STATISTICS, TESTS

DEVICES = ("auto", "cpu", "cuda", "mps")
LAYOUTS = ("lgcoamix", "occamix", "snapmix", "openmixup", "timm")  # of released checkpoints, as in lgcoamix.export
PLOTS = ("png", "pdf", "svg")  # formats of plots
LARGEST_SEED = 2**53 - 1  # that every reader of JSON keeps exact
MOST_WORKERS = 256  # each takes a core, and as much memory as the process that starts it


def option(default: Any, help: str = "", **form: Any) -> Any:  # noqa: A002 - click's word
    """A field that is an option of the command line as well.

    Parameters
    ----------
    default : None leaves the choice to the program; ``help`` then says what it takes.
    help : text of ``--help``.
    form : ``choices``; ``low``, ``high`` (open: the value itself is excluded) for numbers; ``metavar``; ``each``, what
        a list of numbers holds.
    """
    return field(default=default, metadata={"help": help, **form})


def plots_option() -> Any:
    """The format of plots, of every command that draws some."""
    return option("png", "Format of plots: png has 300 pixels per inch, pdf and svg keep text as text.", choices=PLOTS)


class Options:
    """Base of all: values that have choices are one of them."""

    def __post_init__(self) -> None:
        for part in fields(self):  # pyrefly: ignore[bad-argument-type] - every subclass is a dataclass
            value, choices = getattr(self, part.name), part.metadata.get("choices")
            if choices and value not in (*choices, part.default):
                raise SettingsError(f"{part.name} must be one of {', '.join(choices)}, got {value!r}")


@dataclass(frozen=True)
class RunOptions(Options):
    """What a run needs besides its settings: each field is an option of ``train.py``.

    Parameters
    ----------
    out : run folder.
    recipe : name of the recipe that the settings started from.
    augment : the name or file, or the pipeline that was read from it.
    """

    out: Path
    recipe: str
    device: str = option("auto", choices=DEVICES)
    loader: str = option(
        "auto",
        "Stream from the store, or keep all images in device memory; auto: resident on a GPU with enough memory.",
        choices=("auto", "streaming", "resident"),
    )
    maps: str = option(
        "stored",
        "Crop the stored superpixel maps, or segment every crop while loading (live), as the published code does.",
        choices=("stored", "live"),
    )
    augment: str | Mapping[str, Any] | None = option(
        None,
        "Augment crops and maps with albumentations: a ready-made pipeline, or a file. Streaming loader only.",
        metavar="light|strong|FILE.yaml",
    )
    workers: int = option(2, "DataLoader workers per process.", low=0, high=MOST_WORKERS)
    seed: int = option(0, low=0, high=LARGEST_SEED)
    val_fraction: float = option(
        0.0,
        "Share of the training images held out to choose the best epoch; 0 chooses it on the test split.",
        low=0,
        high=1,
    )
    resume: str | None = option(None, "Continue from the run folder, if it holds anything.", metavar="auto|FILE")
    checkpoint_every: int = option(500, "Steps between checkpoints; there is one after every epoch as well.", low=1)
    keep: int = option(2, "Number of last checkpoints to keep.", low=1, high=10_000)
    pictures: bool = option(True, "Write plots and sample images into the run folder.")
    plots: str = plots_option()
    tensorboard: bool = option(True, "Write OUT/tensorboard.")
    wandb: str | None = option(None, "Log to Weights & Biases as well.", metavar="PROJECT")


@dataclass(frozen=True)
class EvaluationOptions(Options):
    """What is evaluated, and how: each field with a default is an option of ``evaluate``.

    Parameters
    ----------
    checkpoint : checkpoint file, or run folder: then its ``best.pt``.
    split : name of a split of the store.
    out : folder for the results.
    """

    checkpoint: Path
    split: str
    out: Path
    device: str = option("auto", choices=DEVICES)
    batch_size: int | None = option(None, "[default: as in training]", low=1)
    workers: int = option(2, "DataLoader workers.", low=0, high=MOST_WORKERS)
    fgsm: tuple[float, ...] = option(
        (1.0, 2.0, 4.0, 8.0),
        "Fast gradient sign attack: largest change of a pixel, in 1/255.",
        metavar="E,E|none",
        high=255,
        each="numbers",
    )
    pgd: tuple[float, ...] = option(
        (),
        "The same changes by projected gradient descent in L∞: 20 steps of an eighth of E from a random start.",
        metavar="E,E|none",
        high=255,
        each="numbers",
    )
    drop: tuple[float, ...] = option(
        (0.25, 0.5, 0.75),
        "Blacken these shares of the patches of every image.",
        metavar="S,S|none",
        high=1,
        each="shares",
    )
    drop_grid: int = option(7, "Patches per side, for --drop.", low=1)
    localise: bool = option(False, "Compare boxes around class activation maps with the boxes in the store.")
    corruptions: bool = option(False, "Measure 13 common corruptions at five severities: 65 passes over all images.")
    reference: str | None = option(
        None,
        "The evaluation.json of a network to measure corruption errors against; with --corruptions.",
        metavar="FILE",
    )
    tta: str = option(
        "none",
        "flip: average the probabilities over each image and its mirror image, in all figures.",
        choices=("none", "flip"),
    )
    seed: int = option(
        0, "Decides dropped patches, corruptions, starts of --pgd, resamples of intervals.", low=0, high=LARGEST_SEED
    )
    plots: str = plots_option()


@dataclass(frozen=True)
class ExplainOptions(Options):
    """Which images are explained, and how: each field with a default is an option of ``explain``.

    Parameters
    ----------
    checkpoint : checkpoint file, or run folder: then its ``best.pt``.
    split : name of a split of the store.
    out : folder for the results.
    keys : of the images; if there are none, ``worst`` chooses.
    """

    checkpoint: Path
    split: str
    out: Path
    keys: tuple[str, ...]
    worst: int | None = option(
        None, "Show the N images whose true class is least probable.", low=1, high=1000, metavar="N"
    )
    device: str = option("auto", choices=DEVICES)
    batch_size: int | None = option(None, "Of the pass for --worst.  [default: as in training]", low=1)
    workers: int = option(2, "DataLoader workers of that pass.", low=0, high=MOST_WORKERS)
    seed: int = option(0, "Chooses the partner of each image, and what is pasted.", low=0, high=LARGEST_SEED)
    plots: str = plots_option()


@dataclass(frozen=True)
class ExportOptions(Options):
    """What is exported, and where to.

    Parameters
    ----------
    checkpoint : checkpoint file, or run folder: then its ``best.pt``.
    out : folder.
    """

    checkpoint: Path
    out: Path
    onnx: bool = option(False, "Write model.onnx as well, checked against PyTorch.")
    license: str | None = option(
        None, "Name the licence in the model card, by its identifier on the hub, such as mit.", metavar="ID"
    )
    push_to_hub: str | None = option(
        None,
        "Send the folder to this model repository of the Hugging Face hub as well; one that is missing is created.",
        metavar="USER/NAME",
    )


@dataclass(frozen=True)
class ConvertOptions(Options):
    """What is converted, and where to.

    Parameters
    ----------
    file : released checkpoint.
    layout : one of ``LAYOUTS``.
    backbone : timm model name.
    classes : logit i belongs to ``classes[i]``.
    out : folder.
    """

    file: Path
    layout: str
    backbone: str
    classes: tuple[str, ...]
    out: Path
    image_size: int | None = option(
        None, "Side of the input, in pixels.  [default: as released]", low=8, high=LARGEST_SIDE
    )
    test: str | None = option(
        None, "Take the whole stored image (resize), or its center.  [default: as released]", choices=TESTS
    )
    normalise: str | None = option(
        None,
        "Leave inputs in [0, 1] (none), or normalise them as the backbone or for CIFAR.  [default: as released]",
        choices=STATISTICS,
    )


@dataclass(frozen=True)
class PredictOptions(Options):
    """What is classified, and how.

    Parameters
    ----------
    model : folder that ``export`` wrote.
    images : files, and folders whose images are all classified.
    out : table to write.
    """

    model: Path
    images: tuple[Path, ...]
    out: Path
    top: int = option(5, "Classes per image.", low=1)
    batch_size: int = option(32, low=1)
    workers: int = option(2, "DataLoader workers.", low=0, high=MOST_WORKERS)
    device: str = option("auto", choices=DEVICES)
