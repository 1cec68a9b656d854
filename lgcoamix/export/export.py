"""Export a trained backbone as a folder that timm loads: weights, configuration, model card, optional ONNX."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any

import timm
import torch
from safetensors.torch import save
from timm.models._hub import save_config_for_hf
from torch import Tensor, nn

from lgcoamix.errors import RunError
from lgcoamix.export.card import make_card
from lgcoamix.export.folder import CARD, FORMAT, ONNX, WEIGHTS, creation_options, read_exported
from lgcoamix.export.onnx import write_onnx
from lgcoamix.models.statistics import statistics_of
from lgcoamix.ops.normalise import to_inputs
from lgcoamix.runs.documents import checkpoint_file
from lgcoamix.runs.load import CONFIG, SECTION, Trained, make_network, read_trained
from lgcoamix.settings.options import ExportOptions
from lgcoamix.settings.sections import to_plain
from preprocess.errors import PreprocessError
from preprocess.files import digest_of, named, write_whole
from preprocess.outputs import MODEL, making
from preprocess.store import Store
from preprocess.store.format import IMAGES

# Entries of timm's configuration that describe the architecture. The rest describes timm's own weights.
_ARCHITECTURE = (
    "architecture",
    "input_size",
    "min_input_size",
    "fixed_input_size",
    "num_classes",
    "pool_size",
    "first_conv",
    "classifier",
)


@dataclass(frozen=True)
class Summary:
    """What was written.

    Parameters
    ----------
    architecture : timm's name of the network.
    classes : N.
    image_size : input size in pixels.
    checkpoint : source of the weights, for example "best.pt, epoch 8".
    files : sorted file names.
    onnx_difference : largest absolute difference between ONNX and PyTorch logits, or None.
    """

    architecture: str
    classes: int
    image_size: int
    checkpoint: str
    files: tuple[str, ...]
    onnx_difference: float | None


def export(options: ExportOptions, say: Callable[[str], None]) -> Summary:
    """Write a temporary folder, load it as users will, compare the logits, then publish it.

    Parameters
    ----------
    options : checkpoint, output folder and formats.
    say : shows a line of text before slow steps.

    Raises
    ------
    RunError : the checkpoint is unusable or lacks what ``predict`` needs, the logits of timm differ from its own, or
        the ONNX export fails. Nothing is published then.
    """
    trained = read_trained(checkpoint_file(options.checkpoint))
    onnx = say if options.onnx else None
    return write_model(
        trained, _stored_images(trained), options.out, onnx=onnx, hub=options.push_to_hub, licence=options.license
    )


def write_model(
    trained: Trained,
    images: dict[str, Any],
    out: Path,
    others: Mapping[str, memoryview] = MappingProxyType({}),
    onnx: Callable[[str], None] | None = None,
    hub: str | None = None,
    licence: str | None = None,
) -> Summary:
    """Write the folder of an exported model; see :func:`export`.

    Parameters
    ----------
    trained : checkpoint.
    images : how its images were stored.
    out : folder.
    others : contents of further files, by name.
    onnx : shows a line of text before ONNX is written; None writes none.
    hub : the model repository that the card names; None if the folder goes to none.
    licence : identifier that the card names; None if none is chosen yet.
    """
    out = out.absolute()
    net = make_network(trained).backbone.net
    if lacking := [name for name in ("pretrained_cfg", "num_classes", "num_features") if not hasattr(net, name)]:
        raise RunError(
            f"{type(net).__name__} has no {', '.join(lacking)}, which timm writes beside the weights; set that where "
            "the network is built; pretrained_cfg is {'architecture': its registered name, 'input_size': (3, 224, 224)}"
        )
    size = trained.settings.data.image_size
    with making(out, MODEL) as folder:
        _write_weights(net, folder / WEIGHTS)
        config = _write_config(net, trained, images, digest_of(folder / WEIGHTS), folder / CONFIG)
        _check_with_timm(net, trained, folder, config)
        difference = None
        if onnx is not None:
            onnx("writing model.onnx, which may take a minute")
            difference = write_onnx(net, size, folder / ONNX)
        for name, content in others.items():
            write_whole(folder / name, content)
        card = make_card(trained, config, creation_options(config), out.name, difference, hub, licence)
        write_whole(folder / CARD, card.encode())
        files = tuple(sorted(path.name for path in folder.iterdir()))
    averaged = ", averaged weights" if trained.weights == "model_ema" else ""
    return Summary(
        config["architecture"],
        len(trained.classes),
        size,
        f"{trained.path.name}, {trained.when}{averaged}",
        files,
        difference,
    )


def _stored_images(trained: Trained) -> dict[str, Any]:
    """Return how the store's images were made; for an older checkpoint, read it from the store."""
    described = trained.config.get("store", {})
    if "images" in described:
        return described["images"]
    if not described.get("path"):
        raise RunError(
            f"{trained.path} is from an older version and records neither how its images were stored nor where its "
            "store is, so predict could not reproduce the preprocessing; train again, and export that run"
        )
    path = Path(described["path"])
    keys = {name: key for name, key in described.get("keys", {}).items() if name.endswith(f"/{IMAGES}")}
    try:
        store = Store(path)
        if keys.items() <= store.content_keys.items():
            return store.document["images"]
        reason = "that store now contains other images"
    except (PreprocessError, OSError) as error:
        reason = str(error)
    raise RunError(
        f"{trained.path} is from an older version and does not record how its images were stored; expected its store "
        f"at {path}, but {reason}. Restore or rebuild that store, then export again"
    )


