"""The commands that draw, and what to look for in their pictures."""

from dataclasses import dataclass, field
from pathlib import Path

from preprocess import outputs
from preprocess.outputs import Kind

HOME = Path("runs/pictures")
RUN = Kind("a run", b"")


@dataclass(frozen=True)
class Look:
    """What the pictures of a name are.

    Parameters
    ----------
    drawn_by : name of the function.
    sentence : what to look for.
    width : at which it is used, in CSS pixels; 0: that of print.
    """

    drawn_by: str
    sentence: str
    width: int = 0


@dataclass(frozen=True)
class Stage:
    """A command and its pictures.

    Parameters
    ----------
    name : of the folder of its pictures, below ``HOME``.
    command : words after ``python -m``; {out} stands for that folder. Empty: the pictures of the documents.
    kind : what it writes.
    looks : name of a picture, without digits at its end -> what it is.
    """

    name: str
    command: str
    kind: Kind | None = None
    looks: dict[str, Look] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """Folder of its pictures."""
        return HOME / self.name

    @property
    def words(self) -> list[str]:
        """The command."""
        return self.command.format(out=self.out, home=HOME).split()


_PREDICTED = {
    "confusion": Look("confusion_plot", "Rare confusions can be seen; numbers can be read on pale and on dark cells."),
    "per_class": Look("per_class_plot", "Worst first; names beside their bars; the line can be told from bars."),
    "mistakes": Look("mistakes_plot", "No text touches its neighbour; above: true class; below: predicted."),
}
_RUN = _PREDICTED | {
    "curves": Look("curves_plot", "Each line can be told in grey; legends cover nothing; epochs are integers."),
    "mixed": Look("pairs_plot", "What is white in the mask comes from b; the weights fit its share."),
    "lambda": Look("lambda_plot", "Both axes from 0 to 1; points near the diagonal."),
}
_UNMIXED = _RUN | {
    "mixed": Look("unmixed_plot", "Whole crops, each with its class; the title says that none is mixed.")
}
_EVALUATION = _PREDICTED | {
    "reliability": Look("reliability_plot", "Bars end on the diagonal if calibrated; the legend is outside."),
    "robustness": Look("robustness_plot", "A panel per attack, from strength 0 down; chance is dotted."),
}
_COMPARISON = {
    "compare": Look("plot_comparison", "Every seed is a circle; names of groups whole; the best on top."),
    "curves": Look("plot_curves", "A line and a band per group, alike in both panels; one legend below."),
}
_EXPLANATION = {"page-": Look("explained_figure", "Heads over their columns; no text touches its neighbour.")}
_REPLAY = {
    "batch": Look("pairs_plot", "All images of the step; what is white in the mask comes from b."),
    "sample": Look("sample_figure", "The frame left is what is shown right."),
}
_SHEET = {"sheet": Look("draw_sheet", "A row per image, a column per scale; yellow lines follow edges.")}
_REPORT = {
    "balance": Look("balance_address", "From the largest class to the smallest; names whole.", 360),
    "found": Look("spread_address", "The dashed line is what was asked for.", 360),
    "sizes": Look("spread_address", "The dashed line is an equal size.", 360),
    "shapes": Look("shapes_address", "Photographs are not square: two humps around the dashed line.", 360),
    "sheet": Look("draw_sheet", "As that of show.", 1038),
    "suspicious": Look("draw_sheet", "One black image.", 1038),
}
_DOCUMENTS = {
    "mixed": Look("pairs_plot", "README.md: as one of mixed above, at the width of a column on the web.", 838),
    "compare": Look("plot_comparison", "lgcoamix/README.md: every name can be read.", 838),
    "length": Look("plot_length", "tests/study/README.md: four methods can be told in grey.", 838),
    "length-64": Look("plot_length", "tests/study/README.md: as length.", 838),
}

