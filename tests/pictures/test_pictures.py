"""The page has every picture that the product declares."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from preprocess import outputs
from preprocess.outputs import Kind
from tests.pictures import page
from tests.pictures.plan import STAGES, Look, Stage

BAR = Stage("bars", "lgcoamix draw --out {out}", Kind("a bar", b""), {"bar-": Look("draw_bar", "It is < 1.")})


@pytest.fixture
def picture(tmp_path, monkeypatch) -> page.Picture:
    """Of 4 by 1 inches."""
    monkeypatch.setattr("tests.pictures.plan.HOME", tmp_path)
    path = tmp_path / "bars" / "bar-01.png"
    path.parent.mkdir()
    Image.new("L", (1200, 300)).save(path, dpi=(300, 300))
    return page.Picture(path, BAR, BAR.looks["bar-"])


def test_every_function_that_draws_and_every_file_is_planned():
    planned = {look.drawn_by for stage in STAGES for look in stage.looks.values()}
    assert planned == page.drawing_functions()
    names = {(stage.kind.what, name) for stage in STAGES if stage.kind for name in stage.looks}
    assert page.declared_files() <= names


def test_names_of_pictures_are_those_of_the_outputs():
    assert page.declared_files([outputs.REPLAY, outputs.EXPLANATION, outputs.MODEL, outputs.SHEET]) == {
        ("a replay", "batch"), ("a replay", "sample"), ("an explanation", "page-"),
    }  # fmt: skip
    (evaluation,) = ({name for _, name in page.declared_files([outputs.EVALUATION])},)
    assert evaluation == {"confusion", "mistakes", "per_class", "reliability", "robustness"}


def test_a_function_that_draws_is_found_in_its_source(tmp_path):
    makers = ("def one(): return new_figure(1, 1)", "def two(): return one()", "def new_figure(): return Figure()")
    (tmp_path / "plots.py").write_text("\n".join(makers))
    assert page.drawing_functions([tmp_path]) == {"one"}


def test_what_is_missing_is_named(picture):
    files = [("a bar", "bar-"), ("a bar", "pie")]
    assert page.missing([picture], ["draw_bar"], files[:1]) == []
    assert page.missing([picture], ["draw_bar", "draw_pie"], files) == [
        "no picture was drawn by draw_pie", "no picture pie of a bar",
    ]  # fmt: skip


def test_a_picture_that_is_unknown_or_too_wide_is_named(picture):
    folder = picture.path.parent
    for name in ("pie.png", "bar.csv"):
        (folder / name).touch()
    Image.new("L", (2400, 300)).save(folder / "bar-02.png", dpi=(300, 300))
    shown, wrong = page.collect([BAR])
    assert [each.path.name for each in shown] == ["bar-01.png", "bar-02.png"]
    assert wrong == [
        f"{folder / 'bar-02.png'}: wider than a page, which would shrink its text",
        f"{folder / 'pie.png'}: tests/pictures/plan.py does not say what to look for",
    ]


def test_a_picture_has_the_width_at_which_it_is_used(picture):
    assert picture.width == pytest.approx(4 * 96, abs=0.1)  # as in print
    assert replace(picture, look=Look("", "", 360)).width == 360
    text = page.page([picture], picture.path.parent)
    assert '<img src="bar-01.png" style="width:384px"' in text
    assert "It is &lt; 1." in text
    assert "python -m lgcoamix draw --out" in text


def test_pictures_in_a_report_are_taken_out(tmp_path):
    html = tmp_path / "report.html"
    html.write_text('<img src="data:image/jpeg;base64,aGE=" alt="Contact sheet: 2 images"><img src="x.png" alt="x">')
    page.take_embedded(html)
    assert [path.name for path in Path(tmp_path).iterdir() if path.suffix != ".html"] == ["sheet0.jpg"]
    assert (tmp_path / "sheet0.jpg").read_bytes() == b"ha"
