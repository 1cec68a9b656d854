"""What is trained: the cells of each study, their settings, and the order in which they run."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from lgcoamix.recipes import RECIPES
from lgcoamix.settings.sections import Settings, to_plain

RECIPE = "general"
SEEDS = (0, 1, 2)
WEIGHTS = "data/study/tf_efficientnet_lite0.pt"

Top1 = Callable[["Cell"], float | None]  # of a finished cell: last epoch on the split that chooses, in percent


@dataclass(frozen=True)
class Cell:
    """One training.

    Parameters
    ----------
    group : STUDY/VARIANT; cells of a group differ in their seed alone.
    seed : of the run.
    store : name in ``tests.study.stores.STORES``.
    superpixels : name of the maps.
    mixer : method.
    changes : how the settings differ from the recipe, as ``section.key=value``.
    maps : ``stored`` or ``live``.
    val_fraction : share of the training images that is held out.
    against : group of the cells with which a table pairs it, by seed; empty for none.
    """

    group: str
    seed: int
    store: str
    superpixels: str
    mixer: str
    changes: tuple[str, ...]
    maps: str = "stored"
    val_fraction: float = 0.0
    against: str = ""

    @property
    def name(self) -> str:
        """STUDY/VARIANT-sSEED, also the path of its folders."""
        return f"{self.group}-s{self.seed}"

    @property
    def study(self) -> str:
        """Name of its study."""
        return self.group.partition("/")[0]

    @property
    def settings(self) -> Settings:
        """All settings of the run."""
        return RECIPES[RECIPE].settings.with_method(self.mixer).with_assignments(self.changes)

    @property
    def options(self) -> tuple[str, ...]:
        """Options of train that decide the result."""
        words = ["--recipe", RECIPE, "--superpixels", self.superpixels, "--mixer", self.mixer, "--seed", str(self.seed)]
        words += ["--maps", self.maps, "--val-fraction", str(self.val_fraction)]
        return (*words, *(word for change in self.changes for word in ("--set", change)))

    @property
    def identity(self) -> dict[str, Any]:
        """The part of ``config.json`` that the list decides, for ``lgcoamix.runs.identity.compare_runs``."""
        live = ", live" if self.maps == "live" else ""
        return {
            "recipe": RECIPE,
            "settings": to_plain(self.settings),
            "seed": self.seed,
            "val_fraction": self.val_fraction,
            "store": {"name": self.store, "superpixels": self.superpixels + live},
            "digests": {},
        }


# A. Flowers from scratch, as make compare trains them, but at 32 pixels and for several lengths.
FLOWERS = ("model.backbone=resnet10t", "model.weights=none", "data.image_size=32", "optim.lr=0.02")
METHODS = ("none", "cutmix", "superpixel_grid", "lgcoamix")
LENGTHS = (14, 28, 56, 112)
LONG = LENGTHS[2:]
LONGEST = 224
GATE = 0.5  # share of mixed batches, for every method that mixes
MAPS = "slic-c10-30:40x4"

# B. Birds from ImageNet weights. Crops and test images as in the recipe for CUB, with 112 and 96 for 256 and 224.
BIRDS = (
    "model.backbone=tf_efficientnet_lite0",
    f"model.weights={WEIGHTS}",
    "data.image_size=96",
    "data.crop=random",
    "data.test=resize",
)
BIRD_MAPS = "slic-c10-41:54x4"  # 30 to 40 in a crop, times (112/96)²
RATES, EPOCHS = (0.003, 0.01, 0.03), (10, 20)  # every rate for the first, the best rate for the second
GATES, GAMMAS = (0.25, 0.5, 1.0), (0.0, 0.1)
GAMMA = 0.05  # the default, with which the gate is searched
HELD_OUT = 0.2  # of the training images, for the search
FIRST = ("none", "cutmix", "superpixel_grid", "snapmix", "lgcoamix")
LATER = ("occamix", "attentive_cutmix")
LOOKER = (
    "mixer.extractor=tf_efficientnet_lite0",
    f"mixer.extractor_weights={WEIGHTS}",
)

# C. What LGCOAMix is made of, at a length of A.
ABLATED = 56
PARTS: dict[str, dict[str, Any]] = {
    "lambda-area": {"changes": ("mixer.lam=area",)},
    "score-pre_norm": {"changes": ("mixer.score=pre_norm",)},
    "no-local-classification": {"changes": ("mixer.gamma_ce=0",)},
    "no-local-contrast": {"changes": ("mixer.gamma_con=0",)},
    "no-local-terms": {"changes": ("mixer.gamma_ce=0", "mixer.gamma_con=0")},
    "one-scale": {"superpixels": "slic-c10-35"},
    "live-maps": {"maps": "live"},
    "grid": {"superpixels": "grid-30:40x4"},
    "last-6-plain": {"changes": ("optim.plain_epochs=6",)},
}

# D. The last tenth of the epochs unmixed, where the ablation did not look; the best of nine parts is so by chance too.
ENDED_FLOWERS, ENDED_BIRDS = ("cutmix", "superpixel_grid"), ("snapmix", "lgcoamix")
ENDING = 0.1

# E. The parts that gained most in C, on seeds that did not choose them.
AGAIN = ("lambda-area", "one-scale", "last-6-plain")
NEW_SEEDS = (3, 4, 5)


def plan(top1: Top1) -> list[Cell]:
    """List all cells that are known by now, in the order in which they run.

    Parameters
    ----------
    top1 : accuracy of a finished cell, which decides the settings of later ones; None for one that is not finished.
    """
    searched, tuned = search(top1)
    length = [list(_length("length", seed, METHODS)) for seed in SEEDS]
    longest = [_flower("length", method, LONGEST, seed) for seed in SEEDS for method in ("none", "lgcoamix")]
    cells = [*length[0], *length[1], *length[2], *longest, *searched]
    if tuned:
        cells += [_bird(method, seed, *tuned) for seed in SEEDS for method in FIRST]
    cells += [_part(name, seed) for seed in SEEDS for name in PARTS]
    if tuned:
        cells += [_bird(method, seed, *tuned) for seed in SEEDS for method in LATER]
        cells += [_ended(cell) for seed in SEEDS for cell in _mixed_to_the_end(seed, *tuned)]
    cells += [cell for seed in NEW_SEEDS for cell in _again(seed)]
    best = _two_best(length, top1)
    if best:
        cells += [cell for seed in SEEDS for cell in _length("length-64", seed, ("none", *best))]
    return cells


def search(top1: Top1) -> tuple[list[Cell], tuple[Cell, Cell] | None]:
    """The cells of the search by now; and the best of plain training and of LGCOAMix, once known.

    Parameters
    ----------
    top1 : as for :func:`plan`.
    """
    plain = [_plain(rate, EPOCHS[0]) for rate in RATES]
    for epochs in EPOCHS[1:]:
        best = _best(plain, top1)
        if best is None:
            return plain, None
        plain.append(_plain(best.settings.optim.lr, epochs))
    best = _best(plain, top1)
    if best is None:
        return plain, None
    gates = [_local(best, gate, GAMMA) for gate in GATES]
    gate = _best(gates, top1)
    if gate is None:
        return [*plain, *gates], None
    gammas = [_local(best, gate.settings.mixer.mix_prob, gamma) for gamma in GAMMAS]
    mixing = _best([gate, *gammas], top1)
    return [*plain, *gates, *gammas], None if mixing is None else (best, mixing)


def _length(study: str, seed: int, methods: Iterable[str]) -> Iterator[Cell]:
    for epochs in LENGTHS:
        for method in methods:
            yield _flower(study, method, epochs, seed)


def _flower(study: str, method: str, epochs: int, seed: int, **others: Any) -> Cell:
    group = f"{study}/{method}-{epochs}"
    against = "" if method == "none" else f"{study}/none-{epochs}"
    size = ("data.image_size=64",) if study == "length-64" else ()
    changes = (*FLOWERS, *size, f"optim.epochs={epochs}", *_gate(method, GATE))
    return Cell(group, seed, "flowers17", MAPS, method, changes, against=against)


def _gate(method: str, gate: float) -> tuple[str, ...]:
    return () if method == "none" else (f"mixer.mix_prob={gate}",)


def _two_best(length: list[list[Cell]], top1: Top1) -> tuple[str, ...]:
    """The two methods that mix and are best over all seeds at the largest length; none while cells are missing."""
    found = [(cell, top1(cell)) for cells in length for cell in cells]
    if any(figure is None for _, figure in found):
        return ()
    sums = {
        method: sum(figure for cell, figure in found if cell.group == f"length/{method}-{LENGTHS[-1]}")
        for method in METHODS
        if method != "none"
    }
    return tuple(sorted(sums, key=lambda method: -sums[method])[:2])


def _best(cells: list[Cell], top1: Top1) -> Cell | None:
    """The best cell, the first of equals; None while one is missing."""
    figures = [top1(cell) for cell in cells]
    return None if None in figures else cells[figures.index(max(figures))]


def _searched(variant: str, mixer: str, changes: tuple[str, ...]) -> Cell:
    return Cell(f"search/{variant}", 0, "cub100-train", BIRD_MAPS, mixer, (*BIRDS, *changes), val_fraction=HELD_OUT)


def _plain(rate: float, epochs: int) -> Cell:
    return _searched(f"none-{rate}-{epochs}", "none", (f"optim.lr={rate}", f"optim.epochs={epochs}"))


def _local(plain: Cell, gate: float, gamma: float) -> Cell:
    rate = tuple(change for change in plain.changes if change.startswith("optim."))
    gammas = (f"mixer.gamma_ce={gamma}", f"mixer.gamma_con={gamma}")
    return _searched(f"lgcoamix-{gate}-{gamma}", "lgcoamix", (*rate, *_gate("lgcoamix", gate), *gammas))


def _bird(method: str, seed: int, plain: Cell, mixing: Cell) -> Cell:
    """A method with the rate and length of plain training, and the gate of LGCOAMix."""
    changes = plain.changes + _gate(method, mixing.settings.mixer.mix_prob)
    if method == "lgcoamix":
        changes = mixing.changes
    if method == "attentive_cutmix":
        changes += LOOKER
    against = "" if method == "none" else "birds/none"
    return Cell(f"birds/{method}", seed, "cub100", BIRD_MAPS, method, changes, against=against)


def _part(name: str, seed: int) -> Cell:
    """LGCOAMix with one part changed."""
    whole, part = _flower("length", "lgcoamix", ABLATED, seed), PARTS[name]
    return Cell(
        f"ablation/{name}",
        seed,
        whole.store,
        part.get("superpixels", whole.superpixels),
        whole.mixer,
        whole.changes + part.get("changes", ()),
        part.get("maps", "stored"),
        against=whole.group,
    )


def _mixed_to_the_end(seed: int, plain: Cell, mixing: Cell) -> Iterator[Cell]:
    for method in ENDED_FLOWERS:
        yield _flower("length", method, ABLATED, seed)
    for method in ENDED_BIRDS:
        yield _bird(method, seed, plain, mixing)


def _ended(whole: Cell) -> Cell:
    """A cell with its last epochs unmixed, against the same that mixes to the end."""
    plain = round(ENDING * whole.settings.optim.epochs)
    changes = (*whole.changes, f"optim.plain_epochs={plain}")
    return replace(whole, group=f"ending/{whole.group.replace('/', '-')}", changes=changes, against=whole.group)


def _again(seed: int) -> Iterator[Cell]:
    """Plain training, LGCOAMix, and LGCOAMix with each of the parts that gained."""
    yield replace(_flower("length", "none", ABLATED, seed), group="again/none")
    yield replace(_flower("length", "lgcoamix", ABLATED, seed), group="again/lgcoamix", against="again/none")
    for name in AGAIN:
        yield replace(_part(name, seed), group=f"again/{name}", against="again/lgcoamix")
