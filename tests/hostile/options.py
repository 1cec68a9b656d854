"""Odd values for every option and argument of both command lines, made by walking their parameters.

A case is one command line: a base that works, with one word of it odd. Paths are relative to ``work``, the folder in
which the command runs; its inputs lie beside it in ``home``.
"""

import dataclasses
import itertools
import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import click
from PIL import Image

import lgcoamix.cli
import preprocess.cli
from lgcoamix.settings.mixers import METHOD_OPTIONS
from lgcoamix.settings.sections import SECTIONS, Settings
from tests.conftest import ROOT

TINY = (
    *("--shards", "../home/s.h5", "--mixer", "none", "--backbone", "test_resnet", "--weights", "none"),
    *("--epochs", "1", "--batch-size", "4", "--image-size", "32", "--device", "cpu", "--workers", "0"),
)
TRAIN = (*TINY, "--no-pictures", "--no-tensorboard")
BUILD = ("folder", "--root", "../home/raw", "--size", "32", "--segments", "4", "--shard-size", "4", "--jobs", "1")
BUILD = (*BUILD, "--algorithm", "watershed", "--no-download")

_LOOKER = ("--set", "mixer.extractor=test_resnet", "--set", "mixer.extractor_weights=../home/run/last.pt")

# Command lines that work, by program and command. Those of ``train.py`` and ``lgcoamix train`` are one command.
BASES: dict[tuple[str, str], tuple[str, ...]] = {
    ("preprocess", "datasets"): ("folder",),
    ("preprocess", "build"): (*BUILD, "--out", "x.h5"),
    ("preprocess", "inspect"): ("../home/s.h5",),
    ("preprocess", "verify"): ("../home/s.h5", "--jobs", "1"),
    ("preprocess", "show"): ("../home/s.h5", "--out", "x.png", "--count", "2"),
    ("preprocess", "report"): ("../home/s.h5", "--out", "x.html", "--count", "1", "--samples", "4"),
    ("preprocess", "duplicates"): ("../home/s.h5", "--jobs", "1", "--out", "x.txt"),
    ("preprocess", "diff"): ("../home/s.h5", "../home/s.h5"),
    ("preprocess", "export"): ("../home/s.h5", "x"),
    ("preprocess", "pack"): ("../home/s.h5", "x.h5"),
    ("lgcoamix", "train"): (*TRAIN, "--out", "x"),
    ("train.py", ""): (*TRAIN, "--out", "x"),
    ("lgcoamix", "evaluate"): (
        *("--checkpoint", "../home/run", "--shards", "../home/s.h5", "--device", "cpu", "--workers", "0"),
        *("--fgsm", "none", "--drop", "none", "--out", "x"),
    ),
    ("lgcoamix", "explain"): (
        *("--checkpoint", "../home/run", "--shards", "../home/s.h5", "--device", "cpu", "--workers", "0"),
        *("--worst", "1", "--out", "x"),
    ),
    ("lgcoamix", "export"): ("--checkpoint", "../home/run", "--out", "x"),
    ("lgcoamix", "convert"): (
        *("../home/model/model.safetensors", "--from", "timm", "--backbone", "test_resnet", "--classes", "2"),
        *("--out", "x"),
    ),
    ("lgcoamix", "predict"): (
        *("--model", "../home/model", "--out", "x.csv", "--device", "cpu", "--workers", "0"),
        "../home/raw/test",
    ),
    ("lgcoamix", "sweep"): ("--shards", "../home/s.h5", "--mixers", "none", "--out", "sweep", "--", *TRAIN[4:]),
    ("lgcoamix", "compare"): ("../home/run", "--out", "x"),
    ("lgcoamix", "replay"): ("--run", "../home/run", "--epoch", "0", "--step", "0", "--device", "cpu", "--out", "x"),
    ("lgcoamix", "doctor"): (*TINY[:8], *TINY[10:], "--samples", "8", "--seconds", "0.2"),
    ("lgcoamix", "demo"): (),
}
_ESCAPES = "\x1b[31mred\x07"
_BYTES = "\udcff\udcfe"  # not UTF-8
_LONG = "x" * 300
DIGITS = "9" * 5000

