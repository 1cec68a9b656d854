"""Plots for print: text stays text, no dates, 300 pixels per inch, colours that grey does not merge."""

import io
import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from preprocess.inspect.drawing import SCREEN, fitted, legend_above, new_figure, rendered, styled


@styled
def _figure():
    figure = new_figure(3, 2, "top-1 of $x")
    axis = figure.subplots()
    for number in range(3):
        axis.plot([0, 1], [number, number + 1], label=f"method {number}")
    legend_above(axis)
    return figure


def test_text_stays_text():
    svg = rendered(_figure(), "svg").decode()
    assert {"top-1 of $x", "method 2"} <= set(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    pdf = rendered(_figure(), "pdf")
    assert b"/FontFile2" in pdf  # TrueType, and not outlines of type 3
    assert b"/Type3" not in pdf


@pytest.mark.parametrize("form", ["png", "pdf", "svg"])
def test_the_same_numbers_give_the_same_bytes(form):
    data = rendered(_figure(), form)
    assert data == rendered(_figure(), form)
    assert b"Date" not in data


def test_png_is_for_print_or_for_a_screen():
    for dpi, wanted in ((None, 300), (SCREEN, 110)):
        with Image.open(io.BytesIO(rendered(_figure(), dpi=dpi))) as picture:
            assert picture.size == (3 * wanted, 2 * wanted)
            assert picture.info["dpi"] == pytest.approx((wanted, wanted), rel=1e-3)


def test_the_first_lines_differ_in_grey_and_in_their_dashes():
    lines = _figure().axes[0].lines
    weights = (0.299, 0.587, 0.114)  # of red, green and blue in a grey, ITU-R BT.601
    greys = sorted(float(np.dot(weights, to_rgb(line.get_color()))) for line in lines)
    assert np.diff(greys).min() > 0.15
    assert len({line.get_linestyle() for line in lines}) == 3


def test_the_legend_lies_above_the_data():
    figure = _figure()
    figure.draw_without_rendering()
    axis = figure.axes[0]
    legend, data = axis.get_legend().get_window_extent(), axis.get_window_extent()
    assert legend.y0 >= data.y1
    assert legend.y1 <= figure.bbox.y1


def test_a_program_that_draws_keeps_its_own_style():
    before = dict(mpl.rcParams)
    rendered(_figure())
    assert dict(mpl.rcParams) == before


def test_a_text_is_shortened_at_the_end_that_matters_less():
    name = "test/violet/" + "x" * 300 + "/7.jpg"
    assert fitted("7.jpg", 1) == "7.jpg"
    assert re.fullmatch(r"test/violet/x+…", fitted(name, 1))
    assert re.fullmatch(r"…x+/7\.jpg", fitted(name, 1, from_end=True))
    assert fitted("W" * 50, 0.01) == "…"
