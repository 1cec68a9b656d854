"""The contract that every method keeps."""

import copy
import functools
from dataclasses import fields, replace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from timm.loss import SoftTargetCrossEntropy
from torch.utils.data import DataLoader, default_collate

from lgcoamix.mixing import MIXERS, Batch, Mixed, Mixer, Plan, make_mixer
from lgcoamix.mixing.base import unmixed
from lgcoamix.models import LocalHead, Output
from lgcoamix.ops.batch import make_batch
from lgcoamix.settings.mixers import METHOD_OPTIONS
from tests.conftest import PROOF

COUNT, N = 6, 5
OPTIONS: dict[str, dict] = {}
WITH_GATE = [name for name in MIXERS if name != "none"]


@pytest.fixture(scope="module", autouse=True)
def _options(extractor: dict[str, object]) -> None:
    OPTIONS["attentive_cutmix"] = extractor


@functools.cache
def make(name: str, mix_prob: float) -> Mixer:
    """The method with a gate of a given probability."""
    return MIXERS[name]() if name == "none" else MIXERS[name](mix_prob=mix_prob, **OPTIONS.get(name, {}))


def always(name: str) -> Mixer:
    """The method with its gate open."""
    return make(name, 1.0)


@functools.cache
def network() -> torch.nn.Module:
    """A classifier that takes 8 x 8 pixels; its last map has one cell."""
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=N, output_stride=8)


