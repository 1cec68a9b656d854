"""Read a folder written by ``export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict

import timm
import torch
from safetensors.torch import load_file
from torch import nn

import lgcoamix.models  # noqa: F401 - registers the modified backbones with timm
from lgcoamix.errors import RunError
from lgcoamix.models.backbone import refuse_misfits
from lgcoamix.ops.torch_files import check_weights
from lgcoamix.runs.documents import CONFIG, Classes, Digest, StoredImages, Values
from lgcoamix.runs.load import SECTION, exported_config
from lgcoamix.settings.checks import LARGEST_SIDE
from lgcoamix.settings.sections import DataSettings, Settings
from preprocess.files import digest_of
from preprocess.inputs import confined, require_regular
from preprocess.schema import Form, Length, Range, check, exact
from preprocess.text import one_line

WEIGHTS, CARD, ONNX = "model.safetensors", "README.md", "model.onnx"
FORMAT = 1
_REMEDY = "export or copy it again"


def _known(name: str) -> None:
    if not timm.is_model(name):
        raise ValueError("expected the name of a network in timm")


Side = Annotated[int, Range(least=1, most=LARGEST_SIDE)]
Size = Annotated[list[Side], Length(least=2, most=3)]
_Three = Length(least=3, most=3)
_HUGE = 1e6  # far above any mean or deviation of inputs in [0, 1]


@exact
class _ModelArgs(TypedDict, total=False):
    """Arguments that timm's own reader passes on to the network: these alone, lest it builds another one than we do."""

    num_classes: int
    in_chans: Literal[3]
    img_size: Side | Size
    global_pool: str


@exact
class _PretrainedCfg(TypedDict, total=False):
    """timm's description of weights, without other sources of them, such as ``url`` and ``hf_hub_id``."""

    architecture: str
    num_classes: int
    input_size: Required[Annotated[Size, _Three]]
    min_input_size: Size | None
    test_input_size: Size | None
    fixed_input_size: bool
    pool_size: Size | None
    first_conv: str | list[str] | None
    classifier: str | list[str] | None
    crop_mode: str
    crop_pct: float
    interpolation: str
    mean: Required[Annotated[list[Annotated[float, Range(above=-_HUGE, below=_HUGE)]], _Three]]
    std: Required[Annotated[list[Annotated[float, Range(above=0, below=_HUGE)]], _Three]]
    custom_load: Literal[False]


class _Section(TypedDict, total=False):
    format: Required[int]
    sha256: Digest | None
    images: Required[StoredImages]
    data: Required[Values]


class _Config(TypedDict, total=False):
    architecture: Required[Annotated[str, Length(most=200), _known]]
    num_classes: Required[int]
    label_names: Required[Classes]
    model_args: _ModelArgs
    pretrained_cfg: Required[_PretrainedCfg]
    lgcoamix: Required[_Section]


def _named(config: _Config) -> None:
    if len(config["label_names"]) != config["num_classes"]:
        raise ValueError(f"label_names has {len(config['label_names'])} names, num_classes is {config['num_classes']}")


_FORM = Form(Annotated[_Config, _named])


@dataclass(frozen=True)
class Exported:
    """A network and its preprocessing.

    Parameters
    ----------
    net : timm model for inference, on the CPU.
    classes : logit i belongs to ``classes[i]``.
    images : how the store converted source images, as in its index.
    data : test protocol.
    mean, std : statistics of the inputs for each channel, in [0, 1].
    """

    net: nn.Module
    classes: tuple[str, ...]
    images: dict[str, Any]
    data: DataSettings
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_exported(folder: Path) -> Exported:
    """Read a folder: its configuration and its weights, no other file, and nothing from the network.

    Raises
    ------
    RunError : the folder is damaged or was not written by ``export``.
    """
    config = exported_config(folder)
    if config is None:
        raise RunError(_no_export(folder))
    section = config[SECTION]
    if section["format"] != FORMAT:
        raise RunError(f"{folder} has export format {section['format']}, this program reads {FORMAT}")
    try:
        check(_FORM, config)
        data = Settings().with_plain("data", section["data"]).data
    except ValueError as error:
        raise RunError(f"{folder / CONFIG} is damaged: {error}; {_REMEDY}") from None
    cfg, classes = config["pretrained_cfg"], tuple(config["label_names"])
    net = _read_net(folder, config["architecture"], creation_options(config), section.get("sha256"))
    return Exported(net, classes, section["images"], data, tuple(cfg["mean"]), tuple(cfg["std"]))


def creation_options(config: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``timm.create_model`` besides the architecture, if it does not read ``config.json``."""
    given = config.get("model_args", {})
    size = {"img_size": config["pretrained_cfg"]["input_size"][1]} if given.get("img_size") else {}
    return {"num_classes": config["num_classes"], **size}


def _read_net(folder: Path, name: str, options: dict[str, Any], digest: str | None) -> nn.Module:
    try:
        path = confined(folder, WEIGHTS)
        require_regular(path)
        is_damaged = digest not in (None, digest_of(path))  # exports of earlier versions have no digest
    except OSError as error:
        raise RunError(f"{folder / WEIGHTS} cannot be read: {error.strerror}; {_REMEDY}") from None
    except ValueError as error:
        raise RunError(f"{folder / WEIGHTS} cannot be read: {error}; {_REMEDY}") from None
    if is_damaged:
        raise RunError(f"{path} is damaged: its bytes do not match the sha256 in {CONFIG}; {_REMEDY}")
    try:
        with torch.device("meta"):
            wanted = timm.create_model(name, **options).state_dict()
        state = check_weights(load_file(path))
        refuse_misfits(state, wanted)
        net = timm.create_model(name, **options)
        net.load_state_dict(state)
        return net.eval().requires_grad_(False)
    except Exception as error:  # exceptions of timm and safetensors have no common type
        reason = f"{type(error).__name__}: {one_line(error, 300)}"
        raise RunError(f"{folder} cannot be loaded: {reason}; {_REMEDY}") from None


def _no_export(folder: Path) -> str:
    expected = f"expected a folder written by the command export, {folder} "
    if any((folder / name).is_file() for name in ("best.pt", "last.pt")):
        return f"{expected}is a run: python -m lgcoamix export --checkpoint {folder} --out DIR, then --model DIR"
    if not (folder / CONFIG).is_file():
        return f"{expected}has no {CONFIG}"
    return f"{expected}has a {CONFIG} without the preprocessing of images (section {SECTION!r})"
