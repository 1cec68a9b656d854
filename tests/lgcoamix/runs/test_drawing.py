"""A plot is written with the numbers behind it."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from lgcoamix.runs.drawing import Plot, tiled_figure, write_plots

MAGIC = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.mark.parametrize("form", MAGIC)
def test_every_format_has_its_table_beside_it(form, tmp_path):
    plots = {"with": Plot(Figure(), [{"epoch": 1, "top-1": 2.5}, {"epoch": 2, "top-1": 3}]), "without": Plot(Figure())}
    write_plots(tmp_path, plots, form)
    assert {path.name for path in tmp_path.iterdir()} == {f"with.{form}", "with.csv", f"without.{form}"}
    assert (tmp_path / f"with.{form}").read_bytes().startswith(MAGIC[form])
    assert (tmp_path / "with.csv").read_bytes() == b"epoch,top-1\r\n1,2.5\r\n2,3\r\n"


@pytest.mark.parametrize("columns", [4, 6])
def test_texts_of_tiles_are_shortened_to_their_tile_and_the_figure_to_a_page(columns):
    texts = ["a_class_with_a_long_name_that_a_tile_cannot_hold\nshort"] * columns
    figure = tiled_figure([np.zeros((8, 8, 3), np.uint8)] * columns, texts, columns)
    assert 6.8 < figure.get_figwidth() <= 7
    shown = [text for text in figure.axes[0].texts if text.get_text()]
    assert len(shown) == columns
    for text in shown:
        first, second = text.get_text().split("\n")
        assert texts[0].startswith(first.removesuffix("…"))
        assert (first[-1], second) == ("…", "short")
        assert 0.8 < text.get_window_extent().width / figure.dpi / (7 / columns) <= 1


LONG = """
import resource
import numpy as np
from lgcoamix.runs.drawing import tiled_figure
from preprocess.inspect.drawing import rendered

figure = tiled_figure([np.zeros((224, 224, 3), np.uint8)] * 64, [""] * 64, 4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = rendered(figure)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, *np.frombuffer(data[16:24], ">u4"))
"""


def test_a_long_sheet_is_not_drawn_in_memory_at_once(run_warm):
    done = run_warm("-c", LONG)
    assert done.returncode == 0, done.stderr
    megabytes, width, height = map(int, done.stdout.split())
    assert (width, height > 8000) == (2100, True)  # 300 dots an inch
    assert megabytes < 400  # a picture of so many pixels takes 70; drawn as one image, it took 1,600