_PLAIN_NUMBERS = (
    *("-1", "0", "-0", "+3", "1e308", "1e-320", "nan", "inf", "-inf", "0x10", "1_000", " 1", "1 ", "1.5", "1e3", "1,2"),
    *("5:1", "1:2:3", "true", "-", "--", "1\u0661", "½", "3.5e38", "1e400"),
)
_PLAIN_WORDS = (" ", ",", "..", "../x", "/x", ".", "-", "--", "none", "None", "0", "-1", "nan", "%s{0}", "a,,b", "x/y")
_PLAIN_LISTS = (
    *("5:1", "1:2:3", "1:", ":1", ":", "1,1", "1,,2", ",", "1;2", "-1:3", "0", "0:0", "a", "nan", "0:1000000000000"),
    *("1:1000000", "inf", "1e3", "0.5", "1,nan", "1,0", " 1 , 2 ", "3,2", "\u0663:\u0665", "all"),
)
_INTEGERS = {"int64": str(2**63), "int32": str(2**31), "-int64": str(-(2**63) - 1), "digits": DIGITS}
_RAW = {"empty": "", "escapes": "1" + _ESCAPES, "bytes": "1" + _BYTES, "line": "1\nforged"}
NUMBERS = {text: text for text in _PLAIN_NUMBERS} | _INTEGERS | _RAW
_ODD_WORDS = {
    "empty": "",
    "escapes": _ESCAPES,
    "bytes": _BYTES,
    "line": "x\nforged",
    "turned": "\u202ex",
    "markup": "[bold]x[/]",
    "close": "[/]",
    "long": "x" * 100_000,
    "help": "--help",
    "alike": "nоne",
}
WORDS = {text: text for text in _PLAIN_WORDS} | _ODD_WORDS
_LONG_RANGES = {"range of digits": f"1:{DIGITS}", "many": ",".join(map(str, range(1, 20_000)))}
LISTS = {text: text for text in _PLAIN_LISTS} | _INTEGERS | _RAW | _LONG_RANGES
_LISTS = {"segments", "scales", "seeds", "fgsm", "pgd", "drop"}
# Options that contradict each other or the base, by the command.
PAIRS = {
    "build": "--resize none | --codec raw --resize short | --update --dry-run | --scheduler x | --algorithm grid "
    "--compactness 3 | --limit-per-class 1 --partial --skip-bad | --backend dask --scheduler x --jobs 3",
    "duplicates": "--exact --threshold 0.5 | --exact --exact",
    "verify": "--root ../home/raw | --repair --root .",
    "train": "--maps live --loader resident | --maps live | --augment light --loader resident | "
    "--augment strong --maps live | --pictures --no-pictures | --compile --no-compile | "
    "--device cuda | --amp fp16 | --resume auto --val-fraction 0.9 | --list-recipes --show-recipe x | "
    "--set optim.nesterov=true --set optim.momentum=0 | --set data.crop=pad --set data.padding=9999999 | "
    "--set optim.lr=1 --set optim.lr=2 | --batch-size 4 --set optim.batch_size=8 --set optim.accumulate=99 | "
    "--mixer snapmix --set mixer.mid=true --backbone vit_tiny_patch16_224 | --set optim.plain_epochs=9 | --mixer none "
    "--mixer lgcoamix | --set mixer.alpha=1 --mixer cutmix",
    "evaluate": "--reference ../home/run/config.json --corruptions | --pgd 1 --tta flip | "
    "--fgsm none --drop 0.5 --drop-grid 33 | --fgsm 1 --fgsm none | --force --force | --split train",
    "explain": "--keys test/a/0.png | --split train | --force --force",
    "export": "--onnx --force",
    "compare": "--by-class none --against none --format csv | --format csv --format json | --metric median_of_last_10",
    "replay": "--sample train/a/0.png | --step 0 --step 1 --epoch 1",
    "sweep": "--mixers none --cell none=--mixer\\ none | --seeds 0:2 --jobs 9 | --metric best --metric last",
    "doctor": "--json --seconds 0.1 --samples 1 | --workers 0 --device mps",
}
# Values that texts may have besides WORDS, by the name of the parameter; " | " is between them.
_TEXTS = {
    "splits": "train | train,train | test,train | train, | Train | train, test | val",
    "superpixels": "watershed-c10-4 | WATERSHED-C10-4",
    "split": "test | train | TEST | test/",
    "mixer": "cutmix | lgcoamix | CutMix | cutmi | cut-mix",
    "mixers": "none | none,none | none, | nope | NONE | " + ",".join(["none"] * 999),
    "cells": "a | = | a= | =--mixer none | a=--mixer | a=--mixer none --mixer none | a='--mixer none | "
    "a=--mixer=none | ../a=--mixer none | a/b=--mixer none | a=--mixer none --out y | a=--mixer none --seed 3 | "
    f"..=--mixer none | a b=--mixer none | {_LONG}=--mixer none | {_ESCAPES}=--mixer none | é=--mixer none | "
    "a=--mixer none --help | a=--mixer none --sed 3 | a=--mixer none -- --out y | "
    "a=--mixer none --epochs 0 | a=none | none=--mixer none",
    "options": "--out | x | --mixer | --nope | -- | --help | --epochs=0 | --shards=y | --list-recipes",
    "recipe": "lgcoamix | cub-lgcoamix-resnet18 | CUB | cub",
    "backbone": "resnet | RESNET18 | resnet18. | hf_hub:x/y | hf-hub:timm/resnet18.a1_in1k | local-dir:.. | "
    "local-dir:fifo | vit_base_patch16_224 | test_resnet.nope | resnet18.a1_in1k | https://127.0.0.1:9/x | "
    "timm/resnet18",
    "weights": "pretrained | none | NONE | ../home/run/last.pt | ../home/s.h5 | fifo | sock | dev | folder | empty",
    "resume": "auto | AUTO | ../home/run/last.pt | fifo | sock | dev | folder | empty | loop | ../home/run",
    "scheduler": "127.0.0.1:9 | tcp://127.0.0.1:9 | ray://127.0.0.1:9 | file:///etc/passwd | 127.0.0.1:99999 | : | x:y",
    "keys": "test/a/0.png | a/0.png | train/a/0.png | test/a/0.png,test/b/0.png | test/a/0.png,test/a/0.png | , | x,,x",
    "sample": "train/a/0.png | a/0.png | test/a/0.png | train/a/9.png | train//a/0.png",
    "show_recipe": "cub-lgcoamix-resnet18 | CUB",
    "assignments": " | = | . | .= | optim. | optim.=1 | optim.lr | optim.lr= | optim..lr=1 | nope.lr=1 | "
    "optim.nope=1 | .lr=1 | OPTIM.lr=1 | optim.LR=1 |  optim.lr=1 | optim.lr =1 | optim.lr=1=2 | method=cutmix | "
    f"mixer.method=x | optim.__class__=1 | optim.lrr=1 | {_ESCAPES}.x=1 | optim.{_BYTES}=1 | optim.lr=1\nforged | "
    f"mixer=none | {'x' * 100_000} | optim.{'l' * 100_000}=1 | [bold]=1 | mixer.mix_prob=1 | optim.mixes_in=3",
}
TEXTS = {name: text.split(" | ") for name, text in _TEXTS.items()}


