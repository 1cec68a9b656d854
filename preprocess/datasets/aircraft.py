"""FGVC-Aircraft (Maji et al., 2013): 100 variants of aircraft."""

from pathlib import Path

from preprocess.datasets.base import EVERYTHING, Adapter, Archive, Listing, Request, Sample, locate
from preprocess.datasets.metadata import RESTORE, read_boxes, read_names, read_table
from preprocess.errors import DatasetError


def find_aircraft(root: Path, request: Request = EVERYTHING) -> Listing:
    """List FGVC-Aircraft in its official layout, by variant.

    ``root`` is the folder ``data`` of ``fgvc-aircraft-2013b``, or a folder up to two levels above it. The split
    ``train`` is the official trainval. Labels follow ``variants.txt``; keys are file names.
    """
    home = locate(root, "data/variants.txt", "variants.txt").parent
    names = read_names(home / "variants.txt")
    label_of = {name: label for label, name in enumerate(names)}
    # Lines of pixels counted from 1, last one included.
    boxes = read_boxes(home / "images_box.txt", lambda x0, y0, x1, y1: (x0 - 1, y0 - 1, x1, y1))
    splits, tables = {}, [home / "variants.txt", *([home / "images_box.txt"] if boxes else [])]
    for split, official in (("train", "trainval"), ("test", "test")):
        if not request.wants(split):
            continue
        table, samples = home / f"images_variant_{official}.txt", []
        tables.append(table)
        # read_table splits at the first space, because names of variants contain spaces.
        for image, name in read_table(table).items():
            if name not in label_of:
                raise DatasetError(f"{table}: image {image} has variant {name!r}, not in variants.txt; {RESTORE}")
            file = f"{image}.jpg"
            samples.append(Sample(file, label_of[name], home / "images" / file, boxes.get(image, ())))
        splits[split] = tuple(samples)
    return Listing(tuple(names), splits, tables=tuple(tables))


AIRCRAFT = Adapter(
    summary="FGVC-Aircraft (Maji et al., 2013), by variant",
    find=find_aircraft,
    layout="fgvc-aircraft-2013b/data/{images/, variants.txt, images_variant_trainval.txt, images_variant_test.txt}",
    source="https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
    licence="non-commercial research only",
    archives=(
        Archive(
            "fgvc-aircraft-2013b.tar.gz",
            "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz",
            "md5:d4acdd33327262359767eeaa97a4f732",
        ),
    ),
    counts={"train": 6_667, "test": 3_333},
    classes=100,
    # SnapMix: 512x512, crop 448. Inferred: 30 to 40 superpixels per crop, as on CUB, times (512/448)².
    size=512,
    segments="39:52",
    banner=20,  # a copyright notice below every photograph
)
