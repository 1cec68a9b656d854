"""The model card of an exported folder: the network, its training and its accuracy."""

import html
import json
import shlex
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import timm
from jinja2 import Environment, StrictUndefined

from lgcoamix.evaluation.metrics import METRICS
from lgcoamix.export.measured import Measured, has_mid, results_of
from lgcoamix.export.metadata import head_of
from lgcoamix.models.hub import BackboneError, config_of, hub_name
from lgcoamix.recipes import RECIPES
from lgcoamix.runs.documents import protocol_of
from lgcoamix.runs.load import SECTION, Trained
from lgcoamix.settings.text import flatten, text_of


def make_card(
    trained: Trained,
    config: dict[str, Any],
    options: dict[str, Any],
    name: str,
    onnx_difference: float | None,
    hub: str | None = None,
    licence: str | None = None,
) -> str:
    """Write ``README.md``.

    Parameters
    ----------
    trained : the checkpoint. Results are read from the files next to it.
    config : ``config.json`` of the folder.
    options : arguments of ``timm.create_model`` besides the architecture and the weights file.
    name : name of the folder.
    onnx_difference : largest absolute difference between ONNX and PyTorch logits; None without ONNX.
    hub : the model repository, ``USER/NAME``, to which the folder is sent; None if it is not.
    licence : its identifier on the hub; None if none is chosen yet.
    """
    section = config[SECTION]
    settings, source = section["settings"], section.get("source")
    results, method = results_of(trained), None if source else settings["method"]
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)  # Markdown: no autoescape
    environment.filters |= {
        "text": _text,
        "python": json.dumps,  # a JSON string is a valid Python literal
        "shell": shlex.quote,
    }
    template = environment.from_string((files("lgcoamix.export") / "card.md").read_text("utf-8"))
    return template.render(
        head=head_of(hub.rpartition("/")[2] if hub else name, method, section["store"]["dataset"], results, licence),
        licence=licence,
        name=name,
        hub=hub,
        architecture=config["architecture"],
        ours=timm.models.model_entrypoint(config["architecture"]).__module__.startswith("lgcoamix."),
        options=options,
        timm_version=timm.__version__,
        classes=config["label_names"],
        size=section["data"]["image_size"],
        method=settings["method"],
        dataset=section["store"]["name"],
        checkpoint=section["checkpoint"],
        mid=has_mid(trained),
        local=settings["method"] == "lgcoamix",
        onnx_difference=onnx_difference,
        steps=list(_steps(section["images"], section["data"], config["pretrained_cfg"], trained_here=source is None)),
        metrics=[metric.label for metric in METRICS.values()],
        rows=list(map(_row, results)),
        chosen_on_test=section["val_fraction"] == 0,
        val_fraction=section["val_fraction"],
        source=source,
        facts={label: value for label, value in _facts(trained, section) if value},
        settings={name: text_of(value) for name, value in flatten(settings).items()},
        start_licence=_start_licence(trained),
    )


def _row(result: Measured) -> dict[str, Any]:
    texts = [metric.text(result.values[name]) for name, metric in METRICS.items()]
    return {"what": result.what, "images": "" if result.images is None else result.images, "figures": texts}


def _text(value: object) -> str:
    """Escape text to one line that Markdown shows verbatim, even in a table."""
    line = html.escape(" ".join(str(value).split()), quote=False)
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in line)


def _steps(
    images: Mapping[str, Any], data: Mapping[str, Any], cfg: Mapping[str, Any], trained_here: bool
) -> Iterator[str]:
    """Describe the preprocessing."""
    banner = images.get("banner")
    yield (
        "Decode to RGB; rotate upright by EXIF; composite transparency on white."
        + (f" Crop the lowest {banner} rows of pixels." if banner else "")
    )
    size, codec = images["size"], images["codec"]
    how = {
        "squash": f"Squash to {size}x{size} pixels, whatever the aspect ratio (Pillow, bilinear",
        "short": f"Resize to a short side of {size} pixels (Pillow, bilinear",
        "none": "Keep the size (Pillow",
    }[images["resize"]]
    coded = f"; encode as JPEG of quality {images['quality']} and decode again" if codec == "jpeg" else ""
    release = f", version {images['pillow']} for the training" if trained_here else ""
    yield f"{how}{release}){coded}."
    side = data["image_size"]
    if data["test"] == "center":
        yield f"Crop the centre of {side}x{side} pixels."
    else:
        yield f"Resize the image to {side}x{side} pixels, by area averaging if a side shrinks, else bilinear."
    mean, std = cfg["mean"], cfg["std"]
    if set(mean) == {0} and set(std) == {1}:
        yield "Divide by 255: inputs lie in [0, 1] and are not normalised further (mean 0, standard deviation 1)."
    else:
        yield f"Divide by 255, subtract the mean {_list(mean)}, divide by the standard deviation {_list(std)}."


