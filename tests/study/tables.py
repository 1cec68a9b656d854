"""Tables of the finished cells, in Markdown."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lgcoamix.runs.compare import Group
from lgcoamix.runs.paired import Paired, paired
from tests.study.kept import Cells, Kept
from tests.study.plan import ABLATED, HELD_OUT, LENGTHS, LONG, NEW_SEEDS, RATES, Cell, plan, search

TITLES = {
    "length": "From which length on does mixing pay? Flowers from scratch at 32 pixels",
    "length-64": "The same at 64 pixels, the two best methods",
    "search": "Birds: the search for the settings",
    "birds": "Birds from ImageNet weights",
    "ablation": "What LGCOAMix is made of",
    "ending": "The last tenth of the epochs unmixed, on flowers and birds",
    "again": "The three parts that gained most, on new seeds",
}
LENGTH_STUDIES = ("length", "length-64")
_ABOUT = {
    "length": "`resnet10t`, 17 classes, 1,088 training images; the 26 of 272 test images that have a near copy in the "
    "training split are left out, which leaves 246 (one is 0.41 points). A variant is METHOD-EPOCHS. Every method that "
    "mixes does so in half of the batches.",
    "length-64": "As above.",
    "search": "EfficientNet-lite0 from ImageNet weights, 100 classes of CUB-200-2011, stored at 112 pixels, crops of "
    f"96. Seed 0, top-1 on {HELD_OUT:.0%} of the training images, not trained on; the test images are not "
    "in the store. A variant is none-RATE-EPOCHS or lgcoamix-GATE-GAMMA. First plain training, then the gate of "
    "LGCOAMix, then its γ; the best of each is kept.",
    "birds": "As in the search, with its best settings, trained on all 2,999 images and tested on 2,903. All methods "
    "that mix have the gate that was best for LGCOAMix, whose γ alone was searched as well. "
    "ImageNet holds some of the test images, for all methods alike.",
    "ablation": f"`length/lgcoamix-{ABLATED}` with one part changed, against the whole.",
    "ending": "The part that gained most in the ablation, with other methods and images: each cell against the same "
    "that mixes to the end.",
    "again": f"The best of nine parts are so by chance as well. These cells are as those of the ablation, with the "
    f"seeds {', '.join(map(str, NEW_SEEDS))}.",
}
_OVER = (
    "Over lengths: the mean of a seed's differences at several lengths, and the interval of the means of all seeds "
    "(differences of one seed are alike at all lengths, so a length and a seed do not count as one more sample). Last, "
    "what each doubling of the length adds to the difference: the slope of a line through the differences of a seed "
    "over the logarithm of the epochs, and the interval of the slopes of all seeds."
)
_HEAD = """# Does the method help?

