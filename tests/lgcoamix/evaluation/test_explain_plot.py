"""The figure of an explanation, of painted images: which columns it has, and the colours in its panels."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure

from lgcoamix.evaluation.explain_plot import Example, Mixture, Regions, explained_figure

LEFT = np.arange(100) < 50
HALVES = np.where(LEFT, 0, 1)[None].repeat(100, axis=0)  # two regions
ORANGE = (1.0, 0.55, 0.0)


def _plain(colour: int, H: int = 100, W: int = 100) -> np.ndarray:
    return np.full((H, W, 3), colour, np.uint8)


def _example() -> Example:
    own = Regions(HALVES, np.array([0.5, 0.5]), np.array([0.2, 0.6]))
    # The left half is of b, whose superpixel 0 is region 2 of the mixed image.
    ids = np.where(HALVES == 0, 2, 1)
    scores, kept = np.array([0.0, 1.0, 0.5, 0.0]), np.array([False, True, False, False])
    regions = Regions(ids, np.array([0, 0.5, 0.5, 0]), scores, kept)
    image = np.where(HALVES[..., None] == 0, 255, 0).astype(np.uint8).repeat(3, axis=2)
    weights = {"lambda_area": 0.5, "lambda_attention": 1 / 3}
    mixture = Mixture("test/b/1.png", "b", _plain(255), image, weights, HALVES == 0, regions)
    activation = np.stack([np.tile(np.linspace(0, 1, 100), (100, 1))] * 2)
    return Example("test/a/0.png", "a", "c", 0.25, 0.5, _plain(0), (0, 0, 100, 100), own, mixture, activation)


def _panels(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def _bold(figure: Figure) -> list[str]:
    """The names of the columns, the lower line of each first."""
    return [text.get_text() for text in figure.texts if text.get_weight() == "bold"]


def _shade(score: float) -> list[float]:
    """The colour of a score on black, on a scale from 0.2 to 1."""
    return pytest.approx(0.65 * np.array(colormaps["viridis"]((score - 0.2) / 0.8)[:3]))


def test_every_column_says_what_it_shows():
    texts = _texts(explained_figure([_example()], "run/best.pt"))
    heads = [
        "image a", "stored", "scores", "attention", "b", "partner", "image", "mixed", "when mixed", "scores",
        "true class", "CAM,", "predicted", "CAM,",
    ]  # fmt: skip
    assert _bold(explained_figure([_example()])) == heads
    assert {"a", "test/a/0.png", "b", "test/b/1.png", "c", "run/best.pt"} <= set(texts)
    assert {"2 superpixels", "s: 0.200 to 0.600", "1 of 2 kept", "s: 0.500 to 1.000"} <= set(texts)
    assert {"λ area 0.500", "λ attention 0.333", "probability 0.250", "probability 0.500"} <= set(texts)


def test_regions_have_the_colour_of_their_score_and_those_not_kept_are_pale():
    stored, scores, partner, mixed, kept = _panels(explained_figure([_example()]))[:5]
    assert np.array_equal(stored, _plain(0))
    assert scores[50, 20] == _shade(0.2)
    assert scores[50, 80] == _shade(0.6)
    assert partner[50, 20] == pytest.approx([1, 1, 1])
    assert partner[50, 80] == pytest.approx([0.95] * 3)  # white, paler still
    assert (mixed[50, 20], mixed[50, 80]) == (pytest.approx([1, 1, 1]), pytest.approx([0, 0, 0]))
    assert kept[50, 80] == _shade(1.0)
    assert kept[50, 20] == pytest.approx([0.95] * 3)
    for panel in (partner, mixed, kept):
        assert panel[50, 49] == pytest.approx(ORANGE)
        assert panel[50, 50] == pytest.approx(ORANGE)


def test_only_the_window_is_coloured_and_a_frame_shows_it():
    example = replace(_example(), window=(25, 25, 50, 50), activation=np.ones((2, 50, 50)))
    figure = explained_figure([example])
    _, scores, *_, cam, _ = _panels(figure)
    for panel in (scores, cam):
        assert panel[10, 10] == pytest.approx([0.65] * 3)  # black, paler
        assert np.ptp(panel[40, 40]) > 0.1
    (frame,) = figure.axes[0].patches
    assert (frame.get_xy(), frame.get_width(), frame.get_height()) == ((25, 25), 50, 50)
    assert not explained_figure([_example()]).axes[0].patches


def test_columns_that_no_image_has_are_left_out():
    right = replace(_example(), predicted="a")
    assert "predicted" not in _bold(explained_figure([right]))
    assert "predicted" in _bold(explained_figure([right, _example()]))
    plain = replace(right, regions=None, mixture=None)
    assert len(_panels(explained_figure([plain]))) == 2
    assert len(_panels(explained_figure([replace(plain, activation=None)]))) == 1
    bare = replace(right, regions=replace(right.regions, scores=None), mixture=None)
    assert "superpixels" in _bold(explained_figure([bare]))


def test_equal_scores_and_a_flat_map_are_drawn():
    flat = Regions(HALVES, np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    example = replace(_example(), regions=flat, mixture=None, activation=np.full((2, 100, 100), np.nan))
    figure = explained_figure([example])
    panels, label = _panels(figure), "CAM, from its lowest to its highest"
    assert [axis.get_xlabel() for axis in figure.axes[-2:]] == [
        "attention score s",
        f"{label}; pale: the same everywhere",
    ]
    assert explained_figure([_example()]).axes[-1].get_xlabel() == label
    middle = 0.65 * np.array(colormaps["viridis"](0.5)[:3])
    assert panels[1][50, 20] == pytest.approx(middle, abs=0.01)
    assert panels[2][50, 20] == pytest.approx([0.65] * 3)


@pytest.mark.parametrize("name", ["W" * 300, "the_long_name_of_an_ordinary_species_of_birds", "短" * 40])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_long_name_is_shortened_to_its_panel(name):
    figure = explained_figure([replace(_example(), label=name, key=f"test/{name}/0.png")])
    renderer = figure.canvas.get_renderer() if hasattr(figure.canvas, "get_renderer") else None
    shown = [text for text in figure.texts if "…" in text.get_text()]
    assert {text.get_text()[0] for text in shown} == {name[0], "…"}
    assert any(text.get_text().endswith("/0.png") for text in shown)
    for text in shown:
        assert text.get_window_extent(renderer).width <= 0.96 * figure.dpi
