"""Stanford Dogs (Khosla et al., 2011): 120 breeds, from ImageNet."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from preprocess.datasets.base import EVERYTHING, Adapter, Archive, Box, Listing, Request, Sample, locate, located
from preprocess.datasets.metadata import REMEDY, RESTORE, check_classes, read_bytes, read_mat, read_numbers
from preprocess.errors import DatasetError

_CLASSES = 120
_LARGEST = 1 << 20  # bytes of an annotation
_PATH = r"[^./\0][^/\0]*/[^./\0][^/\0]*"
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def find_dogs(root: Path, request: Request = EVERYTHING) -> Listing:
    """List Stanford Dogs in its official layout.

    ``root`` contains ``Images/``, ``train_list.mat``, ``test_list.mat`` and, for boxes, ``Annotation/``, each directly
    or up to two levels below. Label = official label - 1; keys are paths under ``Images/``. Class names are folder
    names such as ``n02085620-Chihuahua``. An image has one box per annotated dog.
    """
    images = locate(root, "Images")
    annotations = located(root, "Annotation")
    names: dict[int, str] = {}
    splits = {}
    tables = []
    for split in filter(request.wants, ("train", "test")):
        table = locate(root, f"{split}_list.mat")
        tables.append(table)
        samples = []
        for path, number in read_mat(table, _rows):
            check_classes(table, np.array([number]), _CLASSES)
            folder = path.split("/")[0]
            if names.setdefault(number, folder) != folder:
                raise DatasetError(f"{table}: class {number} is both {names[number]} and {folder}; {RESTORE}")
            boxes = ()
            if annotations:
                tables.append(annotations / Path(path).with_suffix(""))
                boxes = _boxes(tables[-1])
            samples.append((path, number, boxes))
        splits[split] = samples
    label_of = {number: label for label, number in enumerate(sorted(names))}
    return Listing(
        tuple(names[number] for number in label_of),
        {
            split: tuple(Sample(path, label_of[number], images / path, boxes) for path, number, boxes in samples)
            for split, samples in splits.items()
        },
        tables=tuple(tables),
    )


def _rows(variables: dict) -> list[tuple[str, int]]:
    paths, numbers = map(str, np.atleast_1d(variables["file_list"])), np.atleast_1d(variables["labels"])
    rows = [(path, int(number)) for path, number in zip(paths, numbers, strict=True)]
    if odd := [path for path, _ in rows if not re.fullmatch(_PATH, path)]:
        raise ValueError(f"expected paths like n02085620-Chihuahua/n02085620_5927.jpg, got {odd[0]!r}")
    return rows


def _boxes(path: Path) -> tuple[Box, ...]:
    try:
        objects = ElementTree.fromstring(read_bytes(path, _LARGEST)).findall("object/bndbox")
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # last two: unknown encodings
        raise DatasetError(f"{path} is not a published annotation ({error}); {REMEDY}") from None
    texts = (" ".join(each.findtext(edge, "?") for edge in _EDGES) for each in objects)
    return tuple(tuple(read_numbers(path, text, len(_EDGES))) for text in texts)


_HOME = "http://vision.stanford.edu/aditya86/ImageNetDogs"

DOGS = Adapter(
    summary="Stanford Dogs (Khosla et al., 2011)",
    find=find_dogs,
    layout="{Images/, Annotation/, train_list.mat, test_list.mat}",
    source=_HOME,
    licence="images of ImageNet: non-commercial research and education",
    archives=(
        Archive(
            "images.tar",
            f"{_HOME}/images.tar",
            "sha256:a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58",
            793_579_520,
            holds="Images",
        ),
        Archive(
            "annotation.tar",
            f"{_HOME}/annotation.tar",
            "sha256:662ed36f707be6b195c2fda392d8e153e83af28cedc8e2134a649f198def30fd",
            holds="Annotation",
        ),
        # Last: if the lists exist, the set counts as complete, with or without annotations.
        Archive(
            "lists.tar",
            f"{_HOME}/lists.tar",
            "sha256:34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c",
            holds="test_list.mat",
        ),
    ),
    counts={"train": 12_000, "test": 8_580},
    classes=_CLASSES,
    # The papers crop the original image, so it is stored at its size. They draw 40 to 60 superpixels per random resized
    # crop, which covers 0.54 of the image on average (0.08 to 1).
    resize="none",
    codec="jpeg",
    segments="74:111",
)