@dataclass(frozen=True)
class Case:
    """One command line.

    Parameters
    ----------
    program : ``preprocess``, ``lgcoamix`` or ``train.py``.
    command : of a group; empty for ``train.py``.
    option : which is odd.
    value : names what is odd about it.
    words : the command line after the program.
    odd : the odd value itself.
    """

    program: str
    command: str
    option: str
    value: str
    words: tuple[str, ...]
    odd: str = ""

    def __str__(self) -> str:
        return f"{self.program} {self.command} {self.option} {self.value[:40]!a}"


def commands() -> Iterator[tuple[str, str, click.Command]]:
    """Every command of both command lines, and ``train.py``; ``lgcoamix preprocess`` hands on to the first."""
    for program, group in (("preprocess", preprocess.cli.main), ("lgcoamix", lgcoamix.cli.main)):
        for name, command in group.commands.items():
            if name != "preprocess":
                yield program, name, command
    yield "train.py", "", lgcoamix.cli.train


def cases() -> Iterator[Case]:
    """All command lines; the same every time."""
    for program, name, command in commands():
        base = BASES[program, name]
        every = 10 if program == "train.py" else 4 if name == "doctor" else 1  # these take the options of train again
        for words, option, value, odd in itertools.islice(_of_command(command, base), 0, None, every):
            before = (name,) if name else ()
            yield Case(program, name, option, value, (*before, *words), odd)
    yield from _of_groups()


def _of_groups() -> Iterator[Case]:
    for program in ("preprocess", "lgcoamix"):
        for value, text in WORDS.items():
            yield Case(program, "", "command", value, (text,), text)
        for words in ((), ("--nope",), ("-x",), ("--help", "--nope"), ("build", "--help", "--nope"), ("--version=1",)):
            yield Case(program, "", "command", " ".join(words), words)