def _write_weights(net: nn.Module, path: Path) -> None:
    # safetensors refuses tensors that share memory or are not contiguous.
    dense = torch.contiguous_format
    tensors = {name: value.detach().clone(memory_format=dense) for name, value in net.state_dict().items()}
    write_whole(path, save(tensors, metadata={"format": "pt"}))


def _write_config(net: nn.Module, trained: Trained, images: dict[str, Any], digest: str, path: Path) -> dict[str, Any]:
    settings = trained.settings
    size = settings.data.image_size
    net.pretrained_cfg = {name: net.pretrained_cfg[name] for name in _ARCHITECTURE if name in net.pretrained_cfg}
    mode, share = _crop(settings.data.test, size, images["size"], images["resize"])
    crop = {"crop_mode": mode, "crop_pct": share, "interpolation": "bilinear"}
    mean, std = (_shortest(values) for values in statistics_of(settings))
    with named(path):
        save_config_for_hf(
            net,
            path,
            model_config={
                "label_names": list(trained.classes),
                "pretrained_cfg": crop,
                SECTION: _section(trained, images, digest),
            },
            data_config={"input_size": (3, size, size), "mean": mean, "std": std, **crop},
        )
    config = json.loads(path.read_bytes())
    write_whole(path, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
    return config


def _crop(test: str, size: int, stored: int | None, resize: str) -> tuple[str, float]:
    """Express the test protocol as timm's crop mode and crop fraction."""
    if test == "resize":
        return "squash", 1.0
    share = size / stored
    while math.floor(size / share) < stored:  # timm divides and truncates: 16 / (16 / 93) is below 93
        share = math.nextafter(share, 0)
    return ("squash" if resize == "squash" else "center"), share


def _shortest(values: Tensor) -> list[float]:
    """Return the shortest decimals that round to the same float32 values."""
    return [float(str(value)) for value in values.flatten().numpy()]


def _section(trained: Trained, images: dict[str, Any], digest: str) -> dict[str, Any]:
    config = trained.config
    return {
        "format": FORMAT,
        "version": version("lgcoamix"),
        "sha256": digest,  # of the weights
        "images": images,
        "data": asdict(trained.settings.data),
        "checkpoint": {"name": trained.path.name, "trained": trained.when, "weights": trained.weights},
        "recipe": config.get("recipe"),
        "settings": _without_paths(to_plain(trained.settings)),
        "starting_weights": config.get("starting_weights"),
        "seed": config.get("seed"),
        "val_fraction": config.get("val_fraction"),
        "test_split": config.get("test_split"),
        "store": {name: config["store"].get(name) for name in ("name", "dataset", "superpixels", "samples", "keys")},
        "versions": config.get("versions"),
        "commit": config.get("commit"),
        "hardware": config.get("hardware"),
        **({"source": config["source"]} if "source" in config else {}),
    }


def _without_paths(value: Any) -> Any:
    """Strip folders from the strings in settings: they would reveal paths of this machine."""
    if isinstance(value, dict):
        return {name: _without_paths(part) for name, part in value.items()}
    return PurePath(value.replace("\\", "/")).name if isinstance(value, str) and value else value


@torch.no_grad()
def _check_with_timm(net: nn.Module, trained: Trained, folder: Path, config: dict[str, Any]) -> None:
    """Load the folder in both ways and compare the logits with the checkpoint's, bit for bit."""
    size = trained.settings.data.image_size
    noise = torch.randint(256, (2, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = to_inputs(noise, *statistics_of(trained.settings))
    wanted = net(images)
    if not wanted.isfinite().all():
        raise RunError(f"logits of {trained.path} are not finite: its training diverged; use an earlier checkpoint")
    name, options = config["architecture"], creation_options(config)
    try:
        other = timm.create_model(name, checkpoint_path=str(folder / WEIGHTS), **options).eval()
        local = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except Exception as error:  # what timm raises has no common type
        raise RunError(f"timm {timm.__version__} cannot load {name} with {options}: {error}") from None
    forms = {"predict": read_exported(folder).net, "local-dir:": local, "checkpoint_path=": other}
    for form, loaded in forms.items():
        logits = loaded(images)
        if not torch.equal(logits, wanted):
            raise RunError(
                f"logits of {name} in timm {timm.__version__}, loaded with {form}, differ from those of {trained.path} "
                f"(by up to {(logits - wanted).abs().max():.1e}); nothing was written"
            )
