"""Compare finished runs: group them over seeds, check that they are comparable, and summarise their accuracy.

Does not import torch.
"""

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lgcoamix.errors import RunError, SettingsError
from lgcoamix.runs.finished import Run, read_runs
from lgcoamix.runs.paired import Paired, paired
from lgcoamix.settings.text import suggest
from preprocess.text import listed

_ABSENT = "not recorded"  # by an older version of this program


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation over seeds, in percent. A single seed has deviation None."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed.

    Parameters
    ----------
    label : name in tables and plots.
    protocol : letter of the protocol of its runs.
    options : options that distinguish it from other groups of the same recipe and method.
    runs : sorted by seed.
    """

    label: str
    recipe: str
    method: str
    protocol: str
    options: Mapping[str, Any]
    runs: tuple[Run, ...]

    def summary(self, split: str, metric: str) -> Summary | None:
        """Summarise a metric over seeds; None if a run has no such figure."""
        values = list(self.by_seed(split, metric).values())
        if len(values) < len(self.runs):
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return Summary(statistics.mean(values), deviation)

    def by_seed(self, split: str, metric: str) -> dict[int, float]:
        """Return the figures of the runs that have one, by seed."""
        figures = {run.seed: run.figure(split, metric) for run in self.runs}
        return {seed: figure for seed, figure in figures.items() if figure is not None}


@dataclass(frozen=True)
class Difference:
    """A setting in which runs differ.

    Parameters
    ----------
    path : for example ``optim.lr``.
    values : text of each value -> the runs that have it.
    """

    path: str
    values: Mapping[str, tuple[Run, ...]]

    def __str__(self) -> str:
        return f"{self.path}: " + ", ".join(f"{text} ({_names(runs)})" for text, runs in self.values.items())


@dataclass(frozen=True)
class Comparison:
    """Groups with their protocols, differences and warnings.

    Parameters
    ----------
    groups : sorted by decreasing mean of ``metric``.
    metric : one of ``SUMMARIES``.
    protocols : letter -> protocol.
    differences : settings in which the protocols differ; empty for one protocol.
    warnings : lines of text.
    references : letter -> the group that the others of this protocol are compared with.
    """

    groups: tuple[Group, ...]
    metric: str
    protocols: Mapping[str, Mapping[str, Any]]
    differences: tuple[Difference, ...] = ()
    warnings: tuple[str, ...] = ()
    references: Mapping[str, Group] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[str, ...]:
        """Evaluated splits, ``test`` first."""
        return tuple(name for name in ("test", "val") if any(self.ranked(name)))

    def ranked(self, split: str) -> tuple[Group, ...]:
        """List the groups that were evaluated on a split, best mean first."""
        return _ranked((group for group in self.groups if group.summary(split, "last")), split, self.metric)

    def paired(self, group: Group, split: str) -> Paired | None:
        """Compare a group with the reference of its protocol; None for itself, and without one or a common seed."""
        other = self.references.get(group.protocol)
        if other is None or other is group:
            return None
        return paired(group.by_seed(split, self.metric), other.by_seed(split, self.metric))

    def legend(self) -> dict[str, str]:
        """Describe each protocol by the settings in which they differ: letter -> text."""
        return {
            letter: ", ".join(f"{part.path} {_value_in(part, protocol, self.protocols)}" for part in self.differences)
            for letter, protocol in self.protocols.items()
        }


def compare(
    paths: Iterable[Path], metric: str = "last", across_protocols: bool = False, against: str | None = None
) -> Comparison:
    """Read runs and group them over seeds.

    Parameters
    ----------
    paths : run folders, or folders of run folders. Files (as in ``runs/*``) are ignored.
    metric : metric to sort groups by.
    across_protocols : accept runs of different protocols, and group them by protocol.
    against : label of the group that the others of its protocol are compared with, by seed. None takes plain training,
        if there is one group of it.

    Raises
    ------
    RunError : there is no finished run; protocols differ; or two runs of a group have the same seed.
    SettingsError : no group is called ``against``, or none has the metric.
    """
    runs, warnings = read_runs(paths)
    protocols: list[Mapping[str, Any]] = []
    for run in runs:
        if run.protocol not in protocols:
            protocols.append(run.protocol)
    differences = _differences(runs, lambda run: run.protocol)
    if any(part.path == "training images" for part in differences):  # which are digests
        differences += _differences(runs, lambda run: run.stored)
    if differences and not across_protocols:
        lines = "".join(f"\n  {part}" for part in differences)
        raise RunError(
            f"these runs follow {len(protocols)} protocols, so their results are not comparable:{lines}\n"
            "select runs of one protocol, or add --across-protocols to see them side by side"
        )
    letters = [_letter(number) for number in range(len(protocols))]
    groups = _groups(runs, {id(run): letters[protocols.index(run.protocol)] for run in runs})
    warnings += [f"{part}" for part in _differences(runs, lambda run: run.surroundings)]
    warnings += [line for group in groups for line in _maps_differ(group)]
    split = "test" if any(group.summary("test", "last") for group in groups) else "val"
    if not any(group.summary(split, metric) for group in groups):
        raise SettingsError(f"no run has ten epochs, of which {metric} is the median; choose --metric last or best")
    ordered, named = _ranked(groups, split, metric), dict(zip(letters, protocols, strict=True))
    return Comparison(ordered, metric, named, differences, tuple(warnings), _references(ordered, letters, against))


def _differences(runs: Sequence[Run], part: Callable[[Run], Mapping[str, Any]]) -> tuple[Difference, ...]:
    """Find the settings in which runs differ, among those that ``part`` selects."""
    found = []
    for path in dict.fromkeys(path for run in runs for path in part(run)):
        values = _distinct(part(run).get(path, _ABSENT) for run in runs)
        if len(values) > 1:
            by_text = dict(zip(_texts(values), values, strict=True))
            who = {
                text: tuple(run for run in runs if part(run).get(path, _ABSENT) == value)
                for text, value in by_text.items()
            }
            found.append(Difference(path, who))
    return tuple(found)


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


def _texts(values: Sequence[Any]) -> list[str]:
    """Format distinct values as short distinct texts."""
    lists = values if all(isinstance(value, list) for value in values) else [[]]
    common = [name for name in lists[0] if all(name in value for value in lists)]
    texts = [_text(value, common) for value in values]
    return [text if texts.count(text) == 1 else f"{text} [{number}]" for number, text in enumerate(texts, start=1)]


def _text(value: Any, common: Sequence[Any] = ()) -> str:
    if isinstance(value, list) and len(value) > 2:
        own = [str(item) for item in value if item not in common]
        return f"{len(value)} names, only here {listed(own)}" if own else f"{len(value)} names"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value_in(part: Difference, protocol: Mapping[str, Any], protocols: Mapping[str, Mapping[str, Any]]) -> str:
    return next(text for text, runs in part.values.items() if any(run.protocol == protocol for run in runs))


def _groups(runs: Sequence[Run], letters: Mapping[int, str]) -> list[Group]:
    several_recipes = len({run.recipe for run in runs}) > 1
    groups = []
    for recipe, method in dict.fromkeys((run.recipe, run.method) for run in runs):
        members = [run for run in runs if (run.recipe, run.method) == (recipe, method)]
        names = [part.path for part in _differences(members, _identity)]
        keys = [(letters[id(run)], {name: _identity(run).get(name, _ABSENT) for name in names}) for run in members]
        for letter, options in _distinct(keys):
            own = [run for run, key in zip(members, keys, strict=True) if key == (letter, options)]
            text = ", ".join(f"{name}={_text(value)}" for name, value in options.items())
            label = (f"{recipe}: " if several_recipes else "") + method + (f" ({text})" if text else "")
            groups.append(Group(label, recipe, method, letter, options, tuple(sorted(own, key=lambda run: run.seed))))
    for group in groups:
        _refuse_equal_seeds(group)
    return groups


def _identity(run: Run) -> dict[str, Any]:
    """Return what defines a group within a recipe and method."""
    return {**run.options, "superpixels": run.superpixels}


def _references(groups: Sequence[Group], letters: Iterable[str], against: str | None) -> dict[str, Group]:
    """Find the group of each protocol that the others are compared with, if any."""
    if against is not None and against not in {group.label for group in groups}:
        names = dict.fromkeys(group.label for group in groups)
        raise SettingsError(f"there is no group {against!r}; {suggest(against, names)}")
    found = {}
    for letter in letters:
        own = [group for group in groups if group.protocol == letter]
        fit = [group for group in own if (group.method == "none" if against is None else group.label == against)]
        if len(fit) == 1:
            found[letter] = fit[0]
    return found


def _refuse_equal_seeds(group: Group) -> None:
    seen: dict[int, Run] = {}
    for run in group.runs:
        other = seen.setdefault(run.seed, run)
        if other is not run:
            raise RunError(
                f"{other.folder} and {run.folder} are both {group.label} with seed {run.seed}; expected each seed "
                "once: leave one of them out"
            )


def _ranked(groups: Iterable[Group], split: str, metric: str) -> tuple[Group, ...]:
    def place(group: Group) -> tuple[float, str, str]:
        summary = group.summary(split, metric)
        return (-summary.mean if summary else math.inf), group.label, group.protocol

    return tuple(sorted(groups, key=place))


def _maps_differ(group: Group) -> list[str]:
    parts = _differences(group.runs, lambda run: run.maps)
    return [f"{group.label} was trained with maps of the same name but different content: {parts[0]}"] if parts else []


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"P{number + 1}"


def _names(runs: Sequence[Run]) -> str:
    return listed([str(run.folder) for run in runs])
