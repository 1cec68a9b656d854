"""Inputs, evaluation and seeds, on toy models."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lgcoamix.data import RunBatches
from lgcoamix.data.build import make_loaders
from lgcoamix.errors import RunError
from lgcoamix.evaluation.loop import evaluate
from lgcoamix.mixing import MIXERS, Batch
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.ops.normalise import make_statistics, no_normalisation, to_inputs, to_picture
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.settings.options import RunOptions
from lgcoamix.settings.report import silent
from lgcoamix.settings.sections import ComputeSettings, DataSettings, ModelSettings, Settings
from lgcoamix.training.epoch import Progress, train_one_epoch
from lgcoamix.training.run import make_step
from lgcoamix.training.state import TrainingState
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Waiting
from preprocess.store import Store
from tests.gpu.sync import steps_without_waiting
from tests.lgcoamix.toys import Toy

ALONE = Ranks(torch.device("cpu"))
MEAN, STD = make_statistics((0.5, 0.25, 0.1), (0.5, 0.25, 0.2))


def _batches(sizes: tuple[int, ...] = (4, 4, 3)) -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    return [
        Batch(
            torch.randint(256, (size, 3, 4, 4), generator=draw, dtype=torch.uint8),
            torch.randint(4, (size,), generator=draw),
        )
        for size in sizes
    ]


def _train(step: Step, batches: list[Batch], seen: list[int] | None = None, rate: float = 0.1) -> dict[str, float]:
    """One epoch over batches that a full order would give."""
    order = RunBatches(sum(len(batch.labels) for batch in batches), len(batches[0].labels), seed=0)
    for group in step.optimiser.param_groups:
        group["lr"] = rate
    progress = Progress(0, 0, Means(), Waiting(step.device))
    return train_one_epoch(step, batches, order, progress, ([] if seen is None else seen).append)


def test_bytes_become_numbers_between_0_and_1_or_normalised_ones():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert to_inputs(images, *no_normalisation()).flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert to_inputs(images, MEAN, STD).flatten().tolist() == pytest.approx([-1, -0.2, 4.5])
    assert to_inputs(images, torch.zeros_like(MEAN), STD).flatten().tolist() == pytest.approx([0, 0.8, 5])


def test_a_picture_is_what_went_in():
    images = _batches()[0].images
    back = to_picture(to_inputs(images, MEAN, STD), MEAN, STD)
    torch.testing.assert_close(back, images.permute(0, 2, 3, 1) / 255)


def test_evaluation_counts_every_sample_once_whatever_the_batches():
    batches, model = _batches(), Toy()
    found = evaluate(model, batches, (MEAN, STD), ALONE)
    images, labels = torch.cat([b.images for b in batches]), torch.cat([b.labels for b in batches])
    logits = model(to_inputs(images, MEAN, STD)).logits
    assert found["top1"] == pytest.approx(100 * int((logits.argmax(dim=1) == labels).sum()) / 11)
    assert found["loss"] == pytest.approx(float(F.cross_entropy(logits, labels).detach()), rel=1e-6)


def test_an_epoch_of_plain_training_is_stochastic_gradient_descent():
    batches, model, twin = _batches(), Toy(), Toy()
    optimiser = torch.optim.SGD(model.parameters(), 123.0, momentum=0.9)
    seen = []
    step = Step(model, MIXERS["none"](), optimiser, no_normalisation(), ALONE)
    row = _train(step, batches, seen)
    by_hand, losses = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9), []
    for batch in batches:
        loss = F.cross_entropy(twin(batch.images / 255).logits, batch.labels)
        by_hand.zero_grad()
        loss.backward()
        by_hand.step()
        losses.append(loss.item())
    for own, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own, theirs)
    assert seen == [4, 4, 3]
    assert row["loss"] == pytest.approx(sum(losses) / 3)
    assert row["mixed"] == 0


def test_the_network_trains_in_training_mode_whatever_mode_it_was_left_in():
    model, norm = Toy().eval(), nn.BatchNorm1d(3).eval()
    model.linear = nn.Sequential(norm, model.linear)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    _train(Step(model, MIXERS["none"](), optimiser, no_normalisation(), ALONE), _batches())
    assert norm.training
    assert int(norm.num_batches_tracked) == 3


def test_layers_that_draw_depend_on_the_seed_of_the_run_alone():
    def weights(seed: int, state: int, rank: int = 0) -> list[float]:
        model, ranks = Toy(), Ranks(torch.device("cpu"), rank)
        model.linear = nn.Sequential(nn.Dropout(0.5), model.linear)
        torch.manual_seed(state)
        step = Step(model, MIXERS["none"](), torch.optim.SGD(model.parameters(), 1.0), no_normalisation(), ranks, seed)
        _train(step, _batches())
        return model.linear[1].weight.flatten().tolist()

    assert weights(0, 1) == weights(0, 2)
    assert weights(0, 1) != weights(1, 1)
    assert weights(0, 1) != weights(0, 1, rank=1)


def test_a_batch_is_mixed_by_seed_epoch_step_rank_and_part_alone():
    batch = _batches((16,))[0]

    def images(seed: int, epoch: int, number: int, rank: int = 0, part: int = 0) -> torch.Tensor:
        model, ranks = Toy(), Ranks(torch.device("cpu"), rank)
        step = Step(model, MIXERS["mixup"](), torch.optim.SGD(model.parameters(), 1.0), (MEAN, STD), ranks, seed)
        normalised = step.normalise(batch)
        return step.mix(normalised, step.plan(normalised, epoch, number, part=part)).images

    first = images(0, 0, 0)
    assert torch.equal(first, images(0, 0, 0))
    places = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0, 1), (0, 0, 0, 0, 1), (0, 0, 0, 1, 1))
    found = [first, *(images(*place) for place in places)]
    assert not any(torch.equal(one, other) for place, one in enumerate(found) for other in found[:place])


def test_every_step_begins_with_the_statistics_of_the_first_rank():
    """A network that looks before it mixes must see the same on all ranks: after a resume, those of the first."""
    model, seen = Toy(), []
    norm = nn.BatchNorm1d(3)
    model.linear = nn.Sequential(norm, model.linear)

    class Second(Ranks):
        def follow_first(self, network: nn.Module) -> None:
            assert network is model
            seen.append(int(norm.num_batches_tracked))

    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    _train(Step(model, MIXERS["none"](), optimiser, no_normalisation(), Second(torch.device("cpu"))), _batches())
    assert seen == [0, 1, 2]


class FirstOfTwo(Ranks):
    """The first of two ranks, of which the second adds 0.5 to everything."""

    def total(self, values: torch.Tensor) -> torch.Tensor:
        return values + 0.5


def test_the_monitors_of_a_step_are_summed_over_the_ranks():
    model, ranks = Toy(), FirstOfTwo(torch.device("cpu"), 0, 2)
    step = Step(model, MIXERS["mixup"](), torch.optim.SGD(model.parameters(), 1.0), no_normalisation(), ranks)
    state = TrainingState(step, RunBatches(8, 4, 0, 0, 2), {})
    state.progress.lams += [(0, {"lam": torch.tensor(0.125)}), (1, {"lam": torch.tensor(0.25)})]
    assert state.take_lambdas() == [{"epoch": 0, "step": 0, "lam": 0.625}, {"epoch": 0, "step": 1, "lam": 0.75}]
    assert state.take_lambdas() == []


@pytest.mark.parametrize("maps", ["stored", "live"])
def test_the_seed_of_a_run_decides_weights_order_and_windows_each_by_itself(maps, flowers_store):
    store = Store(flowers_store)
    settings = Settings(data=DataSettings(image_size=32), model=ModelSettings("test_resnet", "none"))

    def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        options = RunOptions(Path("run"), "general", device="cpu", loader="streaming", maps=maps, workers=0, seed=seed)
        step = make_step(store, settings, options, ALONE, silent())
        loaders = make_loaders(store, settings, options, True, ALONE)
        assert step.seed == seed
        weights = torch.cat([value.detach().flatten() for value in step.network.parameters()]).numpy()
        order = np.array([place for batch in loaders.batches for _, place in batch])
        return weights, order, loaders.train.dataset.draw([(0, place) for place in range(8)]).uniforms

    for first, again, other in zip(drawn(0), drawn(0), drawn(1), strict=True):
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_a_loss_that_is_not_finite_ends_the_run_with_a_remedy():
    model = Toy()
    torch.nn.init.constant_(model.linear.bias, float("inf"))
    step = Step(model, MIXERS["none"](), torch.optim.SGD(model.parameters(), 1.0), no_normalisation(), ALONE)
    with pytest.raises(RunError, match=r"loss is (nan|inf) .*epoch 1; try a smaller --set optim.lr"):
        _train(step, _batches())


def test_seeds_differ_by_every_part_and_never_change():
    # A fixed value (BLAKE2b of "order/3/1"): a run of today must be replayed by the program of tomorrow.
    assert derive_seed("order", 3, 1) == 8740277635802554068
    seeds = [derive_seed(name, a, b) for name in ("order", "mix") for a in range(20) for b in range(20)]
    assert len(set(seeds)) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed("a", 1, 23) != derive_seed("a", 12, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", MIXERS)
def test_no_step_waits_for_the_gpu(name, extractor):
    mixer = MIXERS[name](**(extractor if name == "attentive_cutmix" else {}))
    assert steps_without_waiting(mixer, "resnet10t", torch.device("cuda"), ComputeSettings()) == 9
