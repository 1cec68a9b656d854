"""What an index holds. It is checked when an index is read or written, so other code may trust ``store.document``.

preprocess/README.md describes the fields. A digest proves only that the index is what its writer wrote.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Literal, NotRequired, TypedDict

import numpy as np
from PIL import Image

from preprocess.inputs import check_relative
from preprocess.schema import Form, Length, Pattern, Range, SchemaError, check, exact
from preprocess.store.format import IMAGES
from preprocess.superpixels.scales import column_name
from preprocess.suspicious import EXAMPLES, KINDS
from preprocess.text import shown_name

MOST_PIXELS = Image.MAX_IMAGE_PIXELS  # of an image: what is larger is never decoded, so it is in no store
_MOST_ROWS = 2**31 - 1  # places are int32
_MOST_BYTES = 2**50
_MOST_IDS = 2**16  # maps have at most 16 bits
# By UTS 18, letters may have marks and joiners and stand in circles; \w of Python knows none of these.
_MORE_LETTERS = re.compile("[\u200c\u200d\u24b6-\u24e9\U0001f130-\U0001f149\U0001f150-\U0001f169\U0001f170-\U0001f189]")
_PLAIN_WORD = re.compile(r"\w[\w.,:+-]*", re.ASCII)
_PLAIN_KEY = re.compile(r"(?:\w[\w.-]{0,80}/){0,20}\w[\w.-]{0,80}", re.ASCII)


def _check_part(name: str) -> None:
    """Refuse a name that is not one part of a path."""
    check_relative(name)
    if "/" in name:
        raise ValueError("expected a name without '/'")


def check_key(key: str) -> str:
    """Refuse the key of an image that is not a relative path.

    Raises
    ------
    ValueError : says what is wrong with it.
    """
    if not _PLAIN_KEY.fullmatch(key):  # ten times as fast for the keys of almost every data set
        check_relative(key)
    return key


def _check_class(name: str) -> None:
    if not name or shown_name(name) != name:
        raise ValueError("expected a name without control characters")


def _check_word(name: str) -> None:
    if not is_word(name):
        raise ValueError("expected a word: letters, digits and _, and after the first one of them also . , : + -")


def _check_sentence(text: str) -> None:
    """Refuse halves of characters, which JSON can hold and UTF-8 cannot."""
    text.encode()


Part = Annotated[str, _check_part]
Word = Annotated[str, Length(most=10_000), _check_word]
Key = Annotated[str, check_key]
ClassName = Annotated[str, _check_class]
Sentence = Annotated[str, _check_sentence]
Sha256 = Annotated[str, Pattern(r"[0-9a-f]{64}")]
ContentKey = Annotated[str, Pattern(r"[0-9a-f]{16}")]
_SHARE = r"0\.[0-9]{1,12}"
Rule = Annotated[str, Pattern(f"(train|test={_SHARE}|val={_SHARE}(,test={_SHARE})?)")]
Rows = Annotated[int, Range(least=0, most=_MOST_ROWS)]
Segments = Annotated[int, Range(least=1, most=_MOST_IDS)]
Compactness = Annotated[float, Range(least=0, finite=True)]
Weight = Annotated[float, Range(least=0, most=1, finite=True)]


@exact
class Images(TypedDict):
    """How all images were decoded, resized and encoded."""

    size: Annotated[int, Range(least=1, most=math.isqrt(MOST_PIXELS))] | None
    resize: Literal["squash", "short", "none"]
    codec: Literal["raw", "jpeg", "png"]
    quality: NotRequired[Annotated[int, Range(least=1, most=100)]]
    banner: NotRequired[Annotated[int, Range(least=1, most=MOST_PIXELS)]]
    pillow: Word


@exact
class Scale(TypedDict):
    """A segment count to draw."""

    segments: Segments
    weight: Weight
    column: Word


@exact
class Superpixels(TypedDict):
    """A superpixel set."""

    name: Word
    algorithm: Word
    compactness: Compactness | None
    scales: Annotated[list[Scale], Length(least=1)]


@exact
class File(TypedDict):
    """A shard."""

    path: str
    bytes: Annotated[int, Range(least=1, most=_MOST_BYTES)]
    sha256: Sha256


Recipe = exact(
    TypedDict(
        "Recipe", {"algorithm": Word, "compactness": Compactness | None, "segments": Segments, "scikit-image": Word}
    )
)


@exact
class Column(TypedDict):
    """The shards of a column. Only maps have the fields from ``recipe`` on."""

    content_key: ContentKey
    encoding_key: ContentKey
    files: list[File]
    recipe: NotRequired[Recipe]
    dtype: NotRequired[Literal["uint8", "uint16"]]
    largest_id: NotRequired[Annotated[int, Range(least=-1, below=_MOST_IDS)]]
    least_regions: NotRequired[Annotated[int, Range(least=0, most=_MOST_IDS)]]
    regions: NotRequired[Annotated[int, Range(least=0, most=_MOST_ROWS * _MOST_IDS)]]


_OF_MAPS = {"recipe", "dtype", "largest_id", "least_regions", "regions"}


@exact
class Failure(TypedDict):
    """An unusable image."""

    key: Key
    reason: Sentence
    source: Sha256 | Literal[""]


@exact
class Warned(TypedDict):
    """Images of a shard whose decoder gave a warning of one kind."""

    kind: Sentence
    count: Annotated[int, Range(least=1, most=_MOST_ROWS)]
    example: Key


@exact
class LeftOut(TypedDict):
    """Files or folders of one kind that are not in the store."""

    count: Annotated[int, Range(least=1, most=_MOST_ROWS)]
    example: ClassName


@exact
class Suspicious(TypedDict):
    """Images of one kind that were probably not meant so."""

    count: Annotated[int, Range(least=1, most=_MOST_ROWS)]
    examples: list[Key]


@exact
class Split(TypedDict):
    """A split."""

    samples: ContentKey
    sources: ContentKey
    shard_size: Annotated[int, Range(least=1, most=_MOST_ROWS)]
    rows: list[Rows]
    failed: list[Failure]
    excluded: NotRequired[list[Key]]
    limit_per_class: NotRequired[Annotated[int, Range(least=1, most=_MOST_ROWS)]]
    divided: NotRequired[Rule]
    suspicious: NotRequired[Annotated[dict[Literal[tuple(KINDS)], Suspicious], Length(least=1)]]
    columns: dict[Word, Column]


@exact
class Document(TypedDict):
    """The index."""

    name: Part
    dataset: Word
    classes: Annotated[list[ClassName], Length(least=1)]
    images: Images
    superpixels: Annotated[list[Superpixels], Length(least=1)]
    splits: dict[Word, Split]
    left_out: NotRequired[dict[ClassName, LeftOut]]


_DOCUMENT = Form(Document)
_FAILURES = Form(list[Failure])
_WARNINGS = Form(list[Warned])


def is_word(name: str) -> bool:
    """Whether a text may be the name of a data set."""
    if _PLAIN_WORD.fullmatch(name):
        return True
    return name != "" and _in_words(name[0]) and all(each in ".,:+-" or _in_words(each) for each in name)


def check_document(document: object) -> Document:
    """Return the document of an index; it fits the schema, and its fields fit each other.

    Raises
    ------
    SchemaError : the message names field, expectation and value.
    """
    check(_DOCUMENT, document)  # its result would have the fields in another order
    splits = chain.from_iterable(_split_faults(*item) for item in document["splits"].items())
    everywhere = (_class_faults(document), _image_faults(document["images"]), splits)
    for fault in chain(*everywhere, _path_faults(document), _superpixel_faults(document)):
        raise SchemaError(fault)
    return document


def check_failures(failures: object) -> list[Failure]:
    """Check the unusable images that an image shard lists."""
    return check(_FAILURES, failures)


def check_warnings(warned: object) -> list[Warned]:
    """Check the warnings of decoders that an image shard lists."""
    return check(_WARNINGS, warned)


def check_labels(where: str, labels: np.ndarray, classes: int) -> None:
    """Check labels: (n,) integer array.

    Raises
    ------
    SchemaError : a label that no class has.
    """
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        odd = int(labels.min() if labels.min() < 0 else labels.max())
        raise SchemaError(f"{where}: expected labels below {classes}, the number of classes, got {odd}")


def check_places(split: str, places: np.ndarray, rows: list[int]) -> None:
    """Check shard and row of every sample of an updated split: (n, 2) int32 array.

    Raises
    ------
    SchemaError : a place is in no shard, or holds two samples.
    """
    inside = (places >= 0).all(axis=1) & (places[:, 0] < len(rows))
    if inside.all():
        inside = places[:, 1] < np.asarray(rows, np.int64)[places[:, 0]]
    if not inside.all():
        odd = places[~inside][0].tolist()
        raise SchemaError(f"places.{split}: expected shard and row of {len(rows)} shards, got {odd}")
    flat = np.sort(places[:, 0].astype(np.int64) << 32 | places[:, 1])
    if (flat[1:] == flat[:-1]).any():
        raise SchemaError(f"places.{split}: expected every place once")


def _in_words(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LM" or category in ("Nd", "Nl", "Pc") or _MORE_LETTERS.match(character) is not None


def _class_faults(document: Document) -> Iterator[str]:
    if len(set(document["classes"])) != len(document["classes"]):
        yield "classes: expected different names"


def _image_faults(images: Images) -> Iterator[str]:
    if (images["size"] is None) != (images["resize"] == "none"):
        yield f"images.size: expected a size unless resize is none, got {images['size']} and {images['resize']}"
    if images["codec"] == "raw" and images["resize"] != "squash":
        yield f"images.codec: expected jpeg or png for resize {images['resize']}, got raw"
    if (images["codec"] == "jpeg") != ("quality" in images):
        yield f"images.quality: expected for codec jpeg alone, got codec {images['codec']}"


def _superpixel_faults(document: Document) -> Iterator[str]:
    sets = document["superpixels"]
    if len({entry["name"] for entry in sets}) != len(sets):
        yield "superpixels: expected different names"
    stored = {column for split in document["splits"].values() for column in split["columns"]}
    for entry in sets:
        where, counts = f"superpixels.{entry['name']}", [scale["segments"] for scale in entry["scales"]]
        if len(set(counts)) != len(counts):
            yield f"{where}: expected different segments, got {counts}"
        if not sum(scale["weight"] for scale in entry["scales"]) > 0:
            yield f"{where}: expected a weight above 0"
        for scale in entry["scales"]:
            expected = column_name(entry["algorithm"], entry["compactness"], scale["segments"])
            if scale["column"] != expected or expected not in stored:
                yield f"{where}: expected the column {expected} in a split, got {scale['column']!r}"


def _split_faults(name: str, split: Split) -> Iterator[str]:
    where, rows = f"splits.{name}", split["rows"]
    if max(rows, default=0) > split["shard_size"]:
        yield f"{where}.rows: expected at most shard_size, {split['shard_size']}, got {max(rows)}"
    for kind, found in split.get("suspicious", {}).items():
        if len(found["examples"]) != min(found["count"], EXAMPLES) or found["count"] > sum(rows):
            yield f"{where}.suspicious.{kind}: expected the first {EXAMPLES} of at most {sum(rows)} images, got {found}"
    if IMAGES not in split["columns"]:
        yield f"{where}.columns: expected {IMAGES}"
    for column, entry in split["columns"].items():
        yield from _column_faults(f"{where}.columns.{column}", column, entry)
        if len(entry["files"]) != len(rows):
            yield f"{where}.columns.{column}.files: expected {len(rows)}, as many as rows, got {len(entry['files'])}"


def _column_faults(where: str, name: str, column: Column) -> Iterator[str]:
    expected = set() if name == IMAGES else _OF_MAPS
    if (found := _OF_MAPS & column.keys()) != expected:
        yield f"{where}: expected the fields {sorted(expected)}, got {sorted(found)}"
        return
    if name == IMAGES:
        return
    recipe, sentinel = column["recipe"], int(np.iinfo(column["dtype"]).max)
    stated = column_name(recipe["algorithm"], recipe["compactness"], recipe["segments"])
    if name != stated:
        yield f"{where}.recipe: expected that of {name}, got that of {stated}"
    if column["largest_id"] >= sentinel:
        yield f"{where}.largest_id: expected below the sentinel of {column['dtype']}, {sentinel}"
    if column["least_regions"] > column["largest_id"] + 1:
        yield f"{where}.least_regions: expected at most largest_id + 1, got {column['least_regions']}"


def _path_faults(document: Document) -> Iterator[str]:
    """Shards lie below the index, and each has its own file: ``STEM.shards/SPLIT/COLUMN/NUMBER-KEY.h5``."""
    seen: set[str] = set()
    for split, entry in document["splits"].items():
        for column, files in ((column, each["files"]) for column, each in entry["columns"].items()):
            form = re.compile(rf"([^/]+\.shards)/{re.escape(split)}/{re.escape(column)}/\d{{5,}}-[0-9a-f]{{16}}\.h5")
            paths = [file["path"] for file in files]
            matches = [form.fullmatch(path) for path in paths]
            where = f"splits.{split}.columns.{column}.files"
            if None in matches:
                odd = paths[matches.index(None)]
                yield f"{where}: expected paths as STEM.shards/{split}/{column}/00000-KEY.h5, got {odd[:200]!r}"
                return
            for stem in {match[1] for match in matches}:
                try:
                    check_relative(stem)
                except ValueError as error:
                    yield f"{where}: {error}"
            if len(set(paths)) != len(paths) or not seen.isdisjoint(paths):
                yield f"{where}: expected different files"
            seen.update(paths)