def _of_command(command: click.Command, base: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, str, str]]:
    for parameter in command.params:
        place = 0
        for value, odd in _values(parameter, _ending(parameter.opts[-1], parameter, base)):
            if isinstance(parameter, click.Option):
                name = parameter.opts[-1]
                yield _with(base, name, odd, parameter.is_flag), name, value, odd or ""
            elif parameter.name != "options":
                place = _place(command, parameter, base)
                kept = base[place + 1 :]
                yield (*base[:place], odd, *kept), parameter.name.upper(), value, odd
            else:
                yield (*base, odd), "OPTIONS", value, odd
        if isinstance(parameter, click.Option) and not parameter.is_flag:
            name = parameter.opts[-1]
            yield (*base, name), name, "no value", ""
            yield (*base, name + "x", "1"), name + "x", "misspelt", ""
            yield (*base, name.upper(), "1"), name.upper(), "capitals", ""
            given = _given(base, name)
            if given is not None:
                yield (*base, name, given), name, "twice", ""
                yield _without(base, name), name, "left out", ""
    for pair in PAIRS.get(command.name, "").split(" | "):
        words = tuple(shlex.split(pair))
        yield (*words, *base) if "--" in base else (*base, *words), "EXTRA", pair, ""
    for extra in ("extra", "", "--nope", "-q", "-", "\n", _ESCAPES, _BYTES, "--no-", "@x"):
        yield (*base, extra), "EXTRA", repr(extra), extra


def _values(parameter: click.Parameter, ending: str) -> Iterator[tuple[str, str | None]]:
    """What is odd, by a name, and the value; None for a flag."""
    kind = parameter.type
    if isinstance(parameter, click.Option) and parameter.is_flag:
        # A compiler takes minutes.
        yield from (("=1", "=1"), ("=", "="), *([] if parameter.name == "compile" else [("given", None)]))
    elif isinstance(kind, click.Choice):
        yield from _choices(kind.choices)
    elif isinstance(kind, click.Path):
        yield from _paths(ending)
    elif isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        yield from NUMBERS.items()
    elif parameter.name == "assignments":
        yield from ((text, text) for text in TEXTS["assignments"])
        yield from _settings()
    else:
        yield from (LISTS if parameter.name in _LISTS else WORDS).items()
        yield from ((text, text) for text in TEXTS.get(parameter.name, ()))


def _choices(choices: Sequence[object]) -> Iterator[tuple[str, str]]:
    first = str(choices[0])
    odd = (first.upper(), first.title(), first[:-1], first + "s", first + " ", "", "nоne", f"{first},{first}")
    yield from ((str(choice), str(choice)) for choice in choices)
    yield from ((f"choice {text}", text) for text in odd)
    yield from ((value, WORDS[value]) for value in ("escapes", "bytes", "markup", "line", "long", "-", "--"))


def _paths(ending: str) -> Iterator[tuple[str, str]]:
    yield from ((path, path) for path in PATHS)
    yield from ((path + ending, path + ending) for path in PATHS if ending and path[-1] not in "/.-~")
    yield from (("long name", _LONG), ("very long", "x/" * 3000), ("empty", ""), ("slash", "x/"), ("bytes", _BYTES))


def _settings() -> Iterator[tuple[str, str]]:
    """``section.key=value`` for every key of every section and method."""
    for section in SECTIONS:
        kinds = METHOD_OPTIONS.items() if section == "mixer" else [("none", type(getattr(Settings(), section)))]
        for method, kind in kinds:
            for field in dataclasses.fields(kind):
                if field.name == "compile":
                    continue
                wanted = get_type_hints(kind)[field.name]
                for value, text in _setting_values(field, wanted):
                    yield f"{method} {section}.{field.name}={value}", f"{method}|{section}.{field.name}={text}"


_FEW_NUMBERS = (
    "-1",
    "0",
    "1e308",
    "1e-320",
    "nan",
    "inf",
    "1_000",
    " 1",
    "empty",
    "digits",
    "1,2",
    "1.5",
    "int64",
    "½",
)
_FEW_WORDS = ("empty", " ", "escapes", "bytes", "markup", "line", "..", "long", "none", "alike")


