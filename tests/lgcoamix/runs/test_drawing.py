"""A plot is written with the numbers behind it."""

import pytest
from matplotlib.figure import Figure

from lgcoamix.runs.drawing import Plot, write_plots

MAGIC = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


@pytest.mark.parametrize("form", MAGIC)
def test_every_format_has_its_table_beside_it(form, tmp_path):
    plots = {"with": Plot(Figure(), [{"epoch": 1, "top-1": 2.5}, {"epoch": 2, "top-1": 3}]), "without": Plot(Figure())}
    write_plots(tmp_path, plots, form)
    assert {path.name for path in tmp_path.iterdir()} == {f"with.{form}", "with.csv", f"without.{form}"}
    assert (tmp_path / f"with.{form}").read_bytes().startswith(MAGIC[form])
    assert (tmp_path / "with.csv").read_bytes() == b"epoch,top-1\r\n1,2.5\r\n2,3\r\n"
