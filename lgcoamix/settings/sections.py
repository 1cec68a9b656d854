"""All settings of a run as frozen dataclasses, and ``section.key=value`` on the command line. Works without torch."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from lgcoamix.errors import SettingsError
from lgcoamix.settings.checks import (
    LARGEST_FLOAT,
    LARGEST_SIDE,
    STATISTICS,
    TESTS,
    Checked,
    number,
    pair,
    shown,
    timm_name,
    word,
)
from lgcoamix.settings.mixers import METHOD_OPTIONS, LGCOAMixOptions
from lgcoamix.settings.schedules import SCHEDULES
from lgcoamix.settings.text import suggest

_SMALLEST = 1e-30  # of what must be above 0
_BELOW_1 = 0.999999
_MOST = 1_000_000  # epochs, images of a batch
# Settings that earlier versions did not have, with what they did.
_EARLIER = {"model.init": "timm", "mixer.cam": "eval"}


@dataclass(frozen=True)
class DataSettings(Checked):
    """How a stored image becomes an input of the network.

    Parameters
    ----------
    image_size : side of the network's input, in pixels.
    crop : ``random`` (a window of the stored image), ``pad`` (the same, after padding each side) or ``resized`` (a
        window of random area and aspect ratio, resized).
    padding : pixels on each side, for ``pad``.
    scale, ratio : bounds of the window's share of the image area, and of its aspect ratio, for ``resized``.
    flip : probability of a horizontal flip.
    test : ``resize`` the full stored image, or crop its ``center``.
    normalise : ``none`` leaves inputs in [0, 1], as the papers do; ``backbone`` uses the mean and standard deviation of
        the timm model's training; ``cifar`` those by which OpenMixup normalises CIFAR.

    Examples
    --------
    >>> from lgcoamix import DataSettings
    >>> DataSettings(image_size=64, crop="middle")
    Traceback (most recent call last):
    ValueError: crop must be one of random, pad, resized, got 'middle'
    """

    image_size: int = number(224, 1, LARGEST_SIDE)
    crop: str = word("resized", "random", "pad", "resized")
    padding: int = number(4, 0, LARGEST_SIDE)
    scale: tuple[float, float] = pair(0.35, 1.0, 1e-6, 1)
    ratio: tuple[float, float] = pair(0.75, 1.3333, 0.01, 100)
    flip: float = number(0.5, 0, 1)
    test: str = word("resize", *TESTS)
    normalise: str = word("backbone", *STATISTICS)

    @property
    def border(self) -> int:
        """How far a window of training may extend beyond its image, in pixels."""
        return self.padding if self.crop == "pad" else 0


@dataclass(frozen=True)
class ModelSettings(Checked):
    """The network.

    Parameters
    ----------
    backbone : timm model name.
    weights : ``pretrained`` (timm's default weights), a tag of timm (``tv_in1k``: torchvision's first, which the
        published scripts load), ``none``, or a checkpoint file.
    init : how layers without such weights start: as in ``timm``; ``torchvision``: a ResNet without zeroed BatchNorms,
        as in the published scripts; ``released``: as LGCOAMix's code does for Dogs. See ``lgcoamix/models/initial.py``.
    width, skip, pool_stem : of the decoder; see ``lgcoamix.models``.
    """

    backbone: str = timm_name("resnet18")
    weights: str = "pretrained"
    init: str = word("timm", "timm", "torchvision", "released")
    width: int = number(64, 1, 4096)
    skip: str = word("concat", "concat", "add")
    pool_stem: bool = False


@dataclass(frozen=True)
class OptimSettings(Checked):
    """The optimiser and its schedule.

    Parameters
    ----------
    epochs, batch_size : of training; the batch size counts all devices together and is at least 2, as mixing and
        BatchNorm require.
    optimiser : ``sgd``, or the name of any timm optimiser.
    lr, momentum, weight_decay, nesterov : of the optimiser, where it supports them.
    decay : what weight decay applies to: ``all`` parameters, as in the papers, or only ``weights``: no biases, no
        normalisation layers, and nothing that the backbone excludes.
    new_layers : learning-rate factor for layers without pretrained weights: the classifier, the decoder, the local and
        the mid-level branch.
    schedule : name in ``lgcoamix.settings.schedules.SCHEDULES``.
    warmup : number of first epochs in which the rate rises linearly; None uses the schedule's own.
    clip : largest norm of the gradient; 0 does not clip.
    accumulate : number of parts in which a batch is processed, one after the other, to save memory. Images are mixed
        within a part.
    ema : decay of a moving average of the weights, which is then what is evaluated; 0 keeps none.
    plain_epochs : number of last epochs in which nothing is mixed.
    """

    epochs: int = number(100, 1, _MOST)
    batch_size: int = number(32, 2, _MOST)
    optimiser: str = "sgd"
    lr: float = number(0.01, _SMALLEST, LARGEST_FLOAT)
    momentum: float = number(0.9, 0, _BELOW_1)
    weight_decay: float = number(5e-4, 0, LARGEST_FLOAT)
    nesterov: bool = False
    decay: str = word("all", "all", "weights")
    new_layers: float = number(1.0, _SMALLEST, LARGEST_FLOAT)
    schedule: str = word("cosine", *SCHEDULES)
    warmup: int | None = number(None, 0, _MOST)
    clip: float = number(0.0, 0, LARGEST_FLOAT)
    accumulate: int = number(1, 1, _MOST)
    ema: float = number(0.0, 0, _BELOW_1)
    plain_epochs: int = number(0, 0, _MOST)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov requires a momentum above 0, got 0")

    def mixes_in(self, epoch: int) -> bool:
        """Whether batches of an epoch, counted from 0, may be mixed."""
        return epoch < self.epochs - self.plain_epochs


@dataclass(frozen=True)
class ComputeSettings(Checked):
    """How a step is computed. This changes the speed, and the last digits of the result.

    Parameters
    ----------
    amp : ``off`` computes in float32; ``bf16`` and ``fp16`` compute convolutions and matrix products in half precision,
        but not the losses.
    channels_last : use channels-last memory for images and feature maps; as fast or faster for networks that convolve.
    compile : use torch.compile; the first steps take minutes.
    """

    amp: str = word("off", "off", "bf16", "fp16")
    channels_last: bool = True
    compile: bool = False


@dataclass(frozen=True)
class Settings:
    """Everything that determines a run, besides the store.

    Parameters
    ----------
    method : name in ``lgcoamix.settings.mixers.METHOD_OPTIONS``.
    mixer : the method's options.
    data, model, optim, compute : the other sections; see their classes.

    Examples
    --------
    >>> from lgcoamix import Settings
    >>> settings = Settings().with_method("cutmix").with_assignments(("optim.lr=0.1", "mixer.alpha=0.5"))
    >>> settings.optim.lr, settings.mixer
    (0.1, CutMixOptions(alpha=0.5, mix_prob=1.0, correct_lam=True))
    """

    method: str = "lgcoamix"
    mixer: Any = field(default_factory=LGCOAMixOptions)
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)

    def with_method(self, name: str) -> "Settings":
        """Switch to another method, with its default options.

        Raises
        ------
        SettingsError : unknown method.
        """
        if name not in METHOD_OPTIONS:
            raise SettingsError(f"no mixer {name!r}; {suggest(name, METHOD_OPTIONS)}")
        return self if name == self.method else replace(self, method=name, mixer=METHOD_OPTIONS[name]())

    def with_values(self, section: str, **values: object) -> "Settings":
        """Change values of one section; None keeps the current value.

        Raises
        ------
        SettingsError : invalid value.
        """
        return self._replaced(section, {name: value for name, value in values.items() if value is not None})

    def with_plain(self, section: str, values: object) -> "Settings":
        """Change values of one section to those of :func:`to_plain`; lists become tuples again.

        Raises
        ------
        SettingsError : an unknown name, or an invalid value.
        """
        if not isinstance(values, Mapping):
            raise SettingsError(f"{section}: expected settings by name, got {shown(values)}")
        unknown = values.keys() - {part.name for part in fields(getattr(self, section))}
        if unknown:
            raise SettingsError(f"{section}: this version knows no {', '.join(map(shown, list(unknown)[:3]))}")
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return self._replaced(section, given)

    def _replaced(self, section: str, values: Mapping[str, Any]) -> "Settings":
        try:
            return replace(self, **{section: replace(getattr(self, section), **values)})
        except ValueError as error:
            raise SettingsError(f"{section}: {error}") from None

    @property
    def paths(self) -> list[str]:
        """Names of all settings, as ``section.key``."""
        return [f"{part}.{field.name}" for part in SECTIONS for field in fields(getattr(self, part))]

    def with_assignments(self, assignments: tuple[str, ...]) -> "Settings":
        """Apply ``section.key=value`` assignments from the command line.

        Raises
        ------
        SettingsError : malformed, unknown (with a suggestion), or of the wrong type.
        """
        given: dict[str, dict[str, Any]] = {}
        for text in assignments:
            path, equals, value = text.partition("=")
            section, dot, key = path.partition(".")
            if not equals or not dot:
                named = [f"did you mean {known}={value}?" for known in self.paths if known.endswith(f".{path}")]
                remedy = next(iter(named), "for example mixer.select_prob=0.4")
                raise SettingsError(f"expected section.key=value, got {text!r}; {remedy}")
            if path not in self.paths:
                raise SettingsError(f"no setting {path!r} (mixer: {self.method}); {suggest(path, self.paths)}")
            wanted = get_type_hints(type(getattr(self, section)))[key]
            given.setdefault(section, {})[key] = _parse(path, value, wanted)
        settings = self
        for section, values in given.items():  # settings of a section may depend on each other
            settings = settings._replaced(section, values)
        return settings


SECTIONS = ("mixer", "data", "model", "optim", "compute")


def to_plain(settings: Settings) -> dict[str, Any]:
    """Convert settings to plain data, for ``config.json``."""
    return dataclasses.asdict(settings)


def from_plain(document: Mapping[str, Any]) -> Settings:
    """Invert :func:`to_plain`; lists become tuples again. What is missing keeps its default, or what it was before.

    Raises
    ------
    SettingsError : a section is missing, a name is unknown, or a value is invalid.
    """
    document = with_earlier(document)
    method = document.get("method")
    if not isinstance(method, str) or method not in METHOD_OPTIONS:
        raise SettingsError(f"method: expected one of {', '.join(METHOD_OPTIONS)}, got {shown(method)}")
    settings = Settings(method, METHOD_OPTIONS[method]())
    for section in SECTIONS:
        settings = settings.with_plain(section, document.get(section))
    return settings


def with_earlier(document: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the plain settings of a run what an earlier version did without recording it."""
    options = METHOD_OPTIONS.get(str(document.get("method")))
    whole = dict(document)
    for path, value in _EARLIER.items():
        section, _, name = path.partition(".")
        values = whole.get(section)
        known = section != "mixer" or (options is not None and name in {part.name for part in fields(options)})
        if known and isinstance(values, Mapping):
            whole[section] = {name: value, **values}
    return whole


def _parse(path: str, text: str, wanted: Any) -> object:
    if isinstance(wanted, UnionType):
        if text.lower() == "none":
            return None
        wanted = get_args(wanted)[0]
    try:
        if wanted is bool:
            return {"true": True, "false": False}[text.lower()]
        if get_origin(wanted) is tuple:
            low, high = (float(part) for part in text.split(","))
            return low, high
        return wanted(text)
    except (ValueError, KeyError):
        form = {bool: "true or false", int: "an integer", float: "a number"}.get(wanted, "two numbers LOW,HIGH")
        raise SettingsError(f"{path} takes {form}, got {text!r}") from None
