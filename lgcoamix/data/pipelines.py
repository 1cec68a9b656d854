"""Augmentation pipelines: files in albumentations' own format, read, checked and built. Imports albumentations late."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from lgcoamix.errors import SettingsError
from lgcoamix.settings.checks import LARGEST_SIDE, shown
from lgcoamix.settings.text import suggest
from preprocess.extras import required
from preprocess.inputs import read_regular
from preprocess.text import did_you_mean

if TYPE_CHECKING:
    from albumentations import BasicTransform, Compose

READY = {name: Path(__file__).with_name("augments") / f"{name}.yaml" for name in ("light", "strong")}
_LARGEST = 64 * 1024  # bytes of a file
_MOST, _DEEPEST = 10_000, 32  # values in a pipeline, with those that a YAML alias repeats; levels of nesting
_LONGEST = 300  # characters that a message quotes
_KELVIN = 15_000  # the highest temperature of light that albumentations knows
_NAME, _STEPS = "__class_fullname__", "transforms"
_FORMAT = "expected what albumentations.save(albumentations.Compose([...]), FILE, data_format='yaml') writes"
_REFUSED = {
    "ConstrainedCoarseDropout": "it takes the ids of superpixels for objects; use CoarseDropout or Erasing",
    "Morphological": "it would move the borders of superpixels, but not the pixels",
    "ReplayCompose": "lgcoamix replay needs no record of it; use Compose",
}
_PROBES = 8  # images that pass through the whole pipeline before a run


def read_pipeline(name: str | Path) -> Any:
    """Read a ready-made pipeline or a file, without checking it.

    Parameters
    ----------
    name : ``light``, ``strong``, or a YAML or JSON file.

    Raises
    ------
    SettingsError : no such file, or it is not YAML.
    """
    import yaml

    if not str(name):
        raise SettingsError(f"--augment takes {', '.join(READY)} or a file, got ''")
    path = READY.get(str(name), Path(name))
    try:
        return yaml.safe_load(read_regular(path, _LARGEST))
    except FileNotFoundError:
        near = suggest(str(name), READY, otherwise="")
        meant = f"; {near}" if near else did_you_mean(path)
        raise SettingsError(f"--augment takes {', '.join(READY)} or a file; there is no file {name}{meant}") from None
    except OSError as error:
        raise SettingsError(f"--augment {name}: {error.strerror or error}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no date, no text
        raise SettingsError(f"--augment {name} is not YAML: {_line(error)}; {_FORMAT}") from None


def canonical(document: object, size: int) -> dict[str, Any]:
    """Check a pipeline by trying it, and return it with every parameter: two that do the same are equal.

    Parameters
    ----------
    document : a pipeline of albumentations, or what its ``to_dict`` returns.
    size : side of the images that it will get.

    Raises
    ------
    SettingsError : not a pipeline; a transform that this version does not know, or that cannot be used here.
    """
    library = load_library()
    if isinstance(document, library.Compose):
        document = _plain(library, document)
    elif callable(document):
        raise SettingsError(f"expected albumentations.Compose([...]), got {shown(document)}")
    _check_form(document)
    for node in _nodes(document["transform"]):
        _check_name(library, node)
    leaves = [node for node in _nodes(document["transform"]) if _STEPS not in node]
    for node in leaves:
        _probe(_build_one(library, node), node, size)
    given = _build(library, document)
    plain = _plain(library, given)
    _check_form(plain)
    _compare(given, _build(library, plain), size)
    return plain


def build(pipeline: Mapping[str, Any], sentinel: int) -> "Compose":
    """Build a canonical pipeline: maps are resampled to the nearest pixel, and filled with the sentinel.

    Notes
    -----
    A transform that leaves maps alone (``fill_mask`` of None, as of ``Erasing``) still does.
    """
    library = load_library()
    return _prepare(_build(library, pipeline), sentinel)


def load_library() -> ModuleType:
    """Import albumentations without its question to the network for a newer version."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    with required("--augment", "train"):
        import albumentations

    # With its OpenCV: DataLoader workers are parallel already.
    import lgcoamix.data.transforms  # noqa: F401

    return albumentations


