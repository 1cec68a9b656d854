"""One thread for the small tensors of these tests: threads that wait for each other cost more than they compute."""

import pytest
import timm
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Options of Attentive CutMix, which looks with a network of its own: a small one, with random weights."""
    path = tmp_path_factory.mktemp("extractor") / "weights.pt"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        torch.save(timm.create_model("test_byobnet", num_classes=3).state_dict(), path)
    return {"extractor": "test_byobnet", "extractor_weights": str(path)}
