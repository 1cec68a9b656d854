"""``report``: one page about a store."""

import json
import os
import re
import shutil
import subprocess
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from preprocess.build.plan import make_plan
from preprocess.build.run import build
from preprocess.datasets import DATASETS
from preprocess.inspect.report.gather import StoreReport, gather
from preprocess.inspect.report.plots import spread_address
from preprocess.store import Store
from preprocess.store.shard import Shard
from preprocess.superpixels import ALGORITHMS
from tests.conftest import PROOF
from tests.preprocess.conftest import SMALL, build_command, build_here, flip, here, open_plain, shard_files

GRID = replace(SMALL, algorithm="grid", compactness=None)
BROWSER = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Page(HTMLParser):
    """A page as its reader meets it.

    Attributes
    ----------
    rows : the texts of the cells of every row of every table.
    text : everything that is shown.
    addresses : values of all attributes that a browser may fetch or go to.
    tags : names of all elements.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.raw = path.read_text("utf-8")
        self.rows: list[list[str]] = []
        self.text = ""
        self.addresses: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.tags: set[str] = set()
        self._hidden = False
        self.feed(self.raw)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._hidden = tag == "style"
        fetched = ("src", "href", "srcset", "action", "data", "poster", "xlink:href", "background")
        self.addresses += [value for name, value in attributes if name in fetched]
        if tag == "img":
            self.pictures.append(dict(attributes))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self.text += data
        if self.rows and self.rows[-1] and self.get_starttag_text().startswith(("<td", "<th")):
            self.rows[-1][-1] += data.strip()


def report(store: Path | Store, out: Path, *options: str, drawn: bool = False) -> tuple[Page, Result]:
    """Make a page, which must succeed; plots are drawn on demand only, and sheets laid out: both take a second."""
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            patch.setattr("preprocess.inspect.report.plots._address", lambda *figure, **options: "data:,")
            patch.setattr("preprocess.inspect.report.plots.draw_sheet", lambda rows: None)
            patch.setattr("preprocess.inspect.sheet._LINE_SCALE", 16)
        done = here("report", store.path if isinstance(store, Store) else store, "--out", out, *options)
    assert done.exit_code == 0, done.output
    return Page(out), done


def grey(path: Path, level: int, size: tuple[int, int] = (16, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level,) * 3).save(path)


def paint_uneven(root: Path) -> Path:
    """Five training pictures of class a, two of b; one test picture of each."""
    for name, count in (("a", 5), ("b", 2)):
        for index in range(count):
            grey(root / "train" / name / f"{index}.png", 20 * index + 40)
    for name in "ab":
        grey(root / "test" / name / "0.png", 200)
    return root


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    return paint_uneven(tmp_path / "raw")


@pytest.fixture
def uneven_store(uneven: Path, tmp_path: Path) -> Store:
    return build_here(uneven, tmp_path / "uneven.h5", GRID)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Result, Path]:
    """The page about a sound store: as read, what the command said, and the file; read-only."""
    home = tmp_path_factory.mktemp("sound")
    store = build_here(paint_uneven(home / "raw"), home / "uneven.h5", GRID)
    return *report(store, home / "report.html", drawn=True), home / "report.html"


def gathered(store: Store, count: int = 2, samples: int = 100) -> StoreReport:
    """What a page would show, without the page: drawing takes a second."""
    return gather(store, count, samples, 1, lambda name, steps: lambda: None)


def test_counts_of_splits_classes_and_columns(sound):
    page, _, _ = sound
    assert ["train", "7", "0", "0", "2 of 2", "0", ""] in page.rows
    assert ["test", "2", "0", "0", "2 of 2", "0", ""] in page.rows
    assert [row[:3] for row in page.rows if row[:1] == ["train"] and len(row) == 6] == [
        ["train", "images", "2"],
        ["train", "grid-4", "2"],
        ["train", "grid-9", "2"],
    ]
    assert ["grid-4,9", "grid", "none", "4 (0.500), 9 (0.500)", "default, shown here"] in page.rows
    assert "9 images in 2 splits" in page.text
    assert "16 × 16 pixels, raw" in page.text


def test_class_balance_names_the_ratio_and_the_empty_classes(uneven, tmp_path):
    for split in ("train", "test"):
        grey(uneven / split / "c" / "0.png", 90)
    listing = DATASETS["folder"].find(uneven)
    absent = {"train": 2, "test": 0}
    splits = {
        name: tuple(sample for sample in samples if sample.label != absent[name])
        for name, samples in listing.splits.items()
    }
    build(make_plan(tmp_path / "x.h5", replace(listing, splits=splits), GRID), 1, False, lambda done: None)
    page, _ = report(tmp_path / "x.h5", tmp_path / "report.html")
    train, test = page.text.split("Classes of train")[1].split("Classes of test")
    assert "The largest class has 2.5 times as many images as the smallest non-empty class." in train
    assert "1 class has no images: c" in train
    assert "Every non-empty class has 1 image." in test
    assert "1 class has no images: a" in test
    counts = [row for row in page.rows if len(row) == 2 and row[0] in "abc"]
    assert counts == [["a", "5"], ["b", "2"], ["c", "0"], ["b", "1"], ["c", "1"], ["a", "0"]]
    assert ["train", "7", "0", "0", "2 of 3", "0", ""] in page.rows


def test_of_many_classes_the_ten_at_either_end_are_named(tmp_path):
    for label in range(25):
        for index in range(2 if label == 7 else 1):
            grey(tmp_path / "raw" / "train" / f"c{label:02d}" / f"{index}.png", 9 * label)
    page, _ = report(build_here(tmp_path / "raw", tmp_path / "x.h5", GRID), tmp_path / "report.html", drawn=PROOF)
    named = [row for row in page.rows if len(row) == 2 and re.fullmatch(r"c\d\d", row[0])]
    assert named[0] == ["c07", "2"]
    assert [row[0] for row in named[1:]] == [f"c{label:02d}" for label in (*range(7), 8, 9, *range(15, 25))]


def test_segments_found_and_their_sizes_are_those_of_the_grid(sound):
    page, _, _ = sound
    # 16 pixels in three: 5, 5 and 6, so four areas of 25, four of 30, one of 36.
    four = ["4", "0.500", "4", "4", "4.0", "4", "64", "64", "64.0", "64"]
    nine = ["9", "0.500", "9", "9", "9.0", "9", "25", "30", "28.4", "36"]
    assert [row for row in page.rows if len(row) == 10 and row[0] in "49"] == [four, nine, four, nine]
    assert page.text.count("about as many superpixels as requested: a median of 4 of 4, 9 of 9.") == 2
    assert page.text.count("Eight of ten superpixels have 25 to 64 pixels; the largest has 64.") == 2


def test_it_says_in_words_that_there_are_fewer_superpixels_than_requested(flowers_store, tmp_path):
    store = Store(flowers_store)
    page, _ = report(store, tmp_path / "report.html")
    found = {count: np.median([ids.max() + 1 for ids in store.maps("train", count, range(36))]) for count in (12, 30)}
    few = ", ".join(f"{median:.0f} of {count}" for count, median in found.items() if median < 0.75 * count)
    assert few  # SLIC merges ragged pieces of photographs
    wanted = f"a median of {few}. Ask for more with --segments, or raise --compactness, which is 10: ragged pieces"
    assert wanted in page.text.split("Superpixels of train")[1].split("Superpixels of test")[0]


def test_it_says_of_how_many_images_the_sizes_are(uneven_store, tmp_path):
    page, _ = report(uneven_store, tmp_path / "report.html", "--samples", "3")
    train, test = page.text.split("Superpixels of train")[1].split("Superpixels of test")
    assert "a sample of 3 of 7 images" in train
    assert "Sizes of superpixels, all images" in test


def test_a_sound_store_has_no_failures(sound):
    page, done, _ = sound
    assert "No failures." in page.text
    assert "damaged" not in done.stderr


def test_the_page_names_the_store_and_no_folder_of_this_machine(sound):
    page, _, path = sound
    assert "uneven.h5" in page.text
    assert str(path.parent) not in page.raw


def test_images_that_could_not_be_used_come_first_with_their_reason(uneven, tmp_path):
    (uneven / "train" / "a" / "3.png").write_bytes(b"no picture")
    page, _ = report(build_here(uneven, tmp_path / "x.h5", GRID, skip_bad=True), tmp_path / "report.html")
    (row,) = [row for row in page.rows if row[1:2] == ["train/a/3.png"]]
    assert row[0] == "train"
    assert "not an image" in row[2] or "cannot" in row[2] or "decoded" in row[2], row
    places = ('id="failures"', "train/a/3.png", 'id="counts"', "Classes of train", 'id="timings"')
    headings = [page.raw.index(text) for text in places]
    assert headings == sorted(headings)
    assert ["train", "6", "1", "0", "2 of 2", "0", ""] in page.rows
    assert "No failures." not in page.text


def test_what_was_left_out_on_demand_is_listed(uneven, tmp_path):
    (tmp_path / "list").write_text("train/a/1.png\n")
    command = build_command(uneven, tmp_path / "x.h5", "--algorithm", "grid", "--exclude", str(tmp_path / "list"))
    assert here(*command[2:], "--limit-per-class", "3").exit_code == 0
    page, _ = report(tmp_path / "x.h5", tmp_path / "report.html")
    assert ["train", "train/a/1.png"] in page.rows
    assert ["train", "5", "0", "1", "2 of 2", "0", "at most 3 per class"] in page.rows


def test_names_of_the_user_are_text_and_nothing_else(tmp_path):
    name = '<b>&"x$\\y$'
    grey(tmp_path / "raw" / "train" / name / "0.png", 90)
    (tmp_path / "raw" / "train" / name / "<i>1.png").write_bytes(b"")
    store = build_here(tmp_path / "raw", tmp_path / "x.h5", GRID, skip_bad=True)
    page, _ = report(store, tmp_path / "report.html", drawn=True)
    assert [name, "1"] in page.rows
    assert ["train", f"train/{name}/<i>1.png"] in [row[:2] for row in page.rows]
    assert not page.tags & {"b", "i"}


def test_images_of_their_own_sizes(tmp_path):
    for index, size in enumerate(((20, 16), (30, 16), (40, 24))):
        grey(tmp_path / "raw" / "train" / "a" / f"{index}.png", 90, size)
    settings = replace(GRID, size=None, resize="none", codec="png")
    page, _ = report(build_here(tmp_path / "raw", tmp_path / "x.h5", settings), tmp_path / "report.html", drawn=True)
    assert ["width", "20", "30", "30.0", "40"] in page.rows
    assert ["height", "16", "16", "18.7", "24"] in page.rows
    assert "original sizes, png" in page.text


def test_boxes_are_counted(uneven, tmp_path, monkeypatch):
    boxes = np.full((4, 2, 4), np.nan, np.float32)
    boxes[0], boxes[1, 0] = 0.5, 0.25  # three boxes in a shard of four images
    boxes[2, 0, :2] = 0.1  # and a half of one, which is none
    monkeypatch.setattr(Shard, "boxes", property(lambda shard: boxes[: len(shard)]))
    found = gathered(build_here(uneven, tmp_path / "x.h5", GRID))
    assert [split.boxes for split in found.splits] == [6, 3]  # two shards, and one of two images


def test_damage_in_an_image_that_no_sheet_shows_is_found(uneven_store):
    path = shard_files(uneven_store, "train", "images")[0]
    with open_plain(path) as file:
        offset = file["images"].id.get_chunk_info(1).byte_offset
    flip(path, offset + 6)
    (trouble,) = gathered(Store(uneven_store.path)).troubles  # the sheet has the first image and the last
    assert trouble.startswith("sample 1 (train/a/1.png) of uneven.shards/train/images/")


def test_large_pictures_are_thinned(uneven_store, monkeypatch):
    monkeypatch.setattr("preprocess.inspect.sheet._MOST_PIXELS", 8)
    panels = gathered(uneven_store).splits[0].sheet[0]
    assert panels[0][1].shape == (8, 8, 3)  # of 16 x 16
    assert [title for title, _ in panels[1:]] == ["4 requested, 4 found", "9 requested, 9 found"]


def test_slow_timings_end_after_the_first_image(uneven_store, monkeypatch):
    assert gathered(uneven_store).measured.images == 7
    monkeypatch.setattr("preprocess.inspect.report.gather._PATIENCE", 0.0)
    assert gathered(uneven_store).measured.images == 1


@pytest.mark.parametrize(("giants", "cut"), [(4, True), (20, False)])
def test_a_few_giants_do_not_squeeze_a_histogram(giants, cut, monkeypatch):
    monkeypatch.setattr("preprocess.inspect.report.plots._address", lambda figure: figure)
    values = np.array([10] * (1000 - giants) + [1000] * giants)
    axis = spread_address([("4 requested", values, 12.0)], "pixels per superpixel").axes[-1]
    assert (axis.get_xlim()[1] < 20, "0.5 % are larger" in axis.get_xlabel()) == (cut, cut)


def test_letters_that_no_font_has_warn_nobody(tmp_path):
    for name in ("花", "草"):
        grey(tmp_path / "raw" / "train" / name / "0.png", 90)
    store = build_here(tmp_path / "raw", tmp_path / "x.h5", GRID)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        page, done = report(store, tmp_path / "report.html", drawn=True)
    assert ["花", "1"] in page.rows
    assert "Glyph" not in done.output


def test_an_algorithm_that_this_program_does_not_have_is_said_and_not_timed(uneven_store, tmp_path, monkeypatch):
    monkeypatch.delitem(ALGORITHMS, "grid")
    page, _ = report(uneven_store, tmp_path / "report.html", "--count", "1")
    timings = page.text.split("Measured on this machine")[1]
    assert "this program has no algorithm grid" in timings
    assert "7 images of train" in timings
    assert [row[0] for row in page.rows if len(row) == 2 and row[0].startswith(("read ", "cut "))] == [
        "read an image",
        "read its map of 4",
        "read its map of 9",
    ]


def test_damage_is_listed_first_and_does_not_end_the_command(uneven_store, tmp_path):
    lost, torn, bad = (
        shard_files(uneven_store, "train", "grid-4")[1],
        shard_files(uneven_store, "train", "images")[1],
        shard_files(uneven_store, "train", "grid-9")[0],
    )
    lost.unlink()
    torn.write_bytes(bytes(torn.stat().st_size))
    with open_plain(bad) as file:
        offset = file["maps"].id.get_chunk_info(2).byte_offset
    flip(bad, offset + 6)
    page, done = report(uneven_store.path, tmp_path / "report.html", drawn=True)
    assert "3 shards or samples cannot be read" in page.text, done.stderr
    assert page.raw.index(lost.name) < page.raw.index('id="counts"')
    for path in (lost, torn, bad):
        assert path.name in done.stderr
        (line,) = [row[0] for row in page.rows if len(row) == 1 and path.name in row[0]]
        assert f" uneven.shards/train/{path.parent.name}/{path.name}" in line
    assert str(tmp_path) not in page.raw
    assert "Traceback" not in done.output
    assert "The labels of 3 images cannot be read." in page.text
    assert ["a", "4"] in page.rows
    four, nine = [row for row in page.rows if len(row) == 10 and row[0] in "49"][:2]
    assert four[2:6] == ["4", "4", "4.0", "4"]
    assert nine[6:] == ["25", "30", "28.4", "36"]


def test_a_damaged_index_is_one_message(uneven_store, tmp_path):
    flip(uneven_store.path, 900)
    done = here("report", uneven_store.path, "--out", tmp_path / "report.html")
    assert done.exit_code == 1
    assert "damaged" in done.stderr
    assert not (tmp_path / "report.html").exists()


def test_a_packed_store_has_the_same_figures(uneven, tmp_path):
    assert here(*build_command(uneven, tmp_path / "x.h5", "--algorithm", "grid")[2:]).exit_code == 0
    assert here("pack", tmp_path / "x.h5", tmp_path / "packed.h5").exit_code == 0
    pages = [report(tmp_path / name, tmp_path / "report.html")[0] for name in ("x.h5", "packed.h5")]
    plain, packed = ([row for row in page.rows if len(row) in (7, 10)] for page in pages)
    assert plain[:3] == packed[:3]
    assert "Not known for a packed store." in pages[1].text
    assert "packed store, one file" in pages[1].text


def test_after_an_update_dropped_images_count_no_more(uneven, tmp_path):
    command = build_command(uneven, tmp_path / "x.h5", "--algorithm", "grid")[2:]
    assert here(*command).exit_code == 0
    (uneven / "train" / "a" / "0.png").unlink()
    (uneven / "train" / "a" / "1.png").unlink()
    assert here(*command, "--update").exit_code == 0
    train = gathered(Store(tmp_path / "x.h5")).splits[0]
    assert (train.images, train.per_class.tolist()) == (5, [3, 2])


def test_a_split_without_maps_says_so(uneven, tmp_path):
    build_here(uneven, tmp_path / "x.h5", GRID)
    command = build_command(uneven, tmp_path / "x.h5", "--algorithm", "grid", "--segments", "25", "--splits", "train")
    assert here(*command[2:]).exit_code == 0
    page, _ = report(tmp_path / "x.h5", tmp_path / "report.html", "--superpixels", "grid-25")
    assert "This split has no maps of grid-25." in page.text.split("Superpixels of test")[1]
    assert "This split has no maps" not in page.text.split("Superpixels of test")[0]
    assert [row[2] for row in page.rows if row[:2] == ["25", "1.000"]] == ["25"]
    sheets = [picture["alt"] for picture in page.pictures if picture["alt"].startswith("Contact sheet")]
    assert ["7 images of train" in sheets[0], "2 images of test" in sheets[1]] == [True, True]


def test_a_split_without_images_says_so(uneven, tmp_path):
    page, _ = report(build_here(uneven, tmp_path / "x.h5", GRID, empty=("test",)), tmp_path / "report.html")
    assert "This split has no images." in page.text
    assert ["test", "0", "0", "0", "0 of 2", "0", ""] in page.rows


def test_the_page_needs_nothing_else(sound):
    page, _, _ = sound
    assert page.raw.startswith("<!doctype html>")
    assert len(page.addresses) > 10
    assert [text for text in page.addresses if not text.startswith(("data:", "#"))] == []
    assert not re.search(r"https?://|url\(|@import|<script|//cdn", page.raw)
    assert {text[1:] for text in page.addresses if text.startswith("#")} == set(re.findall(r' id="([^"]*)"', page.raw))
    assert all(picture["alt"] for picture in page.pictures)
    assert '<html lang="en">' in page.raw


@pytest.mark.parametrize("place", ["report.txt", "report", "folder.html"])
def test_a_place_that_cannot_take_the_page_is_a_usage_error(uneven_store, tmp_path, place):
    (tmp_path / "folder.html").mkdir()
    done = here("report", uneven_store.path, "--out", tmp_path / place)
    assert done.exit_code == 2
    assert place in done.stderr


def test_unknown_superpixels_are_one_message(uneven_store, tmp_path):
    done = here("report", uneven_store.path, "--superpixels", "slic-1", "--out", tmp_path / "report.html")
    assert done.exit_code == 1
    assert "choose from grid-4,9" in done.stderr


def test_help_loads_nothing_heavy(run):
    code = (
        "import sys; from preprocess.cli import main; main(['report', '--help'], standalone_mode=False); "
        "sys.exit(str({'matplotlib', 'jinja2', 'h5py', 'torch'} & set(sys.modules)))"
    )
    assert run("-c", code).stderr.strip() == "set()"


def test_the_times_of_the_files_say_when_shards_were_written(uneven, tmp_path):
    out = tmp_path / "x.h5"
    assert here(*build_command(uneven, out, "--algorithm", "grid", "--shard-size", "3")[2:]).exit_code == 0
    shards = sorted((tmp_path / "x.shards" / "train" / "images").iterdir())
    for path, seconds in zip(shards, (1_600_000_030, 1_600_000_000, 1_600_000_061.5), strict=True):
        os.utime(path, (seconds, seconds))
    page, _ = report(out, tmp_path / "report.html")
    assert ["train", "images", "2020-09-13 12:26:40", "2020-09-13 12:27:41", "61.5"] in page.rows
    assert {path.suffix for path in (tmp_path / "x.shards").rglob("*") if path.is_file()} == {".h5"}


def test_each_step_is_timed(sound):
    page, _, _ = sound
    steps = ["read an image", "read its map of 4", "read its map of 9", "segment it with grid, 2 scales at once"]
    timed = {row[0]: row[1] for row in page.rows if len(row) == 2 and row[0] in steps}
    assert list(timed) == steps
    assert all(re.fullmatch(r"\d+\.\d\d", text) for text in timed.values())
    assert "7 images of train" in page.text.split("Measured on this machine")[1]
    assert "page cache" in page.text


def opened(page: Path, folder: Path) -> tuple[list[str], list[str], Path]:
    """Open a page in a browser: what it said on the console, what the page asked of the network, a screenshot."""
    network, shot = folder / "network.json", folder / "shot.png"
    options = (f"--user-data-dir={folder / 'profile'}", f"--log-net-log={network}", f"--screenshot={shot}")
    done = subprocess.run(
        [BROWSER, *QUIET, *options, "--window-size=1200,2000", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    events = [event.get("params", {}) for event in json.loads(network.read_text())["events"]]
    # A browser has business of its own, which no page began.
    asked = [event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"]
    return console, asked, shot


@pytest.mark.skipif(BROWSER is None, reason="needs chromium or google-chrome on the PATH")
def test_a_browser_says_nothing_and_asks_for_nothing(sound, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text('<img src="http://127.0.0.1:9/x.png"><script>console.error("seen")</script>')
    (tmp_path / "one").mkdir()
    console, asked, _ = opened(bad, tmp_path / "one")  # this test can fail
    assert len(console) == 1
    assert asked == ["http://127.0.0.1:9/x.png"]
    (tmp_path / "two").mkdir()
    console, asked, shot = opened(sound[2], tmp_path / "two")
    assert console == asked == []
    with Image.open(shot) as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20  # not an empty window
