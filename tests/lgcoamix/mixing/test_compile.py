"""Mixing and loss of every method compile as one graph: nothing in them waits for the device."""

from dataclasses import replace

import pytest
import timm
import torch

from lgcoamix.mixing import MIXERS, Batch
from lgcoamix.models import LocalGlobalNet, LocalHead, Output

COUNT, N = 4, 3


WITH_SOFT_LABELS = MIXERS.keys() - {"snapmix", "lgcoamix"}
CASES = [(name, False) for name in MIXERS] + [(name, True) for name in sorted(WITH_SOFT_LABELS)]


@pytest.mark.parametrize(("name", "soft"), CASES, ids=lambda value: {True: "soft", False: "hard"}.get(value, value))
def test_mix_and_loss_compile_without_a_break(name, soft, extractor):
    torch.compiler.reset()
    draw = torch.Generator().manual_seed(0)
    maps = torch.randint(COUNT, (3, 6, 6), generator=draw).to(torch.uint8)
    batch = Batch(torch.rand(3, 3, 6, 6, generator=draw), torch.tensor([0, 1, 2]), maps, COUNT)
    if soft:
        batch = replace(batch, labels=torch.rand(3, N, generator=draw))
    mixer = MIXERS[name](**(extractor if name == "attentive_cutmix" else {}))
    network = timm.create_model("test_resnet", num_classes=N) if mixer.needs_model else None
    plan = mixer.draw(batch, torch.tensor([1, 2, 0]), draw, network)
    mixed = torch.compile(mixer.mix, fullgraph=True, backend="eager")(batch, plan)
    plain = mixer.mix(batch, plan)
    assert torch.equal(mixed.images, plain.images)
    assert torch.equal(mixed.weight_b, plain.weight_b)

    targets = torch.compile(mixed.soft_targets, fullgraph=True, backend="eager")(N)
    assert torch.equal(targets, plain.soft_targets(N))

    logits, local = torch.randn(3, N, generator=draw), None
    if plain.regions is not None:
        local = LocalHead(4, N)(torch.randn(3, 4, 6, 6, generator=draw), plain.regions, plain.count)
    output = Output(logits, local)
    terms = torch.compile(mixer.loss, fullgraph=True, backend="eager")(output, plain)
    for key, value in mixer.loss(output, plain).items():
        torch.testing.assert_close(terms[key], value)


@pytest.mark.parametrize("branch", ["none", "local", "mid"])
def test_the_network_compiles_without_a_break(branch):
    torch.compiler.reset()
    torch.manual_seed(0)
    network = LocalGlobalNet(
        "test_resnet", N, image_size=32, local=branch == "local", width=8, mid=branch == "mid"
    ).eval()
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 32, 32, generator=draw)
    given = (images, torch.randint(COUNT, (2, 32, 32), generator=draw), COUNT) if branch == "local" else (images,)
    output, expected = torch.compile(network, fullgraph=True, backend="eager")(*given), network(*given)
    torch.testing.assert_close(output.prediction, expected.prediction)
    if branch == "local":
        torch.testing.assert_close(output.local.embeddings, expected.local.embeddings)
