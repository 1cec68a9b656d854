"""Which columns of a Hugging Face table hold images, labels, boxes and splits, by their types and features."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preprocess.datasets.arrow import ArrowTable, ParquetTable, import_pyarrow
from preprocess.datasets.base import Request
from preprocess.datasets.shards import LABELS
from preprocess.datasets.split_column import may_divide
from preprocess.errors import DatasetError
from preprocess.schema import SchemaError, parse_json
from preprocess.text import listed, shown_name

PATHS = ("file_name", "image", "image_path", "img_path", "path", "filepath", "file", "filename", "img")
SHOWN = 8  # names of columns in a message
BOXES = ("objects", "bbox", "bboxes", "boxes")
_IMAGES = ("image", "img", "images", "picture", "photo", "jpg", "png", "pixel_values")
_NOWHERE = (None, None)


@dataclass(frozen=True)
class HfColumns:
    """What is read of the tables of a data set: columns, and what these hold."""

    image: str
    leaf: str  # what holds the bytes of the images; empty if there are only paths
    texts: str  # what holds the paths of the images; empty if there are none
    label: str
    names: tuple[str, ...] | None  # of classes
    boxes: str = ""
    edges: tuple[str, ...] = ()  # columns of width and height
    splits: tuple[tuple[str, tuple[str, ...] | None], ...] = ()  # columns that may divide, and names of their numbers
    note: tuple[str, ...] = field(compare=False, default=())


def choose_hf_columns(
    table: ArrowTable | ParquetTable, path: Path, features: Mapping[str, Any], request: Request
) -> HfColumns:
    """Choose the columns of a table.

    Parameters
    ----------
    features : what a file beside the table says of its columns; what the table says itself comes first.
    request : names columns that are not to be guessed.

    Raises
    ------
    DatasetError : no column of images or labels can be told.
    """
    names = table.schema.names
    if len(set(names)) < len(names):
        raise DatasetError(f"{path} has two columns of one name: {shown_name(listed(names, SHOWN))}; rename one")
    features = _features(table, path) or features
    kinds = {name: _kind(table.schema.field(name).type) for name in names}
    image, others = _choose_image(path, table, kinds, features, request.image)
    label, more = _choose_label(path, table, image, features, request.label)
    classes = _names(path, features.get(label), label)
    boxes = next((name for name in BOXES if name in names), "")
    edges = ("width", "height") if {"width", "height"} <= set(names) else ()
    also = f"; {', '.join(more)} may be meant (--label)" if more else ""
    divide_by = _choose_splits(path, table, (image, label), features, request)
    said = [f"images: column {image}; labels: column {label}{also}"]
    said += [f"not stored: the images of {', '.join(others)}; the store has no place for masks"] if others else []
    leaf, texts = (f"{image}{inner}" if inner is not None else "" for inner in kinds[image])
    return HfColumns(image, leaf, texts, label, classes, boxes, edges, divide_by, tuple(map(shown_name, said)))


def _features(table: ArrowTable | ParquetTable, path: Path) -> dict[str, Any]:
    """What the library says of columns, in the file itself."""
    text = (table.schema.metadata or {}).get(b"huggingface")
    try:
        document = parse_json(text) if text else {}
    except SchemaError as error:
        raise DatasetError(f"{path}: its features: {error}; fetch or write it again") from None
    for name in ("info", "features"):
        document = document.get(name) if isinstance(document, dict) else {}
    return document if isinstance(document, dict) else {}


def _names(path: Path, feature: Any, label: str) -> tuple[str, ...] | None:
    """Names of classes, of a feature ``ClassLabel``."""
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel" or feature.get("names") is None:
        return None
    names = feature["names"]
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise DatasetError(f"{path}: expected names of the classes of {label!r}, got {str(names)[:60]!r}")
    return tuple(names)


def _kind(type_: Any) -> tuple[str | None, str | None]:
    """Where in a column there are bytes and paths of images: in a field, in the column itself (empty), or nowhere."""
    types = import_pyarrow().types
    if types.is_struct(type_):
        inner = {type_.field(number).name: type_.field(number).type for number in range(type_.num_fields)}
        found = {name: _kind(inner[name]) for name in ("bytes", "path") if name in inner}
        return (
            ".bytes" if found.get("bytes", _NOWHERE)[0] == "" else None,
            ".path" if found.get("path", _NOWHERE)[1] == "" else None,
        )
    if types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_):
        return "", None
    return (None, "") if _is_text(type_) else _NOWHERE


def _is_text(type_: Any) -> bool:
    types = import_pyarrow().types
    if types.is_dictionary(type_):
        return _is_text(type_.value_type)
    return types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_)


def _is_label(type_: Any) -> bool:
    types = import_pyarrow().types
    return _is_text(type_) or types.is_integer(type_) or types.is_floating(type_) or types.is_boolean(type_)


def _choose_image(
    path: Path,
    table: ArrowTable | ParquetTable,
    kinds: Mapping[str, tuple],
    features: Mapping[str, Any],
    wanted: str | None,
) -> tuple[str, list[str]]:
    """The column of images, and others that hold images too."""
    able = [name for name, kind in kinds.items() if kind != _NOWHERE]
    meant = [name for name in able if _type_of(features.get(name)) == "Image"]
    held = [name for name in able if kinds[name][0] is not None]
    named = [name for name in PATHS if name in able][:1]
    found = meant or held or named
    if wanted is not None:
        if wanted not in able:
            raise DatasetError(
                f"{path}: --image {wanted}: {_no_column(table, 'bytes, a struct of bytes and path, or paths')}"
            )
        return wanted, [name for name in meant or held if name != wanted]
    first = next((name for name in _IMAGES if name in found), found[0] if len(found) == 1 else "")
    if not first:
        several = f"several columns of images: {', '.join(found)}; choose one with --image" if found else ""
        sought = "bytes, a struct of bytes and path, or paths; choose a column with --image"
        raise DatasetError(f"{path} has " + shown_name(several or f"no column of images: {_no_column(table, sought)}"))
    return first, [name for name in found if name != first]


def _choose_label(
    path: Path, table: ArrowTable | ParquetTable, image: str, features: Mapping[str, Any], wanted: str | None
) -> tuple[str, list[str]]:
    """The column of labels, and others that may be meant."""
    fit = [name for name in table.schema.names if name != image and _is_label(table.schema.field(name).type)]
    if wanted is not None:
        if wanted not in fit:
            raise DatasetError(f"{path}: --label {wanted}: {_no_column(table, 'numbers or names')}")
        return wanted, []
    meant = [name for name in fit if _type_of(features.get(name)) == "ClassLabel"]
    named = [name for name in LABELS if name in fit]
    found = meant if named == [] or set(named) & set(meant) else [*named, *meant]
    first = next((name for name in LABELS if name in found), found[0] if len(found) == 1 else "")
    if not first:
        several = f"several columns of labels: {', '.join(found)}; choose one with --label" if found else ""
        sought = f"{', '.join(LABELS[:3])} or the like with numbers or names; choose a column with --label"
        raise DatasetError(f"{path} has " + shown_name(several or f"no column of labels: {_no_column(table, sought)}"))
    return first, [name for name in found if name != first]


def _choose_splits(
    path: Path, table: ArrowTable | ParquetTable, taken: tuple[str, str], features: Mapping[str, Any], request: Request
) -> tuple[tuple[str, tuple[str, ...] | None], ...]:
    """Columns that may say the splits, and names of their numbers."""
    fit = [name for name in table.schema.names if name not in taken and _is_label(table.schema.field(name).type)]
    found = [name for name in fit if may_divide(name, request)]
    if request.split is not None and request.split not in found:
        sought = "words for train, val and test, in another column than images and labels"
        raise DatasetError(f"{path}: --split {shown_name(request.split)}: {_no_column(table, sought)}")
    return tuple((name, _names(path, features.get(name), name)) for name in found)


def _type_of(feature: Any) -> Any:
    return feature.get("_type") if isinstance(feature, dict) else None


def _no_column(table: ArrowTable | ParquetTable, sought: str) -> str:
    have = [f"{each.name} ({str(each.type)[:60]})" for each in table.schema]
    return f"expected {sought}; it has {shown_name(listed(have, SHOWN))}"