def _check_form(document: object) -> None:
    """Refuse what is not plain data of a pipeline, before albumentations sees it."""
    room = [_MOST]
    _check_plain(document, room, 0)
    top = document.get("transform") if isinstance(document, dict) else None
    if not isinstance(top, dict) or _short(top.get(_NAME)) != "Compose":
        raise SettingsError(f"it is not a pipeline of albumentations; {_FORMAT}")
    for node in _nodes(top):
        if not isinstance(node, dict) or not isinstance(node.get(_NAME), str):
            raise SettingsError(f"it is not a pipeline of albumentations: {shown(node)} is no transform; {_FORMAT}")
        for name in ("bbox_params", "keypoint_params", "additional_targets"):
            if node.get(name):
                raise SettingsError(f"it has {name}; an image and its map are all that there is")


def _check_plain(value: object, room: list[int], depth: int, largest: int = LARGEST_SIDE) -> None:
    """Refuse endless documents (YAML can repeat parts by name), and all that JSON does not know."""
    room[0] -= 1
    if room[0] < 0 or depth > _DEEPEST:
        raise SettingsError(f"expected at most {_MOST:,} values, nested at most {_DEEPEST} deep")
    if isinstance(value, dict | list | tuple):
        for name, part in value.items() if isinstance(value, dict) else (("", part) for part in value):
            if not isinstance(name, str):
                raise SettingsError(f"expected names, got {shown(name)}")
            _check_plain(name, room, depth + 1)
            _check_plain(part, room, depth + 1, _KELVIN if name == "temperature_limit" else largest)
        return
    fault = _fault_of(value, largest)
    if fault:
        raise SettingsError(f"expected {fault}, got {shown(value)}")


def _fault_of(value: object, largest: int) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return f"texts of at most {_LONGEST} characters" if len(value) > _LONGEST else None
    if not isinstance(value, int | float):
        return "numbers, texts and lists of them"
    return None if -largest <= value <= largest else f"numbers up to {largest}"  # NaN is refused as well


def _nodes(node: Any) -> Iterator[Any]:
    """Every transform of a document, the outer ones first."""
    yield node
    steps = node.get(_STEPS) if isinstance(node, dict) else None
    if steps is not None and not isinstance(steps, list):
        raise SettingsError(f"{_STEPS} must be a list, got {shown(steps)}")
    for step in steps or ():
        yield from _nodes(step)


def _check_name(library: ModuleType, node: Mapping[str, Any]) -> None:
    """Refuse a name that is no transform: only the library's own are looked up."""
    name = _short(node[_NAME])
    bases = (library.BasicTransform, library.BaseCompose)
    known = {other: kind for other, kind in vars(library).items() if isinstance(kind, type) and issubclass(kind, bases)}
    if name not in known:
        meant = suggest(name, known, otherwise="its documentation lists them")
        raise SettingsError(f"albumentations {library.__version__} has no transform {shown(name)}; {meant}")
    if name in _REFUSED:
        raise SettingsError(f"{name} is not used here: {_REFUSED[name]}")
    if not known[name].is_serializable():
        raise SettingsError(f"{name} holds a function, which no file can: use transforms with parameters")
    is_list = issubclass(known[name], library.BaseCompose)
    if is_list != (_STEPS in node):
        raise SettingsError(f"{name} {'needs a list' if is_list else 'takes no'} {_STEPS}")
    if not is_list and "p" not in node:
        raise SettingsError(f"{name} has no p, the probability with which it is applied")
    chance = node.get("p", 1.0)
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        raise SettingsError(f"{name}: p must be a probability from 0 to 1, got {shown(chance)}")


def _build_one(library: ModuleType, node: Mapping[str, Any]) -> "BasicTransform":
    """Build one transform; the message of a wrong parameter names it."""
    name = _short(node[_NAME])
    try:
        step = _build(library, {"transform": {_NAME: "Compose", "p": 1.0, _STEPS: [node]}})[0]
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from None
    known = step.get_transform_init_args_names()  # with those that the library writes, but does not read
    for parameter in node.keys() - {_NAME, "p", *known}:
        raise SettingsError(f"{name} has no parameter {shown(parameter)}; {suggest(parameter, known)}")
    return step


def _build(library: ModuleType, document: Mapping[str, Any]) -> "Compose":
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to prefer other transforms; parameters are checked above
            return library.from_dict(document)
    except Exception as error:  # the library raises whatever its parts do
        raise SettingsError(_line(error)) from None


def _prepare(pipeline: "Compose", sentinel: int) -> "Compose":
    import cv2

    pipeline.set_mask_interpolation(cv2.INTER_NEAREST)
    for step in _leaves(pipeline):
        for name in ("fill_mask", "mask_drop_value"):
            if getattr(step, name, None) is not None:
                setattr(step, name, sentinel)
    return pipeline


