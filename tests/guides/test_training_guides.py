"""The guides of ``lgcoamix/README.md`` work as they are written."""

import csv
import re

from tests.conftest import ROOT
from tests.guides.follow import follow


def test_the_guides_of_training_work_as_they_are_written(clone, reader):
    said = follow("lgcoamix/README.md", clone, reader)
    for title in ("own data set", "released checkpoint", "mixing method", "cluster", "goes wrong"):
        assert re.search(f"^== .*{title}", said, re.MULTILINE), title
    for path in (
        "photos.html",
        "photos-twice.txt",
        "runs/try/best.pt",
        "look/batch.png",
        "runs/sweep/comparison.csv",
        "runs/try/evaluation-test/evaluation.json",
        "models/photos/model.safetensors",
        "models/photos/model.onnx",
        "models/released/network.pt",
        "models/released/evaluation-test/evaluation.json",
        "runs/goes-on/results.json",
        "runs/beside/results.json",
        "runs/job/results.json",
    ):
        assert (clone / path).is_file(), path
    with (clone / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18
    assert {row["class_1"] for row in rows} <= {"daisy", "iris", "tulip"}
    assert re.search(r"^3$", said, re.MULTILINE), "number of classes, from timm alone"
    assert re.search(r"^\d+ passed", said, re.MULTILINE), "contract tests of the new method"


def test_messages_that_the_guide_explains_are_in_the_program():
    text = (ROOT / "lgcoamix" / "README.md").read_text().split("## When something goes wrong")[1].split("\n## ")[0]
    quoted = [
        part for row in text.splitlines() if row.startswith("| `") for part in re.findall("`(.+?)`", row.split("|")[1])
    ]
    assert len(quoted) > 8
    source = "\n".join(path.read_text() for name in ("lgcoamix", "preprocess") for path in (ROOT / name).rglob("*.py"))
    foreign = {"CUDA out of memory"}  # torch's own
    for words in set(quoted) - foreign:
        assert words.removesuffix(" nan") in source, words
