"""Build a store from a listing: plan, run, publish, and again if another build was faster."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from preprocess.build.backends import Watch, choose_backend
from preprocess.build.forecast import refuse_without_memory
from preprocess.build.plan import Plan, make_plan, not_listed
from preprocess.build.run import build, images_to_do, prepare, tidy
from preprocess.build.settings import BuildSettings
from preprocess.build.task import Report, describe_warnings
from preprocess.build.update import plan_update
from preprocess.datasets import Listing
from preprocess.errors import BuildError, StoreError
from preprocess.machine import memory
from preprocess.raw.selection import describe_selection, left_out_of, same_selection
from preprocess.store.format import kind_of
from preprocess.store.index import Index, read_index
from preprocess.suspicious import describe, joined
from preprocess.terminal import progress_bars, status
from preprocess.text import listed, shown_name

_SHOWN = 5


@dataclass(frozen=True)
class Workers:
    """Workers as for :func:`preprocess.build.backends.run_parallel`; no backend chooses one of this machine."""

    jobs: int
    backend: str | None = None
    scheduler: str | None = None
    wait: float = Watch.wait  # seconds


@dataclass(frozen=True)
class Built:
    """What a build did."""

    seconds: float = 0.0
    work: float = 0.0  # seconds of these: without the time until there were workers
    maps: int = 0  # computed
    omitted: int = 0  # unusable images of a store that was complete already
    complete: bool = False  # whether there was nothing to do
    added_to: str | None = None  # default superpixels of the store, if others were added to them
    superpixels: str = ""  # name of the set that was built
    notes: tuple[str, ...] = ()  # what is odd about the images, one line each


@dataclass(frozen=True)
class Builder:
    """Builds one store.

    Parameters
    ----------
    out : the index file.
    listing, settings, workers : what to store, how, and by whom.
    skip_bad : publish without unusable images.
    update : apply changes of the source images to a finished store.
    tell : takes lines of text for the user.
    whole : whether the listing has all splits that there are; else other splits of a store stay in it.
    again : lists the images once more. An update that lost to another one must not take back what that one found.
    """

    out: Path
    listing: Listing
    settings: BuildSettings
    workers: Workers
    skip_bad: bool
    update: bool
    tell: Callable[[str], None]
    whole: bool = False
    again: Callable[[], Listing] | None = None

    def run(self) -> Built:
        """Build and publish; a finished store is left unchanged.

        Raises
        ------
        BuildError : as for :func:`preprocess.build.run.build`, or the store in place has other images or settings.
        """
        tidy(self.out)
        builder = self
        while (done := builder._once()) is None:
            self.tell(f"another build changed {self.out} in the meantime; continuing from its result")
            if self.update and self.again is not None:
                builder = replace(self, listing=self.again())
        return done

    def _once(self) -> Built | None:
        base = index_in_place(self.out)
        plan = self._plan(base)
        sets = [entry["name"] for entry in base.document["superpixels"]] if base else []
        name = self.settings.superpixel_set()["name"]
        if plan.complete:
            failed = (base.document["splits"][split]["failed"] for split in self.listing.splits)
            return Built(omitted=sum(map(len, failed)), complete=True)
        jobs, backend, scheduler = self.workers.jobs, self.workers.backend, self.workers.scheduler
        if scheduler is None:
            refuse_without_memory(plan, jobs, memory())
        images = sum(map(len, self.listing.splits.values()))
        backend = backend or choose_backend(self.settings.algorithm, jobs, self.settings.size, images)
        with status(f"preparing {self.settings.algorithm} (compiling takes about 20 s on first use)"):
            prepare(self.settings)
        begin = time.perf_counter()
        with progress_bars("images") as add_bar:
            bar = add_bar(f"{self.settings.dataset} -> {self.out}", images_to_do(plan))
            watch = Watch(self.workers.wait, bar.say, bar.begin)
            reports = build(plan, jobs, self.skip_bad, bar, backend, scheduler, watch)
        if reports is None:
            return None
        return Built(
            seconds=time.perf_counter() - begin,
            work=bar.seconds,
            maps=sum(report.maps_computed for report in reports),
            added_to=sets[0] if sets and name not in sets else None,
            superpixels=name,
            notes=tuple(self._notes(reports)),
        )

    def _notes(self, reports: list[Report]) -> Iterator[str]:
        """Say what cannot be learnt or is suspicious in the splits of this build, and what decoders warned of now."""
        index = read_index(self.out)
        splits = index.document["splits"]
        remedy = "mend their files in train (inspect lists them), then use --update"
        alone = unlearnt(index)
        for split, names in alone.items():
            yield (
                f"warning: {split} has images of classes of which train has none, which no network can learn: "
                f"{listed(names, _SHOWN)}; {remedy}"
            )
        told = set().union(*alone.values())
        if lost := [name for name in self._without_usable(index) if name not in told]:
            yield f"warning: no image of a class is usable, but the class is kept: {listed(lost, _SHOWN)}; {remedy}"
        if odd := joined(splits[split].get("suspicious", {}) for split in self.listing.splits):
            look = f"python -m lgcoamix preprocess report {self.out}"
            yield f"suspicious images are stored: {describe(odd)}; look at them: {look}"
        yield from describe_warnings(reports)

    def _without_usable(self, index: Index) -> list[str]:
        """Names of the classes whose listed images of ``train`` are all unusable."""
        wanted = {sample.label for sample in self.listing.splits.get("train", ())}
        lost = wanted.difference(index.labels["train"].tolist()) if wanted else ()
        return [shown_name(self.listing.classes[label]) for label in sorted(lost)]

    def _plan(self, base: Index | None) -> Plan:
        if not self.update or base is None:
            return make_plan(self.out, self.listing, self.settings, base, self.whole)
        for split in self.listing.splits.keys() & base.document["splits"].keys():
            before, now = base.document["splits"][split], left_out_of(self.listing, split)
            if not same_selection(now, before):
                stored, wanted = describe_selection(before), describe_selection(now)
                self.tell(f"{split}: stored {stored}; the update stores {wanted}")
        for split in not_listed(self.listing, base) if self.whole else ():
            self.tell(f"{split}: stored, but not listed; the update removes it")
        splits = self.listing.splits.items()
        total = sum(len(samples) for split, samples in splits if split in base.document["splits"])
        with progress_bars("images") as add_bar:
            advance = add_bar("compare images", total)
            return plan_update(self.out, self.listing, self.settings, base, self.whole, self.workers.jobs, advance)


def unlearnt(index: Index) -> dict[str, list[str]]:
    """Return, by split, the names of the classes that it has and ``train`` lacks; nothing if there is no ``train``."""
    used = {split: {*labels.tolist()} for split, labels in index.labels.items()}
    if "train" not in used:
        return {}
    names = list(map(shown_name, index.document["classes"]))
    lost = {split: [names[label] for label in sorted(mine - used["train"])] for split, mine in used.items()}
    return {split: mine for split, mine in lost.items() if mine}


def index_in_place(out: Path) -> Index | None:
    """Return the index of a store to add to; None if there is none.

    Raises
    ------
    BuildError : the file cannot be added to.
    """
    if not out.exists():
        return None
    if kind_of(out) == "pack":
        raise BuildError(f"{out} is a packed store, which cannot be changed; choose another --out")
    try:
        return read_index(out)
    except StoreError as error:
        raise BuildError(f"{error}; remove {out} (its shards will be reused) or choose another --out") from None