def _batch(size: int = 4, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    maps = torch.randint(COUNT, (size, 8, 8), generator=draw).to(torch.uint8)
    maps[0, :2] = 255
    labels = torch.randint(N, (size,), generator=draw)
    return Batch(torch.rand(size, 3, 8, 8, generator=draw), labels, maps, COUNT)


def _mixed(name: str, batch: Batch, seed: int = 0) -> tuple[Plan, Mixed]:
    mixer = always(name)
    plan = mixer.plan(batch, torch.Generator().manual_seed(seed), network())
    if name == "none":  # the engine never calls its mix; the contract holds all the same
        plan = mixer.draw(batch, torch.arange(len(batch.labels)), torch.Generator(), None)
    return plan, mixer.mix(batch, plan)


def _output(mixed: Mixed) -> Output:
    draw = torch.Generator().manual_seed(3)
    logits = torch.randn(len(mixed.labels_a), N, generator=draw)
    if mixed.regions is None:
        return Output(logits)
    torch.manual_seed(0)
    return Output(logits, LocalHead(4, N)(torch.randn(len(logits), 4, 8, 8, generator=draw), mixed.regions, 2 * COUNT))


def _same(left: object, right: object) -> bool:
    pairs = [(getattr(left, field.name), getattr(right, field.name)) for field in fields(left)]
    return all(_equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def _bytes(batch: Batch) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in (batch.images, batch.labels, batch.maps)]


def _equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Equal, NaN where NaN."""
    return torch.equal(left, right) or torch.equal(left.nan_to_num(-7), right.nan_to_num(-7))


def test_every_method_has_its_options_on_the_command_line():
    assert MIXERS.keys() == METHOD_OPTIONS.keys()
    for name, mixer in MIXERS.items():
        assert issubclass(mixer, METHOD_OPTIONS[name])


@pytest.mark.parametrize("name", MIXERS)
def test_equal_generators_give_equal_plans_and_results(name):
    batch = _batch()
    first, second, other = _mixed(name, batch), _mixed(name, batch), _mixed(name, batch, seed=1)
    assert all(map(_same, first, second))
    assert name == "none" or not all(map(_same, first, other))


@pytest.mark.parametrize("name", MIXERS)
def test_global_random_state_is_neither_read_nor_moved(name):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = _mixed(name, _batch())[1]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    assert _same(_mixed(name, _batch())[1], first)


@pytest.mark.parametrize("name", MIXERS)
def test_inputs_stay_unchanged(name):
    batch = _batch()
    before = _bytes(batch)
    mixed = _mixed(name, batch)[1]
    always(name).loss(_output(mixed), mixed)
    generator = torch.Generator().manual_seed(0)
    always(name)(batch.images, batch.labels, batch.maps, generator=generator, count=COUNT, model=network())
    assert _bytes(batch) == before


@pytest.mark.parametrize("name", sorted(MIXERS.keys() - {"mixup", "snapmix", "cutout"}))
def test_every_pixel_is_that_of_a_or_of_b_at_the_same_place(name):
    batch = _batch()
    plan, mixed = _mixed(name, batch)
    from_a = (mixed.images == batch.images).all(dim=1)
    from_b = (mixed.images == batch.images[plan.permutation]).all(dim=1)
    assert bool((from_a | from_b).all())
    moved = plan.permutation != torch.arange(4)
    if name != "none":  # what is counted is what is pasted
        torch.testing.assert_close((~from_a).float().mean(dim=(1, 2))[moved], mixed.weight_b[moved])


def test_snapmix_leaves_what_is_outside_of_its_box_and_cutout_all_but_zeros():
    batch = _batch()
    plan, mixed = _mixed("snapmix", batch)
    top, bottom, left, right = plan.box_a.tolist()
    outside = torch.ones(8, 8, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(mixed.images[..., outside], batch.images[..., outside])
    mixed = _mixed("cutout", batch)[1]
    assert bool(((mixed.images == batch.images) | (mixed.images == 0)).all())


@pytest.mark.parametrize("name", MIXERS)
def test_the_identity_changes_no_label_and_few_methods_a_pixel(name):
    batch = _batch()
    plan = always(name).draw(batch, torch.arange(4), torch.Generator().manual_seed(0), network())
    mixed = always(name).mix(batch, plan)
    assert torch.equal(mixed.labels_a, batch.labels)
    assert torch.equal(mixed.labels_b, batch.labels)
    targets = mixed.soft_targets(N)
    assert torch.equal(targets.argmax(dim=1), batch.labels)
    assert bool(((targets > 0).sum(dim=1) == 1).all())
    if name not in ("cutout", "snapmix"):  # which blank, and resize
        torch.testing.assert_close(mixed.images, batch.images)


@pytest.mark.parametrize("seed", range(20 if PROOF else 3))
@pytest.mark.parametrize("name", MIXERS)
def test_weights_lie_between_0_and_1_and_sum_to_1_but_for_snapmix(name, seed):
    plan, mixed = _mixed(name, _batch(seed=seed), seed)
    assert sorted(plan.permutation.tolist()) == [0, 1, 2, 3]
    assert mixed.weight_a.shape == mixed.weight_b.shape == (4,)
    assert mixed.weight_a.dtype == mixed.weight_b.dtype == torch.float32
    assert bool(((mixed.weight_b >= 0) & (mixed.weight_b <= 1)).all())
    assert bool(((mixed.weight_a >= 0) & (mixed.weight_a <= 1)).all())
    if name != "snapmix":
        torch.testing.assert_close(mixed.weight_a + mixed.weight_b, torch.ones(4))
    assert torch.equal(mixed.labels_b, mixed.labels_a[plan.permutation])
    assert torch.equal(mixed.lam, mixed.weight_b)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", MIXERS)
def test_soft_targets_are_distributions_with_both_labels(name, smoothing):
    mixed = _mixed(name, _batch())[1]
    targets = mixed.soft_targets(N, smoothing)
    torch.testing.assert_close(targets.sum(dim=1), mixed.weight_a + mixed.weight_b)
    rows = zip(targets, mixed.labels_a, mixed.labels_b, mixed.weight_a.tolist(), mixed.weight_b.tolist(), strict=True)
    for row, a, b, weight_a, weight_b in rows:
        expected = [(weight_a + weight_b) * smoothing / N] * N
        expected[int(a)] += (1 - smoothing) * weight_a
        expected[int(b)] += (1 - smoothing) * weight_b
        assert row.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", MIXERS)
def test_every_loss_term_and_monitor_is_a_finite_scalar(name):
    mixed = _mixed(name, _batch())[1]
    mixer, output = always(name), _output(mixed)
    for key, value in (mixer.loss(output, mixed) | mixer.monitors(output, mixed)).items():
        assert value.shape == (), key
        assert torch.isfinite(value), key


@pytest.mark.parametrize("name", MIXERS)
def test_a_batch_of_one_is_not_mixed(name):
    batch = _batch(size=1)
    assert always(name).plan(batch, torch.Generator().manual_seed(0)) is None
    mixed = always(name)(batch.images, batch.labels, batch.maps, generator=torch.Generator(), count=COUNT)
    assert torch.equal(mixed.images, batch.images)
    assert mixed.weight_a.tolist() == [1]
    assert mixed.weight_b.tolist() == [0]
    assert mixed.regions is None


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64])
@pytest.mark.parametrize("name", MIXERS)
def test_the_integer_type_of_the_maps_does_not_matter(name, dtype):
    batch = _batch()
    maps = batch.maps.to(dtype)
    if dtype == torch.int64:
        maps[maps == 255] = -1  # another sentinel, the same meaning
    assert _same(_mixed(name, replace(batch, maps=maps))[1], _mixed(name, batch)[1])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int64])
@pytest.mark.parametrize("name", MIXERS)
def test_a_call_plans_and_mixes_with_the_bound_of_the_maps(name, dtype):
    batch = _batch()
    maps = batch.maps.clamp(max=COUNT - 1)
    expected = _mixed(name, replace(batch, maps=maps))[1]
    generator = torch.Generator().manual_seed(0)
    called = always(name)(batch.images, batch.labels, maps.to(dtype), generator=generator, model=network())
    assert _same(called, expected)


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", WITH_GATE)
def test_the_gate_opens_with_its_probability(name, chance, monkeypatch):
    draws = 10_000 if PROOF else 1000
    mixer, batch, generator = make(name, chance), _batch(size=2), torch.Generator().manual_seed(5)
    # The gate comes before the draws of the method, which may cost a forward pass.
    monkeypatch.setattr(type(mixer), "draw", lambda self, batch, permutation, *_: Plan(permutation))
    opened = sum(mixer.plan(batch, generator, network()) is not None for _ in range(draws))
    assert abs(opened - draws * chance) <= 4 * (draws * chance * (1 - chance)) ** 0.5


def test_the_plain_method_never_mixes():
    assert MIXERS["none"]().plan(_batch(), torch.Generator().manual_seed(0)) is None


@pytest.mark.parametrize("name", ["superpixel_grid", "occamix", "lgcoamix"])
def test_a_method_of_superpixels_says_that_it_needs_maps(name):
    batch = _batch()
    with pytest.raises(ValueError, match=r"(SuperpixelGrid|OcCaMix|LGCOAMix) needs maps: \(B, H, W\) superpixel ids"):
        always(name)(batch.images, batch.labels, generator=torch.Generator(), model=network())


@pytest.mark.parametrize("name", ["occamix", "snapmix"])
def test_a_method_that_looks_at_the_images_says_that_it_needs_the_network(name):
    batch = _batch()
    with pytest.raises(ValueError, match=r"(OcCaMix|SnapMix) needs model=, the network"):
        always(name)(batch.images, batch.labels, batch.maps, generator=torch.Generator())


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("training", [True, False])
def test_the_network_stays_as_it_was(name, training):
    model = network().train(training)
    model.layer1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    _mixed(name, _batch())
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    released = name == "snapmix" and training  # its pass in training mode, but for the norms that are frozen
    ran = ("running_mean", "running_var", "num_batches_tracked")
    assert moved == {key for key in before if released and key.endswith(ran) and not key.startswith("layer1.")}
    assert [part.training for part in model.modules()] == modes


@pytest.mark.parametrize("name", ["none", "cutout", "mixup", "cutmix", "attentive_cutmix", "snapmix"])
def test_methods_without_superpixels_need_no_maps(name):
    batch = _batch()
    mixed = always(name)(batch.images, batch.labels, generator=torch.Generator().manual_seed(0), model=network())
    assert mixed.regions is None


@pytest.mark.parametrize("name", MIXERS)
def test_an_unknown_option_is_refused(name):
    with pytest.raises(TypeError, match="select_probability"):
        MIXERS[name](select_probability=0.5)
    with pytest.raises(ValueError, match=f"{name} has no option 'select_probability'; "):
        make_mixer(name, select_probability=0.5)


MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


@pytest.mark.parametrize("name", MIXERS)
def test_bytes_with_statistics_are_mixed_as_normalised_images(name):
    draw = torch.Generator().manual_seed(8)
    whole, labels = torch.randint(256, (4, 3, 16, 16), generator=draw, dtype=torch.uint8), torch.arange(4)
    maps = torch.randint(COUNT, (4, 16, 16), generator=draw)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    normalised = (whole / 255 - mean) / std
    options = {"model": network(), "statistics": (MEAN, STD)}

    def mix(images: torch.Tensor) -> Mixed:
        return always(name)(images, labels, maps, generator=torch.Generator().manual_seed(0), **options)

    mixed, expected = mix(whole), mix(normalised)
    torch.testing.assert_close(mixed.weight_a, expected.weight_a)
    torch.testing.assert_close(mixed.weight_b, expected.weight_b)
    as_bytes = (expected.images * std + mean) * 255
    torch.testing.assert_close(mixed.images.float(), as_bytes, rtol=0, atol=0.51)
    mixup = always(name).as_timm(N, generator=torch.Generator().manual_seed(0), **options)
    assert torch.equal(mixup((whole, maps), labels)[0], mixed.images)


@pytest.mark.parametrize("name", ["snapmix", "occamix"])
def test_the_network_sees_normalised_images_as_they_are(name):
    batch, seen = _batch(), []
    model = copy.deepcopy(network())
    model.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    statistics = (torch.tensor(MEAN), torch.tensor(STD))
    always(name)(
        batch.images, batch.labels, batch.maps, generator=torch.Generator(), model=model, statistics=statistics
    )
    assert torch.equal(seen[0], batch.images)
    whole = (batch.images * 255).to(torch.uint8)
    always(name)(whole, batch.labels, batch.maps, generator=torch.Generator(), model=model, statistics=statistics)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    torch.testing.assert_close(seen[1], (whole / 255 - mean) / std)


def test_the_monitor_is_the_weight_of_the_pasted_label():
    one = torch.tensor([0.1, 0.3])
    mixed = Mixed(torch.zeros(2, 3, 4, 4), torch.arange(2), torch.arange(2), 1 - one, one)
    for mixer, name in (
        (MIXERS["cutmix"](), "lam_area"),
        (MIXERS["cutmix"](correct_lam=False), "lam"),  # the share that was drawn
        (MIXERS["snapmix"](), "lam"),  # a share of the class activation
        (MIXERS["mixup"](), "lam"),
    ):
        monitors = mixer.monitors(Output(torch.zeros(2, N)), mixed)
        assert {name: float(value) for name, value in monitors.items()} == {name: pytest.approx(0.2)}


def test_what_stands_for_no_superpixel_is_none_in_other_integers_either():
    images, labels, maps = torch.rand(2, 3, 8, 8), torch.arange(2), torch.zeros(2, 8, 8, dtype=torch.uint8)
    maps[:, :2] = 255  # as stored: padding
    mixer = MIXERS["superpixel_grid"](mix_prob=1, select_prob=1)
    assert mixer(images, labels, maps, generator=torch.Generator()).lam.tolist() == [0.75, 0.75]
    with pytest.raises(ValueError, match=r"largest id is 255, .*\(uint8 or uint16, got torch.int64\), or count=K_half"):
        mixer(images, labels, maps.long(), generator=torch.Generator())


WRONG = {
    "channels last": (
        {"images": torch.rand(4, 8, 8)},
        r"images must be \(B, C, H, W\), floating or uint8, got \(4, 8, 8\)",
    ),
    "integer images": ({"images": torch.zeros(4, 3, 8, 8, dtype=torch.int64)}, "floating or uint8, got .* int64"),
    "one label": (
        {"labels": torch.tensor([1])},
        r"labels must be \(4,\) integers, one per image, or \(4, N\) floating soft labels, got \(1,\)",
    ),
    "one-hot labels": ({"labels": torch.eye(4).long()}, r"labels must be \(4,\) integers"),
    "float labels": ({"labels": torch.rand(4)}, r"labels must be \(4,\) integers.* float32"),
    "maps with a channel": ({"maps": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)}, r"maps must be \(4, 8, 8\) integers"),
    "maps of another size": ({"maps": torch.zeros(4, 4, 4, dtype=torch.uint8)}, r"maps must be \(4, 8, 8\) integers"),
    "float maps": ({"maps": torch.zeros(4, 8, 8)}, r"maps must be \(4, 8, 8\) integers.* float32"),
    "no generator": ({"generator": None}, "generator must be a torch.Generator on the CPU.* got None"),
    "a seed": ({"generator": 7}, "generator must be a torch.Generator on the CPU.* got 7"),
    "two statistics": (
        {"statistics": ((0.1, 0.2), (1.0, 1.0))},
        r"\(mean, std\), each one number or 3, got",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("name", ["superpixel_grid", "lgcoamix"])
def test_what_does_not_fit_is_refused(name, change, message):
    batch = _batch()
    given = {"images": batch.images, "labels": batch.labels, "maps": batch.maps, "generator": torch.Generator()}
    given |= change
    with pytest.raises(ValueError, match=message):
        always(name)(given.pop("images"), given.pop("labels"), given.pop("maps"), **given)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_the_highest_value_of_an_unsigned_map_is_no_superpixel(dtype):
    batch = _batch()
    maps = batch.maps.long()
    maps[maps == 255] = torch.iinfo(dtype).max
    mixed = always("lgcoamix")(batch.images, batch.labels, maps.to(dtype), generator=torch.Generator().manual_seed(0))
    expected = _mixed("lgcoamix", batch)[1]
    assert _same(mixed, expected)


def test_maps_of_sentinels_alone_paste_nothing():
    batch = _batch()
    maps = torch.full((4, 8, 8), -1)
    mixed = always("lgcoamix")(batch.images, batch.labels, maps, generator=torch.Generator())
    assert torch.equal(mixed.images, batch.images)
    assert mixed.weight_b.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_integer_type_will_do(dtype):
    batch = _batch()
    mixed = always("cutmix")(batch.images, batch.labels.to(dtype), generator=torch.Generator())
    assert mixed.labels_a.dtype == torch.int64
    assert mixed.soft_targets(N).shape == (4, N)


def test_the_loop_of_timm_has_a_generator_of_its_own_from_the_seed_of_torch():
    batch = _batch()
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(always("cutmix").as_timm(N)(batch.images, batch.labels)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_a_loop_of_timm_is_refused_before_it_starts():
    with pytest.raises(ValueError, match="SnapMix needs model=, the network"):
        always("snapmix").as_timm(N)
    with pytest.raises(ValueError, match=r"smoothing must lie in \[0, 1\], got 2"):
        always("cutmix").as_timm(N, smoothing=2)
    with pytest.raises(ValueError, match="generator must be"):
        always("cutmix").as_timm(N, generator=5)
    for number in ("3", 0, -1, 2.0, True, None):
        with pytest.raises(ValueError, match=f"num_classes must be an integer of at least 1, got {number!r}"):
            always("cutmix").as_timm(number)
    for share in ("0.1", -0.1, None, True):
        with pytest.raises(ValueError, match=rf"smoothing must lie in \[0, 1\], got {share!r}"):
            always("cutmix").as_timm(N, share)


def test_soft_targets_are_refused_what_a_loop_of_timm_is():
    mixed = _mixed("cutmix", _batch())[1]
    assert mixed.soft_targets(np.int64(N), np.float32(0.5)).shape == (4, N)
    with pytest.raises(ValueError, match="num_classes must be an integer of at least 1, got '5'"):
        mixed.soft_targets("5")
    with pytest.raises(ValueError, match=r"smoothing must lie in \[0, 1\], got 2"):
        mixed.soft_targets(N, 2)


def test_a_typing_error_gets_a_suggestion():
    with pytest.raises(ValueError, match="cutmix has no option 'alpah'; did you mean alpha"):
        make_mixer("cutmix", alpah=0.5)
    with pytest.raises(ValueError, match="no mixer 'cutmx'; did you mean cutmix"):
        make_mixer("cutmx")
    assert make_mixer("cutmix", alpha=0.5) == MIXERS["cutmix"](alpha=0.5)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("mixup", "alpha", 0.0),
        ("mixup", "mix_prob", 1.5),
        ("cutout", "area", 1.5),
        ("cutout", "mix_prob", -0.5),
        ("cutout", "area", -0.1),
        ("snapmix", "mid", "false"),
        ("cutmix", "correct_lam", 1),
        ("lgcoamix", "exclude_self", "no"),
        ("superpixel_grid", "select_prob", 1.5),
        ("superpixel_grid", "mix_prob", float("inf")),
        ("attentive_cutmix", "top_cells", 50),
        ("attentive_cutmix", "top_cells", 0),
        ("attentive_cutmix", "top_cells", 6.5),
        ("occamix", "top_cells", 6.0),
        ("attentive_cutmix", "draw_cells", -1.0),
        ("attentive_cutmix", "mix_prob", 1.5),
        ("attentive_cutmix", "extractor_size", 0),
        ("attentive_cutmix", "extractor_weights", "none"),
        ("attentive_cutmix", "extractor_normalise", "imagenet"),
        ("snapmix", "beta", 0.0),
        ("snapmix", "mix_prob", 1.1),
        ("occamix", "top_cells", 0),
        ("occamix", "mix_prob", 2),
        ("cutmix", "alpha", -1.0),
        ("cutmix", "mix_prob", float("nan")),
        ("lgcoamix", "mix_prob", -0.1),
        ("lgcoamix", "select_prob", 2.0),
        ("lgcoamix", "top_ratio", 1.01),
        ("lgcoamix", "gamma_ce", -1.0),
        ("lgcoamix", "gamma_con", float("nan")),
        ("lgcoamix", "temperature", 0.0),
        ("lgcoamix", "base_temperature", 0.0),
        ("lgcoamix", "lam", "attentive"),
        ("lgcoamix", "score", "mean"),
        ("lgcoamix", "contrast_on", "features"),
    ],
)
def test_an_impossible_value_is_refused_by_name(name, option, value):
    with pytest.raises(ValueError, match=f"^{option} must"):
        MIXERS[name](**{option: value})


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", MIXERS)
def test_images_of_any_dtype_are_mixed_alike(name, dtype):
    whole = (_batch().images * 255).round() / (1 if dtype == torch.uint8 else 256)  # exact in every dtype but bfloat16
    batch = replace(_batch(), images=whole.to(dtype))
    scale = 255 if dtype == torch.uint8 else 1  # floating images are in [0, 1]
    mixed, expected = _mixed(name, batch)[1], _mixed(name, replace(batch, images=batch.images.float() / scale))[1]
    assert mixed.images.dtype == dtype
    step = {torch.uint8: 0.5, torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(dtype, 1e-6)
    torch.testing.assert_close(mixed.images.float(), expected.images * scale, rtol=0, atol=step + 1e-3 * (scale > 1))
    assert mixed.weight_b.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(mixed.weight_b.float(), expected.weight_b)


@pytest.mark.parametrize("name", MIXERS)
def test_the_memory_order_of_the_images_does_not_matter(name):
    batch = _batch()
    turned = replace(batch, images=batch.images.contiguous(memory_format=torch.channels_last))
    mixed, expected = _mixed(name, turned)[1], _mixed(name, batch)[1]
    torch.testing.assert_close(mixed.images, expected.images)
    torch.testing.assert_close(mixed.weight_b, expected.weight_b)
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("name", MIXERS)
def test_any_batch_of_two_or_more_is_mixed(name, size):
    plan, mixed = _mixed(name, _batch(size=size))
    assert len(mixed.images) == len(mixed.weight_b) == len(plan.permutation) == size


@pytest.mark.parametrize("count", [None, COUNT + 2])
@pytest.mark.parametrize("name", MIXERS)
def test_a_loop_of_timm_gets_images_and_soft_targets(name, count):
    batch, mixer = _batch(), always(name)
    options = {"count": count, "model": network()}
    mixup = mixer.as_timm(N, smoothing=0.1, generator=torch.Generator().manual_seed(4), **options)
    generator = torch.Generator().manual_seed(4)
    for pair in ((batch.images, batch.maps), [batch.images, batch.maps]):  # collate functions make both
        images, targets = mixup(pair, batch.labels)
        expected = mixer(batch.images, batch.labels, batch.maps, generator=generator, **options)
        assert torch.equal(images, expected.images)
        assert torch.equal(targets, expected.soft_targets(N, 0.1))
    assert torch.isfinite(SoftTargetCrossEntropy()(network()(images), targets))


@pytest.mark.parametrize("name", [name for name in MIXERS if not MIXERS[name].needs_maps])
def test_a_loop_of_timm_passes_maps_or_none_to_a_method_that_ignores_them(name):
    batch, given = _batch(), []
    for images in (batch.images, (batch.images, batch.maps), (batch.images, None)):
        generator = torch.Generator().manual_seed(4)
        given.append(always(name).as_timm(N, generator=generator, count=0, model=network())(images, batch.labels))
    for images, targets in given[1:]:
        assert torch.equal(images, given[0][0])
        assert torch.equal(targets, given[0][1])


@pytest.mark.parametrize("name", ["superpixel_grid", "occamix", "lgcoamix"])
def test_a_loop_without_maps_is_told_what_to_pass(name):
    batch = _batch()
    mixup = always(name).as_timm(N, generator=torch.Generator(), model=network())
    for images in (batch.images, (batch.images, None)):
        with pytest.raises(ValueError, match=r"needs maps: .*; pass mixup\(\(images, maps\), labels\)"):
            mixup(images, batch.labels)


@pytest.mark.parametrize("name", ["cutmix", "superpixel_grid"])
@pytest.mark.parametrize("kind", [tuple, list])
def test_a_loop_that_passes_all_of_a_sample_is_told_what_to_pass(name, kind):
    batch = _batch()
    mixup = always(name).as_timm(N, generator=torch.Generator())
    message = rf"expected images, or a pair as mixup\(\(images, maps\), labels\), got a {kind.__name__} of 3"
    with pytest.raises(ValueError, match=message):
        mixup(kind(_tensors(batch)), batch.labels)


@pytest.mark.parametrize("name", MIXERS)
def test_a_loop_in_the_manner_of_timms_script_trains_with_any_method(name):
    batch = _batch(size=6)
    samples = [((image, ids), int(label)) for image, ids, label in zip(*_tensors(batch), strict=True)]
    loader = torch.utils.data.DataLoader(samples, batch_size=2)
    model = copy.deepcopy(network()).train()
    optimiser, loss_fn = torch.optim.SGD(model.parameters(), lr=0.01), SoftTargetCrossEntropy()
    mixup_fn = always(name).as_timm(N, 0.1, generator=torch.Generator().manual_seed(0), count=COUNT, model=model)
    peer = timm.data.Mixup(label_smoothing=0.1, num_classes=N)
    for epoch in range(2):
        if epoch == 1:  # --mixup-off-epoch 1
            mixup_fn.mixup_enabled = peer.mixup_enabled = False
        for pair, target in loader:
            inputs, targets = mixup_fn(pair, target)
            theirs = peer(pair[0].clone(), target)[1]
            assert (targets.shape, targets.dtype) == (theirs.shape, theirs.dtype)
            if epoch == 1:
                assert torch.equal(inputs, pair[0])
                torch.testing.assert_close(targets, theirs)
            loss = loss_fn(model(inputs), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            assert torch.isfinite(loss)
    with torch.no_grad():
        assert torch.isfinite(torch.nn.functional.cross_entropy(model.eval()(batch.images), batch.labels))


def _tensors(batch: Batch) -> tuple[torch.Tensor, ...]:
    return batch.images, batch.maps, batch.labels


def test_a_loop_of_timm_draws_nothing_while_it_is_off():
    batch, generator = _batch(), torch.Generator().manual_seed(4)
    mixup = always("cutmix").as_timm(N, generator=generator)
    before = generator.get_state()
    mixup.mixup_enabled = False
    assert torch.equal(mixup(batch.images, batch.labels)[1], torch.nn.functional.one_hot(batch.labels, N).float())
    assert torch.equal(generator.get_state(), before)
    mixup.mixup_enabled = True
    assert not torch.equal(mixup(batch.images, batch.labels)[0], batch.images)


def test_a_copied_mixup_function_draws_as_the_first():
    batch = _batch()
    mixup = always("cutmix").as_timm(N, generator=torch.Generator().manual_seed(4))
    copied = copy.deepcopy(mixup)
    assert torch.equal(copied(batch.images, batch.labels)[0], mixup(batch.images, batch.labels)[0])


@pytest.mark.parametrize("labels", [[0, 1, 2, N], [0, -1, 2, 3]])
@pytest.mark.parametrize("name", MIXERS)
def test_a_label_beyond_the_classes_is_refused(name, labels):
    batch, number = _batch(), N if N in labels else -1
    mixup = always(name).as_timm(N, generator=torch.Generator(), count=COUNT, model=network())
    with pytest.raises(ValueError, match=rf"labels must lie in \[0, {N}\), the number of classes, got {number}"):
        mixup((batch.images, batch.maps), torch.tensor(labels))


WITH_SOFT_LABELS = [name for name in MIXERS if name not in ("snapmix", "lgcoamix")]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", WITH_SOFT_LABELS)
def test_one_hot_soft_labels_give_what_class_numbers_give_bit_for_bit(name, dtype):
    batch = _batch()
    options = {"count": COUNT, "model": network()}

    def mix(labels: torch.Tensor) -> Mixed:
        generator = torch.Generator().manual_seed(0)
        return always(name)(batch.images, labels, batch.maps, generator=generator, **options)

    hard, soft = mix(batch.labels), mix(torch.nn.functional.one_hot(batch.labels, N).to(dtype))
    assert soft.labels_a.shape == soft.labels_b.shape == (4, N)
    assert soft.labels_a.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(soft.images, hard.images)
    assert torch.equal(soft.soft_targets(N, 0.1), hard.soft_targets(N, 0.1))
    gradients = []
    for mixed in (hard, soft):
        output = _output(mixed)
        logits = output.logits.requires_grad_()
        loss = always(name).loss(Output(logits), mixed)["global"]
        gradients.append((loss, *torch.autograd.grad(loss, logits)))
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", WITH_SOFT_LABELS)
def test_soft_labels_are_combined_by_the_weights_of_the_images(name, smoothing):
    batch = _batch()
    labels = torch.rand(4, N, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    generator = torch.Generator().manual_seed(0)
    mixed = always(name)(batch.images, labels, batch.maps, generator=generator, count=COUNT, model=network())
    plan, _ = _mixed(name, batch)
    for row, other in enumerate(plan.permutation.tolist()):
        a, b = float(mixed.weight_a[row]), float(mixed.weight_b[row])
        expected = [
            (1 - smoothing) * (a * own + b * pasted) + smoothing / N
            for own, pasted in zip(labels[row].tolist(), labels[other].tolist(), strict=True)
        ]
        assert mixed.soft_targets(N, smoothing)[row].tolist() == pytest.approx(expected, abs=1e-6)
    output = _output(mixed)
    expected = torch.nn.functional.cross_entropy(output.logits, mixed.soft_targets(N))
    torch.testing.assert_close(always(name).loss(output, mixed)["global"], expected)


@pytest.mark.parametrize("mix_prob", [0.0, 1.0])
@pytest.mark.parametrize("name", ["snapmix", "lgcoamix"])
def test_a_method_that_needs_class_numbers_refuses_soft_labels_before_it_draws(name, mix_prob):
    batch, generator = _batch(), torch.Generator().manual_seed(0)
    before, message = generator.get_state(), r"(SnapMix|LGCOAMix) needs class numbers.* got soft labels \(4, 5\)"
    labels = torch.rand(4, N).softmax(dim=1)
    with pytest.raises(ValueError, match=message + r" float32; pass labels.argmax\(1\)"):
        make(name, mix_prob)(batch.images, labels, batch.maps, generator=generator, model=network())
    assert torch.equal(generator.get_state(), before)


def test_snapmix_in_a_loop_of_timm_refuses_soft_labels():
    mixup = always("snapmix").as_timm(N, generator=torch.Generator(), model=network())
    with pytest.raises(ValueError, match="SnapMix needs class numbers"):
        mixup(_batch().images, torch.rand(4, N).softmax(dim=1))


def test_lgcoamix_without_local_terms_takes_soft_labels_and_weights_them_by_area():
    batch, results = _batch(), []
    labels = torch.rand(4, N, generator=torch.Generator().manual_seed(1)).softmax(dim=1)
    for name in ("lgcoamix", "superpixel_grid"):  # equal but for the local branch
        mixup = always(name).as_timm(N, generator=torch.Generator().manual_seed(2))
        results.append(mixup((batch.images, batch.maps), labels))
    assert all(map(torch.equal, *results))


def test_the_local_losses_refuse_soft_labels():
    mixed = _mixed("lgcoamix", _batch())[1]
    soft = replace(mixed, labels_a=torch.rand(4, N), labels_b=torch.rand(4, N))
    with pytest.raises(ValueError, match="LGCOAMix needs class numbers"):
        always("lgcoamix").loss(_output(mixed), soft)


def test_soft_labels_of_other_classes_are_refused():
    mixup = always("cutmix").as_timm(N, generator=torch.Generator())
    with pytest.raises(ValueError, match="num_classes is 5, but the soft labels have 7 classes"):
        mixup(_batch().images, torch.rand(4, 7).softmax(dim=1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("name", MIXERS)
def test_a_gpu_mixes_what_the_cpu_mixes(name, dtype):
    batch = _batch()
    batch = replace(batch, images=(batch.images * (255 if dtype == torch.uint8 else 1)).to(dtype))
    expected_plan, expected = _mixed(name, batch)
    plan, mixed = _mixed_on(name, batch.to(torch.device("cuda")))
    assert mixed.images.device.type == "cuda"
    assert torch.equal(plan.permutation.cpu(), expected_plan.permutation)
    tolerance = 1 if dtype == torch.uint8 else 2e-2
    torch.testing.assert_close(mixed.images.cpu().float(), expected.images.float(), rtol=0, atol=tolerance)
    torch.testing.assert_close(mixed.weight_b.cpu(), expected.weight_b, rtol=0, atol=1e-2)
    loss = sum(always(name).loss(_output_on(mixed), mixed).values())
    assert torch.isfinite(loss)


def _mixed_on(name: str, batch: Batch) -> tuple[Plan, Mixed]:
    model = copy.deepcopy(network()).to(batch.labels.device)
    plan = always(name).plan(batch, torch.Generator().manual_seed(0), model)
    if name == "none":
        plan = Plan(torch.arange(len(batch.labels), device=batch.labels.device))
    return plan, always(name).mix(batch, plan)


def _output_on(mixed: Mixed) -> Output:
    device = mixed.images.device
    logits = torch.randn(len(mixed.labels_a), N, device=device)
    if mixed.regions is None:
        return Output(logits)
    head = LocalHead(4, N).to(device)
    return Output(logits, head(torch.randn(len(logits), 4, 8, 8, device=device), mixed.regions, 2 * COUNT))


@pytest.mark.parametrize("name", [name for name in MIXERS if name != "lgcoamix"])
def test_the_loss_takes_the_logits_of_any_network(name):
    batch = make_batch(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]))
    mixed, logits, mixer = unmixed(batch), torch.randn(4, 3), make_mixer(name)
    expected = F.cross_entropy(logits, batch.labels)
    assert mixer.loss(logits, mixed).keys() == {"global"}
    torch.testing.assert_close(mixer.loss(logits, mixed)["global"], expected)


def test_lgcoamix_says_what_it_needs_instead_of_logits():
    maps, generator = torch.arange(64).reshape(1, 8, 8).repeat(4, 1, 1) // 8, torch.Generator().manual_seed(0)
    mixed = always("lgcoamix")(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0]), maps, generator=generator)
    with pytest.raises(ValueError, match=r"got that for no regions; call model\(.*\) of a LocalGlobalNet"):
        make_mixer("lgcoamix").loss(torch.randn(4, 3), mixed)


class Numbered(torch.utils.data.Dataset):
    def __len__(self):
        return 32

    def __getitem__(self, index):
        return torch.full((3, 8, 8), float(index)), index % 4


@pytest.mark.parametrize("own", [False, True])
def test_every_loading_process_and_epoch_mixes_with_draws_of_its_own(own):
    mixup = always("mixup").as_timm(4, generator=torch.Generator().manual_seed(3) if own else None)
    collate = lambda samples: mixup(*default_collate(samples))  # noqa: E731
    loader = DataLoader(Numbered(), batch_size=8, num_workers=2, collate_fn=collate, multiprocessing_context="fork")

    def weights() -> list[float]:
        return [round(float(targets.max(dim=1).values.min()), 6) for _ in range(2) for _, targets in loader]

    torch.manual_seed(0)
    found = weights()
    assert len(set(found)) == 8
    torch.manual_seed(0)
    assert weights() == found


def test_the_seed_of_a_generator_counts_in_a_loading_process():
    def weights(seed: int) -> list[float]:
        mixup = always("mixup").as_timm(4, generator=torch.Generator().manual_seed(seed))
        collate = lambda samples: mixup(*default_collate(samples))  # noqa: E731
        loader = DataLoader(Numbered(), batch_size=8, num_workers=1, collate_fn=collate, multiprocessing_context="fork")
        torch.manual_seed(0)  # decides the seed of the worker, which is the same for both
        return [float(targets.max(dim=1).values.min()) for _, targets in loader]

    assert not {*weights(3)} & {*weights(4)}


def test_smoothing_spreads_a_share_of_weights_that_do_not_sum_to_1():
    """SnapMix: 0.5 and 0.2; of both, a tenth goes to all four classes."""
    images, labels = torch.zeros(1, 3, 2, 2), torch.tensor([0])
    mixed = Mixed(images, labels, torch.tensor([2]), torch.tensor([0.5]), torch.tensor([0.2]))
    rest = 0.1 * 0.7 / 4
    assert mixed.soft_targets(4, 0.1)[0].tolist() == pytest.approx([0.45 + rest, rest, 0.18 + rest, rest])


IMAGES, LABELS = torch.rand(4, 3, 8, 8), torch.arange(4)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (torch.zeros(5, 4), r"logits must be \(4, N\), one row per image, got \(5, 4\) float32"),
        (torch.zeros(3, 4), r"got \(3, 4\) float32"),
        (torch.zeros(4), r"got \(4,\) float32"),
        (torch.zeros(4, 4, 1, 1), r"got \(4, 4, 1, 1\) float32"),
        (
            (torch.zeros(4, 4), IMAGES),
            "expected logits, a .* tensor, or what a LocalGlobalNet returns, got tuple; pass",
        ),
        ({"logits": torch.zeros(4, 4)}, "got dict; pass the logits in it"),
    ],
)
def test_what_is_no_row_of_logits_for_each_image_is_refused(output, message):
    mixed = always("cutmix")(IMAGES, LABELS, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        always("cutmix").loss(output, mixed)


def test_a_generator_in_the_place_of_a_draw_of_the_gate_is_refused():
    shared, own = torch.Generator(), torch.Generator()
    with pytest.raises(ValueError, match=r"is_open must be True or False, as mixer\.gate\(shared\) returns, got <"):
        make_mixer("cutmix")(IMAGES, LABELS, generator=own, is_open=shared)
    with pytest.raises(ValueError, match=r"generator must be a torch\.Generator on the CPU.*got None"):
        make_mixer("cutmix").gate(None)
    for is_open in (True, np.bool_(True), torch.tensor(True)):
        mixed = make_mixer("cutmix")(IMAGES, LABELS, generator=own.manual_seed(0), is_open=is_open)
        assert not torch.equal(mixed.images, IMAGES)


@pytest.mark.parametrize("label", [-1, 4])
def test_snapmix_names_a_label_that_the_classifier_lacks(label):
    model = timm.create_model("test_resnet", num_classes=4)
    with pytest.raises(ValueError, match=rf"labels must lie in \[0, 4\), the number of classes, got {label}"):
        always("snapmix")(
            torch.rand(2, 3, 32, 32), torch.tensor([0, label]), generator=torch.Generator().manual_seed(0), model=model
        )
