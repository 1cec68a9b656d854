"""Inputs, evaluation and seeds, on toy models."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lgcoamix.data import RunBatches
from lgcoamix.errors import RunError
from lgcoamix.evaluation.loop import evaluate
from lgcoamix.mixing import MIXERS, Batch
from lgcoamix.ops.distributed import Ranks
from lgcoamix.ops.means import Means
from lgcoamix.ops.normalise import make_statistics, no_normalisation, to_inputs, to_picture
from lgcoamix.ops.seeding import derive_seed
from lgcoamix.settings.sections import ComputeSettings
from lgcoamix.training.epoch import Progress, train_one_epoch
from lgcoamix.training.step import Step
from lgcoamix.training.throughput import Waiting
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


def test_layers_that_draw_depend_on_the_seed_of_the_run_alone():
    def weights(seed: int, state: int) -> list[float]:
        model = Toy()
        model.linear = nn.Sequential(nn.Dropout(0.5), model.linear)
        torch.manual_seed(state)
        step = Step(model, MIXERS["none"](), torch.optim.SGD(model.parameters(), 1.0), no_normalisation(), ALONE, seed)
        _train(step, _batches())
        return model.linear[1].weight.flatten().tolist()

    assert weights(0, 1) == weights(0, 2)
    assert weights(0, 1) != weights(1, 1)


def test_a_batch_is_mixed_by_seed_epoch_and_step_alone():
    batch = _batches((16,))[0]

    def images(seed: int, epoch: int, number: int) -> torch.Tensor:
        model = Toy()
        step = Step(model, MIXERS["mixup"](), torch.optim.SGD(model.parameters(), 1.0), (MEAN, STD), ALONE, seed)
        normalised = step.normalise(batch)
        return step.mix(normalised, step.plan(normalised, epoch, number)).images

    first = images(0, 0, 0)
    assert torch.equal(first, images(0, 0, 0))
    for other in (images(1, 0, 0), images(0, 1, 0), images(0, 0, 1)):
        assert not torch.equal(first, other)


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