def _leaves(step: Any) -> Iterator["BasicTransform"]:
    if hasattr(step, "transforms"):
        for part in step.transforms:
            yield from _leaves(part)
    else:
        yield step


def _plain(library: ModuleType, pipeline: "Compose") -> dict[str, Any]:
    """The pipeline as plain data, every parameter named."""
    try:
        return json.loads(json.dumps(library.to_dict(pipeline), default=lambda value: value.value))  # of an Enum
    except Exception as error:  # as above
        raise SettingsError(f"it cannot be written to a file: {_line(error)}") from None


def _probe(step: "BasicTransform", node: Mapping[str, Any], size: int) -> None:
    """Try one transform on small pictures: with a map and without, of two sizes, as one may be a fixed size."""
    name = _short(node[_NAME])
    if "image" not in step.targets or set(step.targets_as_params) - {"image"}:
        needed = ", ".join(sorted({*step.targets_as_params} - {"image"})) or "volumes"
        raise SettingsError(f"{name} needs {needed}; an image and its map are all that there is")
    wrapped = _prepare(_wrapped(step), _SENTINEL)
    for side in (size, size + 16):
        image, ids = _picture(side)
        for number, given in enumerate(({"image": image}, {"image": image, "mask": ids})):
            seed_pipeline(wrapped, number)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = step(force_apply=True, **{key: value.copy() for key, value in given.items()})
            except Exception as error:  # as above
                raise SettingsError(f"{name} fails on a {side}x{side} image: {_line(error)}") from None
            _check_shown(name, found, image, given.get("mask"))


def _check_shown(name: str, found: Mapping[str, Any], image: np.ndarray, ids: np.ndarray | None) -> None:
    """Refuse what changes size or type, or invents superpixels."""
    for key, before in (("image", image), ("mask", ids)):
        after = found.get(key)
        if before is None:
            continue
        form = f"{getattr(after, 'dtype', type(after).__name__)} of {tuple(getattr(after, 'shape', ()))}"
        if not isinstance(after, np.ndarray) or (after.shape, after.dtype) != (before.shape, before.dtype):
            raise SettingsError(
                f"{name} must keep size and type of any image, but makes {form} of {before.dtype} of {before.shape}; "
                "crops, the input size and the normalisation are settings of data"
            )
    if ids is not None and not set(np.unique(found["mask"])) <= {*_IDS, _SENTINEL}:
        raise SettingsError(f"{name} blends the ids of superpixels")


_IDS, _SENTINEL = (3, 9, 1000), 65535  # of a painted map


def _picture(side: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of noise and a map of three regions."""
    image = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    ids = np.full((side, side), _IDS[0], np.uint16)
    ids[side // 3 :], ids[:, side // 2 :] = _IDS[1], _IDS[2]
    return image, ids


def _compare(given: "Compose", written: "Compose", size: int) -> None:
    """Refuse a pipeline that does something else once it is written to a file and read again."""
    image, ids = _picture(size)
    for pipeline in (given, written):
        _prepare(pipeline, _SENTINEL)
    for seed in range(_PROBES):
        found = []
        for pipeline in (given, written):
            seed_pipeline(pipeline, seed)
            try:
                found.append(pipeline(image=image.copy(), mask=ids.copy()))
            except Exception as error:  # as above
                raise SettingsError(f"it fails on a {size}x{size} image: {_line(error)}") from None
            _check_shown("it", found[-1], image, ids)
        if not all(np.array_equal(found[0][key], found[1][key]) for key in ("image", "mask")):
            raise SettingsError(
                "it does something else once albumentations has written and read it; name all parameters"
            )


def seed_pipeline(pipeline: "Compose", seed: int) -> None:
    """Give all transforms one new stream of random numbers; no other state is read or changed.

    Notes
    -----
    The library's own ``set_random_seed`` takes ten times as long, and gives each transform the same numbers.
    """
    import random

    pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))


def _wrapped(step: "BasicTransform") -> "Compose":
    return load_library().Compose([step])


def _short(name: object) -> str:
    return name.rpartition(".")[2] if isinstance(name, str) else ""


def _line(error: BaseException) -> str:
    """The message of any error in one line, without an address of pydantic's manual."""
    text = " ".join(str(error).partition("For further information")[0].split())
    return (text or type(error).__name__)[:_LONGEST]
