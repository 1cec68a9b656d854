"""Explain single images by their superpixels, how they are mixed, and class activation; write a folder of it."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lgcoamix.data import RunBatches, SuperpixelDataset, View, make_loader
from lgcoamix.data.dataset import Draws
from lgcoamix.data.loader import worker_failures
from lgcoamix.data.windows import DRAWS
from lgcoamix.errors import SettingsError
from lgcoamix.evaluation.explain_plot import Example, Mixture, Regions, explained_figure
from lgcoamix.evaluation.loop import predictions
from lgcoamix.evaluation.metrics import true_probabilities
from lgcoamix.evaluation.subject import check_store, title_of
from lgcoamix.mixing import AttentiveCutMix, Mixed, Mixer, make_mixer
from lgcoamix.mixing.lgcoamix import LGCOAMix, top_regions
from lgcoamix.mixing.superpixels import SuperpixelPlan, paste_superpixels
from lgcoamix.models import LocalGlobalNet
from lgcoamix.models.statistics import statistics_of
from lgcoamix.ops.batch import Batch
from lgcoamix.ops.class_activation import is_flat
from lgcoamix.ops.device import pick_device
from lgcoamix.ops.grad_cam import METHODS, usable_method
from lgcoamix.ops.normalise import to_inputs, to_picture
from lgcoamix.ops.output import LocalOutput
from lgcoamix.ops.pooling import region_areas
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.runs.documents import checkpoint_file
from lgcoamix.runs.drawing import Plot, write_plots
from lgcoamix.runs.identity import LIVE
from lgcoamix.runs.load import Trained, make_network, read_trained
from lgcoamix.settings.options import ExplainOptions
from lgcoamix.settings.report import Start
from preprocess.files import write_whole
from preprocess.outputs import EXPLANATION, making
from preprocess.store import Store
from preprocess.text import listed, near, to_csv

_ROWS = 6  # images on a page
_SHARP = 384  # pixels of the longest side: smaller images are enlarged, for thin lines
_LARGEST = 640  # and larger ones reduced
_NAMED, _COMPARED = 2, 10_000  # similar keys in an error message; keys that are compared for it

Row = dict[str, object]


def explain_checkpoint(store: Store, options: ExplainOptions, start: Start) -> list[str]:
    """Explain images of a split, and write pages of pictures, and the numbers behind them, to the output folder.

    Parameters
    ----------
    store : open store with the classes of the checkpoint.
    options : checkpoint, split, images, output folder.
    start : called with a description and the number of images; returns a callback that counts finished images.

    Returns
    -------
    Lines about what is not shown, and what was written.

    Raises
    ------
    SettingsError : the split has no such image, or the device is missing.
    RunError : the checkpoint is unusable, does not match the store, or returns non-finite logits; the split is empty;
        the store is incomplete.
    """
    trained = read_trained(checkpoint_file(options.checkpoint))
    check_store(store, options.split, trained)
    places = find_images(store, options.split, options.keys)
    store, notes = _with_its_superpixels(store, trained)
    explainer = Explainer(store, options, trained)
    notes += [f"not shown: {what}: {why}" for what, why in explainer.absent.items()] + explainer.notes
    images, superpixels = [], []
    with making(options.out, EXPLANATION) as aside:
        if options.worst is not None:
            places = explainer.worst(options.worst, start)
        title, advance = title_of(store, options.split, trained), start("explaining", len(places))
        for number, first in enumerate(range(0, len(places), _ROWS), 1):
            examples = [explainer.explain(place) for place in places[first : first + _ROWS]]
            images += [_image_row(example) for example in examples]
            superpixels += [row for example in examples for row in _region_rows(example)]
            write_plots(aside, {f"page-{number:02d}": Plot(explained_figure(examples, title))}, options.plots)
            advance(len(examples))
        write_whole(aside / "images.csv", to_csv(images, end="\r\n").encode())
        if superpixels:
            write_whole(aside / "superpixels.csv", to_csv(superpixels, end="\r\n").encode())
    return notes


def find_images(store: Store, split: str, keys: tuple[str, ...]) -> list[int]:
    """Find the numbers of images in a split.

    Parameters
    ----------
    keys : each one key, or several separated by commas.

    Raises
    ------
    SettingsError : the split has no such image, or one is given twice.
    """
    if not keys:
        return []
    numbers = {key: number for number, key in enumerate(store.keys(split))}
    wanted = [key for text in keys for key in ([text] if text in numbers else text.split(","))]
    for key in wanted:
        if key not in numbers:
            raise SettingsError(f"{store.path} has no image {key!r} in split {split}; {_hint(store, split, key)}")
        if wanted.count(key) > 1:
            raise SettingsError(f"expected each image once, got {key!r} {wanted.count(key)} times")
    return [numbers[key] for key in wanted]


def _hint(store: Store, split: str, key: str) -> str:
    for other in store.splits:
        if other != split and key in store.keys(other):
            return f"it is in split {other}: pass --split {other}"
    names = store.keys(split)
    close = [name for name in names if key in name][:_NAMED] if key else []
    beside = [name for name in names if name.rpartition("/")[0] == key.rpartition("/")[0]]
    close = close or near(key, (beside or names)[:_COMPARED])
    return f"did you mean {' or '.join(close)}?" if close else f"keys are like {names[0]}"


def _with_its_superpixels(store: Store, trained: Trained) -> tuple[Store, list[str]]:
    """Open the superpixels that a run was trained on, and say so if the store has others."""
    name = (trained.config["store"].get("superpixels") or "").removesuffix(LIVE)
    if not name or name == store.superpixels.name or trained.settings.method == "none":
        return store, []
    if name in store.superpixel_sets:
        return Store(store.path, name), []
    found = listed(list(store.superpixel_sets))
    return store, [f"note: the run was trained on superpixels {name}, but {store.path} has {found}"]


class Explainer:
    """A trained network and a split, whose images are explained one by one: what is shown depends on no other image.

    Parameters
    ----------
    store : open store with the classes of the checkpoint.
    options : split, device, seed, loading.
    trained : checkpoint.

    Attributes
    ----------
    absent : what is not shown, and why.
    notes : lines about what is shown.
    """

    def __init__(self, store: Store, options: ExplainOptions, trained: Trained) -> None:
        self.store, self.options, self.settings = store, options, trained.settings
        self.device = pick_device(options.device)
        self.mixer: Mixer = make_mixer(self.settings.method, **asdict(self.settings.mixer))
        self.with_maps = self.mixer.needs_maps and store.has_maps(options.split)
        self.network: LocalGlobalNet = make_network(trained, trained.has_local and self.mixer.needs_local)
        self.network.to(self.device)
        self.statistics = statistics_of(self.settings, self.device)
        view = View(self.settings.data, train=False)
        self.dataset = SuperpixelDataset(store, options.split, view, maps=self.with_maps)
        self.keys, self.labels = store.keys(options.split), self.dataset.labels.numpy()
        self.scale = int(np.argmax([scale.weight for scale in store.scales]))  # the one that training draws most often
        self.cam = ""  # name of the method
        self.absent = dict(self._absent(trained))
        self.notes = []
        if self.mixer.needs_model and not self.mixer.needs_maps and not self._why_unmixed():
            pixels = f"the {self.settings.data.image_size} pixels of the input"
            self.notes = [f"note: {self.settings.method} mixes by a map of the network: its mixed image shows {pixels}"]

    def worst(self, count: int, start: Start) -> list[int]:
        """Find the images whose true class is least probable, the least first; ties in their order in the split."""
        plain = SuperpixelDataset(self.store, self.options.split, self.dataset.view, maps=False)
        batches = RunBatches(len(plain), self.options.batch_size or self.settings.optim.batch_size, None)
        loader = make_loader(plain, batches, self.options.workers, self.device.type == "cuda")
        advance, parts = start(f"{self.store.name} {self.options.split}", len(plain)), []
        with worker_failures():
            for logits, labels in predictions(self.network, loader, self.statistics, self.device):
                parts.append(true_probabilities(logits.cpu(), labels.cpu()))
                advance(len(labels))
        return torch.cat(parts).sort(stable=True).indices[:count].tolist()

    @torch.no_grad()
    def explain(self, place: int) -> Example:
        """Explain one image of the split, by its number."""
        generator = torch.Generator().manual_seed(derive_seed("explain", self.options.seed, place))
        partner = self._partner(place, generator)
        pair = self._inputs([place] if partner is None else [place, partner])
        output = self.network(pair.images[:1])
        logits = output.prediction.double().cpu()
        true_probabilities(logits, pair.labels[:1].cpu())  # finite
        probabilities, label = logits.softmax(dim=1)[0], int(self.labels[place])
        predicted = int(probabilities.argmax())
        image, ids, window = self._stored(place)
        mixture = None
        if partner is not None:
            mixture = self._mixture(place, partner, pair, generator)
        return Example(
            self.keys[place],
            self.store.classes[label],
            self.store.classes[predicted],
            float(probabilities[label]),
            float(probabilities[predicted]),
            image,
            window,
            None if ids is None else self._own_regions(ids, pair),
            mixture,
            self._activation(pair.images[:1], [label, predicted], window),
            self.cam,
        )

    def _absent(self, trained: Trained) -> Iterator[tuple[str, str]]:
        method, split = self.settings.method, self.options.split
        if not self.mixer.needs_local:
            yield "attention scores and λ by attention", f"the method {method} has no attention to superpixels"
        elif self.network.local_head is None:
            yield "attention scores and λ by attention", f"{trained.path} holds no local branch"
        elif not self.with_maps:
            yield "superpixels and their scores", f"split {split} of {self.store.path} has no superpixel maps"
        why = self._why_unmixed()
        if why:
            yield "the mixed image", why
        why = self._why_no_activation()
        if why:
            yield "class activation", why

    def _why_no_activation(self) -> str:
        """Choose how class activation is computed; if it cannot be, say why."""
        side = self.settings.data.image_size
        try:
            self.cam = usable_method(self.network, side, self.device)
        except ValueError as error:
            return str(error)
        return "" if self.cam else f"the last map of the network has a single cell at {side} pixels"

    def _why_unmixed(self) -> str:
        method, split = self.settings.method, self.options.split
        if not self.mixer.mix_prob:
            return f"this run does not mix ({method})"
        if isinstance(self.mixer, AttentiveCutMix):
            return "attentive_cutmix chooses cells with a network outside of the checkpoint"
        if self.mixer.needs_maps and not self.with_maps:
            return f"split {split} of {self.store.path} has no superpixel maps"
        if len(self.labels) < 2:
            return f"split {split} has a single image"
        return ""

    def _partner(self, place: int, generator: torch.Generator) -> int | None:
        """Draw an image of another class; of the same, if there is no other."""
        if "the mixed image" in self.absent:
            return None
        others = np.flatnonzero(self.labels != self.labels[place])
        others = others if len(others) else np.delete(np.arange(len(self.labels)), place)
        return int(others[int(torch.randint(len(others), (), generator=generator))])

    def _inputs(self, places: list[int]) -> Batch:
        """The images as the network takes them, with the maps of one scale."""
        n = len(places)
        draws = Draws(self.dataset.samples[places], np.full(n, self.scale), np.zeros((n, DRAWS)), np.zeros(n, np.int64))
        images, ids = self.dataset.shown(draws)
        tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).to(self.device)
        maps = None if ids is None else torch.from_numpy(np.asarray(ids)).to(self.device)
        labels = torch.from_numpy(self.labels[places]).to(self.device)
        return Batch(to_inputs(tensor, *self.statistics), labels, maps, self.dataset.count, statistics=self.statistics)

    def _stored(self, place: int) -> tuple[np.ndarray, np.ndarray | None, tuple[int, int, int, int]]:
        """The stored image and map, in the size in which they are drawn, and the window that the network saw."""
        image, ids = self.store.images(self.options.split, [place])[0], None
        if self.with_maps:
            ids = self.store.maps(self.options.split, self.store.scales[self.scale].segments, [place])[0]
        H, W = image.shape[:2]
        size = _drawn_size(H, W)
        top, left, height, width, _ = self.dataset.view.windows([(H, W)], np.zeros((1, DRAWS)))[0]
        edges = [round(edge * size[0] / H) for edge in (top, top + height)]
        sides = [round(edge * size[1] / W) for edge in (left, left + width)]
        window = edges[0], sides[0], edges[1] - edges[0], sides[1] - sides[0]
        return _resized(image, size), None if ids is None else _nearest(ids, size).astype(np.int64), window

    def _own_regions(self, ids: np.ndarray, pair: Batch) -> Regions:
        maps = pair.maps[:1].long()
        return self._regions(ids, maps, pair.count, self._local(pair.images[:1], maps, pair.count))

    def _local(self, images: Tensor, regions: Tensor, count: int) -> LocalOutput | None:
        return None if self.network.local_head is None else self.network(images, regions, count).local

    def _regions(
        self, ids: np.ndarray, regions: Tensor, count: int, local: LocalOutput | None, mixed: bool = False
    ) -> Regions:
        """What the network made of the regions of the first image of a batch."""
        areas = region_areas(regions, count)[0].cpu().double().numpy() / regions[0].numel()
        if local is None or not isinstance(self.mixer, LGCOAMix):
            return Regions(ids, areas)
        scores, kept = self.mixer.scores(local)[:1], None
        if mixed:
            index, which = top_regions(scores, local.areas[:1], self.mixer.top_ratio)
            kept = np.zeros(count, bool)
            kept[index[which].cpu().numpy()] = True
        return Regions(ids, areas, scores[0].sigmoid().cpu().double().numpy(), kept)

    def _mixture(self, place: int, partner: int, pair: Batch, generator: torch.Generator) -> Mixture:
        """Mix an image with its partner: as the network sees it, and on the stored pixels."""
        frames, ids = self._frames(place, partner)
        drawn = replace(pair, images=frames, maps=ids)
        # Which superpixels are pasted, and a draw that looks at no image, hold for images of any size. What SnapMix
        # pastes depends on the network: its picture shows the pixels of the input.
        on_stored = not (self.mixer.needs_maps or self.mixer.needs_model)
        order = torch.tensor([1, 0], device=self.device)
        plan = self.mixer.draw(drawn if on_stored else pair, order, generator, self.network)
        whole = on_stored or isinstance(plan, SuperpixelPlan)
        mixed = self.mixer.mix(drawn if on_stored else pair, plan)
        picture = self.mixer.mix(drawn, plan).images[0] if whole else None
        image = _picture(mixed, pair) if picture is None else picture.permute(1, 2, 0).cpu().numpy()
        weights = {"weight_a": float(mixed.weight_a[0]), "weight_b": float(mixed.weight_b[0])}
        if not plan.permutation[0]:  # Cutout
            return Mixture("", "", None, image, weights)
        label, b = self.store.classes[int(self.labels[partner])], frames[1].permute(1, 2, 0).cpu().numpy()
        shown = Mixture(self.keys[partner], label, b, image, weights)
        return shown if not isinstance(plan, SuperpixelPlan) else self._with_regions(shown, pair, drawn, plan)

    def _with_regions(self, shown: Mixture, pair: Batch, drawn: Batch, plan: SuperpixelPlan) -> Mixture:
        mixed, regions = paste_superpixels(pair, plan)
        ids = paste_superpixels(drawn, plan)[1][0].cpu().numpy()
        count = 2 * pair.count
        local = self._local(mixed.images, regions, count)
        weights = {"lambda_area": float(mixed.lam[0])}
        if local is not None and isinstance(self.mixer, LGCOAMix):
            weights["lambda_attention"] = float(self.mixer.attention(local, mixed)[0])
        found = self._regions(ids, regions, count, local, mixed=True)
        return replace(shown, weights=weights, selected=ids >= pair.count, regions=found)

    def _frames(self, place: int, partner: int) -> tuple[Tensor, Tensor | None]:
        """Stored pixels, and ids, of the windows of an image and of its partner, in the size of the first."""
        images, maps, size = [], [], (0, 0)
        for which in (place, partner):
            image, ids, (top, left, height, width) = self._stored(which)
            size = size if images else (height, width)
            part = np.s_[top : top + height, left : left + width]
            images.append(_resized(image[part], size))
            maps += [] if ids is None else [_nearest(ids[part], size)]
        frames = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self.device)
        return frames, torch.from_numpy(np.stack(maps)).to(self.device) if maps else None

    def _activation(self, images: Tensor, classes: list[int], window: tuple[int, int, int, int]) -> np.ndarray | None:
        if "class activation" in self.absent:
            return None
        both = images.expand(len(classes), -1, -1, -1)
        maps = METHODS[self.cam](self.network, both, torch.tensor(classes, device=self.device))
        maps = F.interpolate(maps[None].double(), size=window[2:], mode="bilinear", align_corners=False)[0]
        low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
        flat = is_flat(low, high)
        return torch.where(flat, torch.nan, (maps - low) / torch.where(flat, 1, high - low)).cpu().numpy()


def _image_row(example: Example) -> Row:
    row: Row = {
        "key": example.key,
        "label": example.label,
        "predicted": example.predicted,
        "probability": f"{example.probability:.6f}",
        "predicted_probability": f"{example.predicted_probability:.6f}",
    }
    if example.mixture is not None:
        row |= (
            {}
            if example.mixture.partner is None
            else {"partner": example.mixture.key, "partner_label": example.mixture.label}
        )
        row |= {name: f"{value:.6f}" for name, value in example.mixture.weights.items()}
    return row


def _region_rows(example: Example) -> Iterator[Row]:
    """One row for every region that the network saw: of the image alone, then of the mixed image."""
    if example.regions is not None:
        yield from _rows(example.key, "stored", example.regions, len(example.regions.areas))
    if example.mixture is not None and example.mixture.regions is not None:
        yield from _rows(example.key, "mixed", example.mixture.regions, len(example.mixture.regions.areas) // 2)


def _rows(key: str, image: str, regions: Regions, half: int) -> Iterator[Row]:
    for number in np.flatnonzero(regions.areas > 0).tolist():
        row: Row = {"key": key, "image": image, "source": "a" if number < half else "b", "id": number % half}
        row["area"] = f"{regions.areas[number]:.9g}"
        if regions.scores is not None:
            row["score"] = f"{regions.scores[number]:.9g}"
            row["kept"] = "" if regions.kept is None else int(regions.kept[number])
        yield row


def _picture(mixed: Mixed, batch: Batch) -> np.ndarray:
    values: Any = to_picture(mixed.images[:1], *batch.statistics)
    return (255 * values[0]).round().byte().cpu().numpy()


def _drawn_size(H: int, W: int) -> tuple[int, int]:
    longest = max(H, W)
    if longest > _LARGEST:
        return max(1, round(H * _LARGEST / longest)), max(1, round(W * _LARGEST / longest))
    factor = max(1, _SHARP // longest)
    return H * factor, W * factor


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Enlarge an image by repeating its pixels, or reduce it by averaging: (H, W, 3) uint8 arrays."""
    if image.shape[0] <= size[0] and image.shape[1] <= size[1]:
        return _nearest(image, size)
    values = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    values = F.interpolate(values, size=size, mode="bilinear", align_corners=False, antialias=True)
    return values[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def _nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Take the value at the centre of every new pixel."""
    rows, columns = ((2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, values.shape, strict=False))
    return np.ascontiguousarray(values[rows[:, None], columns])
