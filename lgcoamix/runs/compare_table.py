"""The table of a comparison: its cells and notes in words, and its figures unrounded."""

from collections.abc import Iterator, Sequence
from typing import Any

from lgcoamix.runs.compare import Comparison, Group, Summary
from lgcoamix.runs.documents import images_named
from lgcoamix.runs.finished import MEDIAN, SUMMARIES
from lgcoamix.runs.paired import CONFIDENCE, Paired
from lgcoamix.runs.tables import Table
from preprocess.text import listed

_INTERVAL = f"{100 * CONFIDENCE:g} % interval of Student's t"
_EXPLAINED = {"last": "last", "best": "best", MEDIAN: "median of last 10"}


def table(comparison: Comparison, split: str) -> Table:
    """Lay out a split: one row per group, best first. What no row has gets no column."""
    groups, against = comparison.ranked(split), _against(comparison, split)
    rows = [_row(comparison, group, split, against) for group in groups]
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    return Table(
        f"top-1 (%) on {_images_of(comparison, split)}, sorted by {_EXPLAINED[comparison.metric]}",
        tuple(names),
        tuple(tuple(row[name] for name in names) for row in rows),
        (*_legend(comparison), *_notes(comparison, split, groups, against)),
    )


def records(comparison: Comparison, split: str) -> list[dict[str, Any]]:
    """The figures of a split, unrounded: one row per group, None where there is no figure."""
    return [_record(comparison, group, split) for group in comparison.ranked(split)]


def describe_pair(pair: Paired | None, against: Group | None, metric: str) -> dict[str, Any] | None:
    """Plain data of a paired difference, for JSON."""
    if pair is None:
        return None
    by_seed = {str(seed): value for seed, value in pair.differences.items()}
    return {
        "against": against.label,
        "metric": metric,
        "by_seed": by_seed,
        "left_out": list(pair.left_out),
        "mean": pair.mean,
        "low": pair.low,
        "high": pair.high,
        "p": pair.p,
    }


def difference_text(pair: Paired | None) -> str:
    """For example ``+6.00 [-6.42, +18.42]``; no interval if there is none."""
    if pair is None:
        return ""
    return f"{pair.mean:+z.2f}" + ("" if pair.low is None else f" [{pair.low:+z.2f}, {pair.high:+z.2f}]")


def chosen_on(comparison: Comparison) -> str:
    """The images on which best epochs were chosen."""
    named = (images_named(protocol["best_chosen_on"], protocol) for protocol in comparison.protocols.values())
    return " or ".join(dict.fromkeys(named))


def _images_of(comparison: Comparison, column: str) -> str:
    named = dict.fromkeys(images_named(column, protocol) for protocol in comparison.protocols.values())
    return ("the split " if column == "test" else "") + " or ".join(named)


def _row(comparison: Comparison, group: Group, split: str, against: str) -> dict[str, str]:
    pair = comparison.paired(group, split)
    last, best, median = (_figure(group.summary(split, metric)) for metric in SUMMARIES)
    return {
        "group": group.label,
        "protocol": group.protocol if comparison.differences else "",
        "n (seeds)": f"{len(group.runs)} ({listed([run.seed for run in group.runs], 6)})",
        "last": last,
        f"best (chosen on {chosen_on(comparison)})": best,
        "median of last 10": median,
        against: difference_text(pair),
        "p": "" if pair is None or pair.p is None else "<0.001" if pair.p < 0.001 else f"{pair.p:.3f}",
    }


def _figure(summary: Summary | None) -> str:
    if summary is None:
        return ""
    return f"{summary.mean:.2f} ± {'-' if summary.deviation is None else f'{summary.deviation:.2f}'}"


def _against(comparison: Comparison, split: str) -> str:
    """Name the column of differences."""
    groups = [group for group in comparison.ranked(split) if comparison.paired(group, split)]
    labels = dict.fromkeys(comparison.references[group.protocol].label for group in groups)
    return f"{_EXPLAINED[comparison.metric]}, against {' or '.join(labels)}"


