"""Every form of a file that others may write: our checker and pydantic judge thousands of documents alike."""

import copy
import json
import math
import random
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from lgcoamix.export import folder
from lgcoamix.runs import checkpoint, documents
from preprocess.schema import Form, SchemaError, check
from preprocess.store import schema
from preprocess.store.schema import is_word
from tests.conftest import PROOF
from tests.oracles.pydantic_forms import judge_of

FORMS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": form
    for module in (schema, documents, checkpoint, folder)
    for name, form in vars(module).items()
    if isinstance(form, Form)
}
KEY, DIGEST = "0123456789abcdef", "f" * 64
IMAGES = {"size": 64, "resize": "squash", "codec": "jpeg", "quality": 95, "banner": 2, "pillow": "13.0.0"}
MAPS = {
    "content_key": KEY,
    "encoding_key": KEY,
    "files": [{"path": "a.shards/train/slic-c10-9/00000-0123456789abcdef.h5", "bytes": 9, "sha256": DIGEST}],
    "recipe": {"algorithm": "slic", "compactness": 10.0, "segments": 9, "scikit-image": "0.26.0"},
    "dtype": "uint8",
    "largest_id": 8,
    "least_regions": 4,
    "regions": 40,
}
FAILED = [{"key": "train/a/1.png", "reason": "it is empty", "source": ""}, {"key": "b", "reason": "", "source": DIGEST}]
SPLIT = {
    "samples": KEY,
    "sources": KEY,
    "shard_size": 10,
    "rows": [10, 4],
    "failed": FAILED,
    "excluded": ["train/b/2.png"],
    "limit_per_class": 7,
    "divided": "val=0.1,test=0.25",
    "suspicious": {next(iter(schema.KINDS)): {"count": 1, "examples": ["train/a/0.png"]}},
    "columns": {"images": {name: MAPS[name] for name in ("content_key", "encoding_key", "files")}, "slic-c10-9": MAPS},
}
SETS = [
    {
        "name": "slic-c10-9",
        "algorithm": "slic",
        "compactness": None,
        "scales": [{"segments": 9, "weight": 1, "column": "slic-c10-9"}],
    }
]
INDEX = {
    "name": "cub",
    "dataset": "cub",
    "classes": ["a", "b c"],
    "images": {**IMAGES},
    "superpixels": SETS,
    "splits": {"train": SPLIT},
    "left_out": {".txt": {"count": 2, "example": "train/notes.txt"}},
}
ROW = {"epoch": 0, "lr": 0.1, "loss": 2.5}
CONFIG = {
    "recipe": "general",
    "settings": {"method": "lgcoamix", "mixer": {"select_prob": 0.5}, "data": {"scale": [0.35, 1]}, "optim": {"lr": 1}},
    "seed": 0,
    "val_fraction": 0.1,
    "test_split": None,
    "store": {
        "path": "/data/cub.h5",
        "name": "cub",
        "dataset": None,
        "images": {**IMAGES},
        "samples": {"train": 14},
        "superpixels": "slic-c10-9",
        "keys": {"train/images": KEY},
    },
    "classes": ["a", "b c"],
    "digests": {"model.weights": DIGEST},
    "folder": "runs/a",
    "workers": 2,
    "device": "cpu",
    "hardware": "a CPU",
    "world": 1,
    "threads": 4,
    "versions": {"torch": "2.6", "cuda": None},
    "commit": None,
}
STATE = {
    "config": CONFIG,
    "epoch": 0,
    "metrics": ROW,
    "chosen_on": "test",
    "position": {"epoch": 1, "step": 3, "seconds": 1.5, "waited": 0},
    "optimiser": {"state": {0: {"momentum_buffer": None}}, "param_groups": [{"lr": 0.1}]},
    "scaler": {"scale": 65536.0},
    "means": {"sums": {"loss": 1.0}, "weights": {"loss": 2.0}},
    "rows": [ROW],
    "timings": [{"epoch": 0, "train_seconds": 2.0, "images_per_second": 9.5, "waiting": 0}],
    "lambda_bytes": 100,
}
EXPORT = {
    "architecture": "resnet18",
    "num_classes": 2,
    "label_names": ["a", "b"],
    "model_args": {"num_classes": 2, "in_chans": 3, "img_size": [64, 64], "global_pool": "avg"},
    "pretrained_cfg": {
        "architecture": "resnet18",
        "num_classes": 2,
        "input_size": [3, 64, 64],
        "min_input_size": None,
        "fixed_input_size": False,
        "first_conv": ["conv1"],
        "classifier": "fc",
        "crop_pct": 1,
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.2, 0.2],
        "custom_load": False,
    },
    "lgcoamix": {"format": 1, "sha256": DIGEST, "images": IMAGES, "data": {"image_size": 64}},
}
ACCURACY = {"last": 50.0, "best": 100, "median_of_last_10": 0}
RESULTS = {"best_epoch": 3, "best_chosen_on": "val", "epochs": 4, "images_per_second": 9.0, "waiting": 0.5}
SOUND = {
    "schema._DOCUMENT": INDEX,
    "schema._FAILURES": FAILED,
    "schema._WARNINGS": [{"kind": "Corrupt EXIF data", "count": 2, "example": "train/a/0.png"}],
    "documents.CONFIG_FORM": CONFIG,
    "documents._OBJECT": {"a": [None]},
    "documents._RESULTS": RESULTS,
    "documents._WHOLE_RESULTS": RESULTS,
    "documents._TOPS": {"test_top1": ACCURACY},
    "documents._VALUES": {"a": [1, "b", None, 0.5, True], "b": None},
    "checkpoint._CHECKPOINT": STATE,
    "checkpoint._RESUMABLE": STATE,
    "folder._FORM": EXPORT,
}
NUMBERS = [0, 1, -1, 2, 3, 1024, 1025, 16_384, 16_385, 65_536, 2**53, 10**400, 1.0, 3.0, 0.5, -0.5, 1e308]
TEXTS = ["", "a", "é", "e\u0301", "²", "a b", "a/b", "../a", "/a", "a\n", "\ud800", "a" * 201, "a" * 10_001]
TEXTS += [KEY, DIGEST, DIGEST.upper(), f"{KEY}\n", "train", "train\n", "val=0.1", "png", "raw", "none", "resnet18"]
ODD = [*NUMBERS, math.nan, math.inf, -math.inf, np.float64(2), *TEXTS, None, True, False]
ODD += [[], [1], ["a"], [[]], [0.5] * 3, [3, 64, 64], {}, {"a": 1}, {1: 2}, (1,), b"a", {"a"}, object()]