def _list(values: list[float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"


def _facts(trained: Trained, section: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if "source" in section:
        yield from _facts_of_source(section)
        return
    settings, store, name = section["settings"], section["store"], section["recipe"]
    recipe, optim, data = RECIPES.get(name), settings["optim"], settings["data"]
    yield "recipe", name
    yield "recipe's source", recipe and recipe.source
    yield "method", _with_options(settings["method"], settings["mixer"])
    yield "backbone", settings["model"]["backbone"]
    yield "starting weights", _start(trained)
    yield "data", ", ".join(dict.fromkeys(filter(None, (store["name"], store["dataset"]))))
    yield "images", ", ".join(f"{split} {count}" for split, count in (store["samples"] or {}).items())
    yield "test split", section["test_split"]
    yield "held out of the training images", section["val_fraction"] and f"{100 * section['val_fraction']:g} %"
    yield "superpixels", store["superpixels"]
    yield "content keys of the store", ", ".join(f"{column} {key}" for column, key in (store["keys"] or {}).items())
    yield "protocol", f"{protocol_of(trained.config)}; windows in training: {data['crop']}"
    yield "epochs, batch size", f"{optim['epochs']}, {optim['batch_size']}"
    yield (
        "optimiser",
        f"{optim['optimiser']}, lr {optim['lr']:g}, schedule {optim['schedule']}, decay {optim['weight_decay']:g}",
    )
    yield "averaged weights", optim["ema"] and f"decay {optim['ema']:g}"
    yield "seed", str(section["seed"])
    yield "hardware", section["hardware"]
    yield "versions", ", ".join(f"{package} {number}" for package, number in (section["versions"] or {}).items())
    yield "commit", section["commit"]


def _facts_of_source(section: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    source = section["source"]
    yield "file", source["file"]
    yield "SHA-256", source["sha256"]
    yield "layout", source["layout"]
    yield "backbone", section["settings"]["model"]["backbone"]
    yield "input", f"{section['data']['image_size']} pixels, as in the {source['protocol']}"
    yield "converted with", ", ".join(f"{package} {number}" for package, number in (section["versions"] or {}).items())


def _with_options(method: str, options: Mapping[str, Any]) -> str:
    given = ", ".join(f"{name}={text_of(value)}" for name, value in options.items())
    return f"{method} ({given})" if given else method


def _start(trained: Trained) -> str:
    model = trained.settings.model
    if model.weights == "none":
        return "none: trained from scratch" + (f", started as {model.init}" if model.init != "timm" else "")
    if trained.config.get("starting_weights"):
        return f"timm's {trained.config['starting_weights']}"
    if model.weights == "pretrained":  # a run of an earlier version
        return f"timm's default for {model.backbone}, in timm {timm.__version__} {_hub_name(trained)}"
    return f"a file, {Path(model.weights.replace(chr(92), '/')).name}"


def _hub_name(trained: Trained) -> str | None:
    model = trained.settings.model
    if trained.config.get("starting_weights"):
        return trained.config["starting_weights"]
    return hub_name(model.backbone, model.weights) if model.weights == "pretrained" else None


def _start_licence(trained: Trained) -> str:
    if "source" in trained.config:
        return "The weights have the licence of their source."
    name = _hub_name(trained)
    if name is None:
        return f"Starting weights: {_text(_start(trained))}."
    try:
        cfg = config_of(name)
    except BackboneError:  # of another version of timm
        cfg = None
    licence = cfg and cfg.license
    return f"timm names {_text(licence) if licence else 'no licence'} for the weights {_text(name)}."
