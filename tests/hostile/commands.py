"""The commands that are run over each family of cases, and what each may write."""

from tests.hostile.contract import Command
from tests.hostile.sound import BUILD, SMALL

_STORE = "{given}/x.h5"
_RAW = ("--root", "{sound}/raw-images")
_INSIDE = ("given/x.h5", "given/x.shards")


def _of_store(name: str, *rest: str, writes: tuple[str, ...] = ()) -> Command:
    return Command(("preprocess", name, _STORE, *rest), writes)


STORES = {
    "inspect": _of_store("inspect"),
    "inspect --json": _of_store("inspect", "--json"),
    "verify": _of_store("verify", "--jobs", "1"),
    "show": _of_store("show", "--out", "sheet.png", "--count", "4", writes=("work/sheet.png",)),
    "report": _of_store("report", "--out", "report.html", "--samples", "20", writes=("work/report.html",)),
    "duplicates": _of_store("duplicates", "--jobs", "1", "--out", "twice.txt", writes=("work/twice.txt",)),
    "diff": _of_store("diff", "{sound}/raw/x.h5"),
    "export": _of_store("export", "exported", writes=("work/exported",)),
    "pack": _of_store("pack", "packed.h5", writes=("work/packed.h5",)),
    "build": Command(("preprocess", "build", "folder", *_RAW, "--out", _STORE, *BUILD), _INSIDE),
    "build --update": Command(("preprocess", "build", "folder", *_RAW, "--out", _STORE, *BUILD, "--update"), _INSIDE),
    "verify --repair": _of_store("verify", "--jobs", "1", "--repair", *_RAW, writes=_INSIDE),
    "train": Command(("lgcoamix", "train", "--shards", _STORE, "--mixer", "superpixel_grid", *SMALL), ("work/runs",)),
    "evaluate": Command(
        (
            *("lgcoamix", "evaluate", "--checkpoint", "{sound}/run/best.pt", "--shards", _STORE, "--out", "ev"),
            *("--device", "cpu", "--workers", "0"),
        ),
        ("work/ev",),
    ),
    "explain": Command(
        (
            *("lgcoamix", "explain", "--checkpoint", "{sound}/run/best.pt", "--shards", _STORE, "--out", "seen"),
            *("--worst", "2", "--device", "cpu", "--workers", "0"),
        ),
        ("work/seen",),
    ),
}
# What refuses which content. Every other command may as well.
ALL = frozenset(STORES) - {"build", "build --update", "verify --repair"}
INDEX = ALL - {"evaluate", "explain"}
IMAGES = frozenset({"verify", "export", "duplicates", "train"})
MAPS = frozenset({"verify", "export", "train"})
ANYWHERE = frozenset({"verify", "export", "pack", "train"})

_HERE = ("--device", "cpu", "--workers", "0")
_PHOTO = "{sound}/raw-images/test/a/0.png"
MODELS = {
    "predict": Command(
        ("lgcoamix", "predict", "--model", "{given}", _PHOTO, "--out", "p.csv", *_HERE), ("work/p.csv",)
    ),
    "export of it": Command(("lgcoamix", "export", "--checkpoint", "{given}", "--out", "exported"), ("work/exported",)),
    "export over it": Command(
        ("lgcoamix", "export", "--checkpoint", "{sound}/run", "--out", "{given}", "--force"), ("given",)
    ),
}

_SHARDS = ("--shards", "{sound}/raw/x.h5")
RUNS = {
    "evaluate": Command(
        ("lgcoamix", "evaluate", "--checkpoint", "{given}/best.pt", *_SHARDS, "--out", "ev", *_HERE), ("work/ev",)
    ),
    "explain": Command(
        (
            *("lgcoamix", "explain", "--checkpoint", "{given}/best.pt", *_SHARDS, "--worst", "2", "--out", "seen"),
            *_HERE,
        ),
        ("work/seen",),
    ),
    "evaluate beside": Command(("lgcoamix", "evaluate", "--checkpoint", "{given}", *_SHARDS, *_HERE), ("given",)),
    "export": Command(
        ("lgcoamix", "export", "--checkpoint", "{given}/best.pt", "--out", "exported"), ("work/exported",)
    ),
    "compare": Command(("lgcoamix", "compare", "{given}", "{sound}/run", "--out", "compared"), ("work/compared",)),
    "replay": Command(
        (
            *("lgcoamix", "replay", "--run", "{given}", "--epoch", "0", "--step", "0", "--out", "look"),
            *("--device", "cpu", *_SHARDS),
        ),
        ("work/look",),
    ),
    "train --resume": Command(
        (
            *("lgcoamix", "train", *_SHARDS, "--mixer", "superpixel_grid", *SMALL),
            *("--out", "{given}", "--resume", "{given}/last.pt"),
        ),
        ("given",),
        removes="results.json",
    ),
    "train --weights": Command(
        ("lgcoamix", "train", *_SHARDS, "--mixer", "none", *SMALL, "--weights", "{given}/best.pt"), ("work/runs",)
    ),
    "train with extractor": Command(
        (
            *("lgcoamix", "train", *_SHARDS, "--mixer", "attentive_cutmix", *SMALL),
            *("--set", "mixer.extractor=resnet10t", "--set", "mixer.extractor_weights={given}/best.pt"),
        ),
        ("work/runs",),
    ),
}
BUILD_CUB = Command(
    (
        *("preprocess", "build", "cub", "--root", "{given}", "--out", "x.h5", "--size", "16", "--segments", "4"),
        *("--algorithm", "grid", "--jobs", "1", "--partial"),
    ),
    ("given", "work/x.h5", "work/x.shards"),
)