def parts(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all parts of a document."""
    yield path
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from parts(part, (*path, key))


def changed(document: Any, draw: random.Random) -> Any:
    """A copy with one to three changes: a part that is odd, moved, gone, or new."""
    document = copy.deepcopy(document)
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        paths = list(parts(document))[1:]
        if not paths:
            return draw.choice(ODD)
        *way, last = draw.choice(paths)
        home = document
        for key in way:
            home = home[key]
        kind = draw.randrange(8)
        if kind == 0:
            del home[last]
        elif kind == 1 and isinstance(home, dict):
            home[draw.choice((*TEXTS, 5, None))] = home[last]
        elif kind == 2:
            home[last] = copy.deepcopy(draw.choice([home[last], *([each] for each in [home[last]])]))
        else:
            home[last] = copy.deepcopy(draw.choice(ODD))
    return document


def fits(form: Form, document: Any) -> bool:
    try:
        return check(form, document) is document
    except SchemaError:
        return False


def accepts(judge: TypeAdapter, document: Any) -> bool:
    try:
        judge.validate_python(document, strict=True)
    except ValidationError:
        return False
    return True


def test_every_form_has_a_sound_document():
    assert FORMS.keys() == SOUND.keys()


@pytest.mark.parametrize("name", FORMS)
def test_pydantic_judges_thousands_of_documents_alike(name):
    form, judge, draw, sound = FORMS[name], judge_of(FORMS[name]), random.Random(name), SOUND[name]
    assert fits(form, sound)
    assert accepts(judge, sound)
    count, kept = (20_000 if PROOF else 1500), 0
    for _ in range(count):
        document = changed(sound, draw)
        kept += (mine := fits(form, document))
        assert mine == accepts(judge, document), repr(document)[:2000]
    assert kept < count * 0.9 or name == "documents._OBJECT"
    assert kept > count * 0.02


def test_words_have_the_letters_that_the_library_of_pydantic_knows():
    judge = judge_of(Form(schema.Word))
    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        if unicodedata.category(letter) not in ("Cn", "Cs", "Co"):  # unassigned ones may be letters in its newer tables
            assert is_word(letter) == accepts(judge, letter), hex(code)
    assert not is_word("")
    assert not is_word("a\n")
    assert is_word("a.,:+-")


def test_a_fault_deep_inside_is_found_at_once_and_counted():
    document = json.loads(json.dumps(INDEX))
    document["splits"]["train"]["rows"] = ["x"] * 200_000
    with pytest.raises(SchemaError, match=r"^splits.train.rows.0: expected an integer, got 'x'; .*and 199997 more\)$"):
        check(FORMS["schema._DOCUMENT"], document)