_KINDS = {
    "train": (RUN, _RUN),
    "plain": (RUN, _UNMIXED),
    "sweep": (outputs.COMPARISON, _COMPARISON),
    "compare": (outputs.COMPARISON, _COMPARISON),
    "evaluate": (outputs.EVALUATION, _EVALUATION),
    "explain": (outputs.EXPLANATION, _EXPLANATION),
    "replay": (outputs.REPLAY, _REPLAY),
    "report": (outputs.PAGE, _REPORT),
    "show": (outputs.SHEET, _SHEET),
    "documents": (None, _DOCUMENTS),
}
_COMMANDS = """
build-flowers: preprocess build folder --root data/study/raw/flowers17 --out {home}/flowers.h5 --size 192 \
    --segments 30:40 --limit-per-class 6 --jobs 1
build-few: preprocess build folder --root {home}/raw/few --out {home}/few.h5 --size 128 --resize short --codec jpeg \
    --segments 24,36 --jobs 1
build-birds: preprocess build folder --root data/study/raw/cub100 --out {home}/birds.h5 --size 112 --segments 30 \
    --limit-per-class 2 --jobs 1
build-demo: lgcoamix preprocess build demo --root {home}/raw/demo --out {home}/demo.h5 \
    --limit-per-class 8 --jobs 1
train-flowers: lgcoamix train --shards {home}/flowers.h5 --mixer lgcoamix --backbone resnet10t --image-size 128 \
    --epochs 2 --set optim.lr=0.02 [train] --resume auto --out {out}
train-birds: lgcoamix train --shards {home}/birds.h5 --mixer superpixel_grid --backbone test_vit --image-size 96 \
    --epochs 2 --set optim.lr=0.01 [train] --resume auto --out {out}
plain-few: lgcoamix train --shards {home}/few.h5 --mixer none [few] --resume auto --out {out}
sweep: lgcoamix sweep --shards {home}/few.h5 --mixers none,lgcoamix --seeds 0:2 --out {out} -- [few] \
    --image-size 32 --no-pictures
compare: lgcoamix compare {home}/sweep --metric best --out {out}
evaluate: lgcoamix evaluate --checkpoint {home}/plain-few --shards {home}/few.h5 --fgsm 2,8 --pgd 4 --drop 0.5 \
    --workers 0 --out {out}
explain-flowers: lgcoamix explain --checkpoint {home}/train-flowers --shards {home}/flowers.h5 --worst 3 --workers 0 \
    --out {out}
explain-birds: lgcoamix explain --checkpoint {home}/train-birds --shards {home}/birds.h5 --worst 3 --workers 0 \
    --out {out}
explain-few: lgcoamix explain --checkpoint {home}/plain-few --shards {home}/few.h5 --worst 2 --workers 0 --out {out}
replay-step: lgcoamix replay --run {home}/train-flowers --epoch 1 --step 2 --out {out}
replay-sample: lgcoamix replay --run {home}/train-flowers --epoch 1 --sample train/daffodil/image_0001.jpg --out {out}
report-few: preprocess report {home}/few.h5 --out {out}/report.html
report-birds: preprocess report {home}/birds.h5 --out {out}/report.html
show-flowers: preprocess show {home}/flowers.h5 --count 4 --out {out}/sheet.png
show-demo: preprocess show {home}/demo.h5 --count 8 --out {out}/sheet.png
documents:
"""
_FEW = "--backbone resnet10t [train] --image-size 64 --epochs 10 --set optim.lr=0.02"
_TRAIN = "--weights none --workers 0 --device cpu --no-tensorboard --batch-size 32"


def _stage(line: str) -> Stage:
    name, command = line.replace("[few]", _FEW).replace("[train]", _TRAIN).split(":", 1)
    return Stage(name, command.strip(), *_KINDS.get(name.split("-")[0], ()))


STAGES = tuple(_stage(line) for line in _COMMANDS.replace("\\\n", "").strip().splitlines())