def _legend(comparison: Comparison) -> Iterator[str]:
    if comparison.differences:
        yield from (f"protocol {letter}: {text}" for letter, text in comparison.legend().items())
    conditions: dict[str, set[str]] = {}
    for group in comparison.groups:
        for run in group.runs:
            conditions.setdefault(run.conditions, set()).add(group.protocol)
    for line, letters in conditions.items():
        yield f"protocol {', '.join(sorted(letters))}: {line}" if comparison.differences else f"protocol: {line}"


def _notes(comparison: Comparison, split: str, groups: tuple[Group, ...], against: str) -> Iterator[str]:
    yield (
        "±: sample standard deviation over seeds (- for one seed). best: the epoch chosen on "
        f"{chosen_on(comparison)}. With few seeds, a difference within the spread is no evidence."
    )
    if short := [group.label for group in groups if not group.summary(split, MEDIAN)]:
        yield f"no median of last 10, for want of ten epochs: {'all' if len(short) == len(groups) else listed(short)}"
    pairs = [(group, pair) for group in groups if (pair := comparison.paired(group, split))]
    if pairs:
        tests = sum(pair.p is not None for _, pair in pairs)
        tested = "; p: two-sided paired t-test" if tests else ""
        corrected = f", not corrected for {tests} comparisons" if tests > 1 else ""
        yield f"{against}: mean difference paired by seed, with its {_INTERVAL} in brackets{tested}{corrected}."
    yield from _not_compared(comparison, groups)
    lonely = [group for group in groups if _is_compared(comparison, group) and not comparison.paired(group, split)]
    if lonely:
        yield f"no difference, for want of a common seed: {listed([group.label for group in lonely])}"
    yield from _not_tested(pairs)
    for group, pair in pairs:
        if pair.left_out:
            other = comparison.references[group.protocol].label
            yield f"left out of that of {group.label}, as only it or {other} has them: seeds {listed(pair.left_out, 6)}"


def _is_compared(comparison: Comparison, group: Group) -> bool:
    return comparison.references.get(group.protocol, group) is not group


def _not_compared(comparison: Comparison, groups: tuple[Group, ...]) -> Iterator[str]:
    letters = [group.protocol for group in groups if group.protocol not in comparison.references]
    several = sorted({letter for letter in letters if letters.count(letter) > 1})
    if several:
        where = f" in protocol {', '.join(several)}" if comparison.differences else ""
        yield f"no differences by seed{where}: expected one group of the method none; name another with --against GROUP"


def _not_tested(pairs: Sequence[tuple[Group, Paired]]) -> Iterator[str]:
    if single := [group.label for group, pair in pairs if len(pair.differences) == 1]:
        yield f"neither interval nor test, with one common seed: {listed(single)}"
    if equal := [group.label for group, pair in pairs if pair.low is None and len(pair.differences) > 1]:
        yield f"neither interval nor test, as the differences of all seeds are equal: {listed(equal)}"


def _record(comparison: Comparison, group: Group, split: str) -> dict[str, Any]:
    figures = {}
    for metric in SUMMARIES:
        summary = group.summary(split, metric)
        figures |= {metric: summary and summary.mean, f"{metric}_deviation": summary and summary.deviation}
    pair, other = comparison.paired(group, split), comparison.references.get(group.protocol)
    return {
        "split": split,
        "group": group.label,
        "recipe": group.recipe,
        "method": group.method,
        "protocol": group.protocol,
        "n": len(group.runs),
        "seeds": " ".join(str(run.seed) for run in group.runs),
        **figures,
        "metric": comparison.metric,
        "against": pair and other.label,
        "pairs": pair and len(pair.differences),
        "difference": pair and pair.mean,
        "low": pair and pair.low,
        "high": pair and pair.high,
        "p": pair and pair.p,
    }