def _setting_values(field: dataclasses.Field, wanted: type) -> Iterator[tuple[str, str]]:
    wanted = (
        next((kind for kind in get_args(wanted) if kind in (int, float, str)), wanted) if get_args(wanted) else wanted
    )
    if wanted is bool:
        yield from ((text, text) for text in ("true", "FALSE", "1", "yes", "", " true", "None"))
    elif wanted is str:
        yield from ((text, text) for text in field.metadata.get("choices", ()))
        yield from ((value, WORDS[value]) for value in _FEW_WORDS)
    elif isinstance(field.default, tuple):
        texts = ("1,inf", "nan,nan", "0,1", "1,0.5", "0.5", "0.1,0.2,0.3", "", ",", "1e-320,1e308", "0.5,0.5", "1,1e30")
        yield from ((text, text) for text in (*texts, "0.5;1", "(0.5,1)", "1e-9,1e-9", "1e9,1e9"))
    else:
        yield from ((value, NUMBERS[value]) for value in _FEW_NUMBERS)


PATHS = (
    *(
        "missing",
        "missing/deep",
        "folder",
        "file",
        "empty",
        "fifo",
        "sock",
        "dev",
        "dangling",
        "loop",
        "loop/x",
        "file/x",
    ),
    *(
        "sparse",
        "garbage",
        "folder/",
        "-",
        "--",
        "~",
        ".",
        "..",
        "/",
        "../home",
        "../home/raw",
        "../home/run",
        "x\nforged",
    ),
    *(_ESCAPES, "[bold]", "../home/s.h5", "../home/run/last.pt", "../home/raw/test/a/0.png", "%s", "a,b", "\u202ex"),
    *("named", "stranger", "../home/model", "../home/s.shards", "deep/er/than/this"),
)


def _ending(option: str, parameter: click.Parameter, base: tuple[str, ...]) -> str:
    """That of the file which the base gives to a parameter; empty for a folder."""
    return Path((base[-1] if option == "out" else _given(base, option)) or "").suffix


ENDINGS = ("", ".h5", ".png", ".html", ".txt", ".csv")


def lay_out(work: Path) -> None:
    """Put odd things of every kind into the folder in which a command runs, with the endings of outputs and without."""
    for end in ENDINGS:
        (work / f"folder{end}").mkdir()
        (work / f"file{end}").write_text("foreign\n")
        (work / f"empty{end}").touch()
        (work / f"garbage{end}").write_bytes(bytes(range(256)) * 16)
        with (work / f"sparse{end}").open("wb") as file:
            file.truncate(1 << 36)
        os.mkfifo(work / f"fifo{end}")
        os.mknod(work / f"dev{end}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (work / f"dangling{end}").symlink_to("nowhere/x")
        (work / f"loop{end}").symlink_to(f"loop{end}")
        os.mknod(work / f"sock{end}", 0o666 | stat.S_IFSOCK)
        (work / f"named{end}").symlink_to("../home/s.h5")
    (work / "stranger").mkdir()
    (work / "stranger" / "thesis.txt").write_text("years of work\n")


def make_inputs(home: Path) -> None:
    """Raw images: classes a and b, with 4 images for training and 2 for the test each."""
    for split, count in (("train", 4), ("test", 2)):
        for label, name in enumerate("ab"):
            for number in range(count):
                path = home / "raw" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image = Image.effect_noise((40, 36), 60 + 20 * label + number).convert("RGB")
                image.save(path)


def _place(command: click.Command, argument: click.Parameter, base: tuple[str, ...]) -> int:
    """Where the base has an argument: those of ours stand first, or last after all options."""
    places = {("diff", "right"): 1, ("export", "folder"): 1, ("pack", "out"): 1, ("predict", "images"): len(base) - 1}
    return places.get((command.name, argument.name), 0)


def _given(base: tuple[str, ...], name: str) -> str | None:
    return base[base.index(name) + 1] if name in base[:-1] else None


def _without(base: tuple[str, ...], name: str) -> tuple[str, ...]:
    if name not in base:
        return base
    place = base.index(name)
    return (*base[:place], *base[place + 2 :])


def _with(base: tuple[str, ...], name: str, odd: str | None, flag: bool) -> tuple[str, ...]:
    if flag:
        return (name + (odd or ""), *base) if "--" in base else (*base, name + (odd or ""))
    if name == "--set" and "|" in odd:
        method, _, odd = odd.partition("|")
        base = _with(base, "--mixer", method, False)
        return (*base, *(_LOOKER if method == "attentive_cutmix" else ()), name, odd)
    if name in base:
        place = base.index(name) + 1
        return (*base[:place], odd, *base[place + 1 :])
    return (name, odd, *base)


def script(program: str) -> str:
    return str(ROOT / program) if program.endswith(".py") else program