Made by `make study` from the finished cells in `tests/study/cells`; do not edit. Top-1 in percent after the last epoch,
mean ± sample standard deviation over seeds; beside it that of the median of the last 10 epochs. The difference is
paired by seed, with a 95 % interval of Student's t in brackets: an interval that holds 0 is no evidence, and of twenty
one lacks it by chance. With three seeds it reaches 2.5 standard deviations of the differences to each side. Command,
commit, settings, processor and seconds of each cell are in its folder. Processors differ: seconds compare no methods.
"""


def document(cells: Cells) -> str:
    """All tables, and what is missing or stale."""
    listed = plan(cells.top1)
    found = cells.standing(listed)
    parts = [_HEAD, _progress(cells, listed, found)]
    for study in TITLES:
        own = [kept for kept in found.values() if kept.cell.study == study]
        if own:
            parts += [f"## {TITLES[study]}", _ABOUT[study], table(own, found)]
            parts += [over_lengths(own)] if study in LENGTH_STUDIES else []
            parts += [f"![Accuracy by epochs]({study}.png)"] if study in LENGTH_STUDIES else []
            parts += [_chosen(cells)] if study == "search" else []
            parts += [conditions(own), *differing(own, found)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def table(own: Sequence[Kept], found: Mapping[str, Kept]) -> str:
    """One row for each group of a study, after those of other studies that it is compared with.

    Where groups are compared with others than plain training, a last column has the difference to that.

    Parameters
    ----------
    own : finished cells of the study.
    found : all finished cells.
    """
    others = {kept.cell.against for kept in own} - {kept.cell.group for kept in own}
    shown = [*(kept for kept in found.values() if kept.cell.group in others), *own]
    split = "val" if own[0].cell.val_fraction else "test"
    head = ["variant", "last", "median of last 10", "by seed", "difference", "by seed"]
    chained = any(_plain(kept.cell.group, found) != kept.cell.against for kept in own if kept.cell.against)
    head += ["to plain training"] if chained else []
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for name in dict.fromkeys(kept.cell.group for kept in shown):
        group = [kept for kept in shown if kept.cell.group == name]
        inside = group[0].cell.study == own[0].cell.study
        base = [kept for kept in found.values() if inside and kept.cell.group == group[0].cell.against]
        row = _row(name.partition("/")[2] if inside else name, group, base, split)
        plain = [kept for kept in found.values() if chained and kept.cell.group == _plain(name, found) != name]
        row += [_difference(group, plain)[0]] if chained else []
        lines.append(" | ".join(row))
    return "\n".join(f"| {line} |" for line in lines)


def _plain(name: str, found: Mapping[str, Kept]) -> str:
    """The group at the end of the comparisons of a group: itself, where it is compared with none."""
    against = next((kept.cell.against for kept in found.values() if kept.cell.group == name), "")
    return _plain(against, found) if against else name


def over_lengths(own: Sequence[Kept]) -> str:
    """One row for each method that mixes: its differences to plain training over several lengths, and their trend.

    Parameters
    ----------
    own : finished cells of a study of lengths.
    """
    head = f"| method | {LENGTHS[0]} to {LENGTHS[-1]} epochs | {LONG[0]} to {LONG[-1]} | for each doubling |"
    lines = [_OVER, "", head, "| --- | --- | --- | --- |"]
    tops = {(kept.cell.mixer, kept.cell.settings.optim.epochs, kept.cell.seed): kept.top1 for kept in own}
    for method in dict.fromkeys(kept.cell.mixer for kept in own if kept.cell.against):
        mine = {(epochs, seed): top1 for (mixer, epochs, seed), top1 in tops.items() if mixer == method}
        found = {where: top1 - tops["none", *where] for where, top1 in mine.items() if ("none", *where) in tops}
        over = (_pooled(map(statistics.mean, _by_length(found, lengths))) for lengths in (LENGTHS, LONG))
        lines.append(f"| {method} | {' | '.join((*over, _pooled(map(_slope, _by_length(found, LENGTHS)))))} |")
    return "\n".join(lines)


def _by_length(found: Mapping[tuple[int, int], float], lengths: Sequence[int]) -> Iterator[list[float]]:
    """The differences of each seed that has all lengths, in their order: (epochs, seed) -> difference."""
    for seed in sorted({seed for _, seed in found}):
        values = [found[epochs, seed] for epochs in lengths if (epochs, seed) in found]
        if len(values) == len(lengths):
            yield values


def _slope(differences: Sequence[float]) -> float:
    """Points for each doubling of the epochs."""
    return statistics.linear_regression(list(map(math.log2, LENGTHS)), differences).slope


def _pooled(values: Iterable[float]) -> str:
    numbered = dict(enumerate(values))
    mean = paired(numbered, dict.fromkeys(numbered, 0.0))
    return "" if mean is None else f"{_interval(mean)}, n = {len(numbered)}"


def conditions(own: Sequence[Kept]) -> str:
    """What trained these cells, and on what; and in which settings groups differ that are compared."""
    surroundings = [kept.run.surroundings for kept in own]
    lines = [
        f"Commits {_distinct(each['commit'] for each in surroundings)}; "
        f"one core of {_distinct(kept.processor for kept in own)}; "
        f"torch {_distinct(each['torch'] for each in surroundings)}, "
        f"timm {_distinct(each['timm'] for each in surroundings)}. "
        f"{sum(kept.seconds for kept in own) / 3600:.1f} core-hours. The first command:",
        f"    {own[0].command}",
    ]
    return "\n\n".join(lines)


def differing(own: Sequence[Kept], found: Mapping[str, Kept]) -> list[str]:
    """A line for each group that is compared with one of another protocol: network, data, optimiser, computing."""
    lines = []
    for kept in {kept.cell.group: kept for kept in own}.values():
        base = next((other for other in found.values() if other.cell.group == kept.cell.against), kept)
        mine, theirs = kept.run.protocol, base.run.protocol
        names = [name for name in mine | theirs if mine.get(name) != theirs.get(name)]
        if names:
            lines.append(f"{kept.cell.group} and {base.cell.group} differ in {', '.join(names)} as well.")
    return lines


def _chosen(cells: Cells) -> str:
    _, tuned = search(cells.top1)
    if tuned is None:
        return "Not finished: nothing is chosen yet."
    rate = tuned[0].settings.optim.lr
    edge = "; its rate is at the edge of the grid" if rate in (min(RATES), max(RATES)) else ""
    return f"Chosen: {' and '.join(cell.group for cell in tuned)}{edge}."


def _progress(cells: Cells, listed: Sequence[Cell], found: Mapping[str, Kept]) -> str:
    lines = [
        f"{len(found)} of the {len(listed)} cells that are known by now stand; `make study RUN=1` trains the others "
        "one by one, on one core; start it several times to use several. `make study CELL=NAME` trains a finished one "
        "again and compares."
    ]
    lines += [f"- stale: {cell.name}: {why}" for cell in listed if (why := cells.stale(cell))]
    lines += [f"- not in the list: {name}" for name in cells.unlisted(listed)]
    return "\n".join(lines)


def _row(name: str, group: Sequence[Kept], base: Sequence[Kept], split: str) -> list[str]:
    runs = tuple(kept.run for kept in sorted(group, key=lambda kept: kept.cell.seed))
    summaries = Group("", "", "", "", {}, runs)
    figures = (_figure(summaries, split, metric) for metric in ("last", "median_of_last_10"))
    values = {kept.cell.seed: kept.top1 for kept in group}
    return [name, *figures, _by_seed(values, ".1f"), *_difference(group, base)]


def _difference(group: Sequence[Kept], base: Sequence[Kept]) -> tuple[str, str]:
    """The mean with its interval, and the values by seed; empty where no seed is in both."""
    difference = paired(*({kept.cell.seed: kept.top1 for kept in each} for each in (group, base)))
    if difference is None:
        return "", ""
    return _interval(difference), _by_seed(difference.differences, "+z.1f")


def _figure(group: Group, split: str, metric: str) -> str:
    summary = group.summary(split, metric)
    if summary is None:  # of a cell that is shorter than ten epochs
        return ""
    return f"{summary.mean:.1f}" + ("" if summary.deviation is None else f" ± {summary.deviation:.1f}")


def _interval(difference: Paired) -> str:
    interval = "" if difference.low is None else f" [{difference.low:+z.1f}, {difference.high:+z.1f}]"
    return f"{difference.mean:+z.1f}{interval}"


def _by_seed(values: Mapping[int, float], form: str) -> str:
    return ", ".join(format(values[seed], form) for seed in sorted(values))


def _distinct(values: Iterable[object]) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))
