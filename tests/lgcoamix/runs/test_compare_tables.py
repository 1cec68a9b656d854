"""``compare``: differences by seed and by class, tables for papers and programs; all figures are worked out by hand.

The run folders are written here, as JSON; nothing is trained.
"""

import csv
import io
import json
import re
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lgcoamix.cli import main
from lgcoamix.runs.tables import Table, to_latex, to_markdown
from tests.lgcoamix.runs.finished_runs import Edit, finished_run


def compare(*arguments: object) -> Result:
    done = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    return done


def printed(done: Result) -> list[dict[str, str]]:
    assert done.exit_code == 0, done.output
    return list(csv.DictReader(io.StringIO(done.stdout)))


def epochs(count: int) -> Edit:
    return lambda config, results: results.update(epochs=count)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Seeds 0 to 2: none 60, 62, 64; lgcoamix 61, 64, 67, 70 with seed 3 too; cutmix 61, 63, 65; mixup seed 1 alone."""
    home = tmp_path / "runs"
    tops = {"none": (60, 62, 64), "lgcoamix": (61, 64, 67, 70), "cutmix": (61, 63, 65)}
    for method, values in tops.items():
        for seed, last in enumerate(values):
            finished_run(home / f"{method}-s{seed}", method, seed, last)
    finished_run(home / "mixup-s1", "mixup", 1, 55)
    return home


def test_differences_are_paired_by_seed_and_what_has_no_pair_is_named(runs):
    rows = {row["group"]: row for row in printed(compare(runs, "--format", "csv"))}
    mine = rows["lgcoamix"]
    assert (mine["against"], mine["pairs"], mine["difference"], mine["seeds"]) == ("none", "3", "2", "0 1 2 3")
    # differences 1, 2, 3: deviation 1, error 1/√3, t(2) = 4.30265; t² = 12: p = 1 - √(12/14)
    assert [float(mine[name]) for name in ("low", "high", "p")] == pytest.approx([-0.48414, 4.48414, 0.07418], abs=1e-5)
    assert (rows["cutmix"]["difference"], rows["cutmix"]["low"], rows["cutmix"]["p"]) == ("1", "", "")
    assert (rows["mixup"]["difference"], rows["mixup"]["pairs"], rows["mixup"]["low"]) == ("-7", "1", "")
    assert rows["none"]["difference"] == rows["none"]["against"] == ""
    said = compare(runs).stdout
    assert "left out of that of lgcoamix, as only it or none has them: seeds 3\n" in said
    assert "left out of that of mixup, as only it or none has them: seeds 0, 2\n" in said
    assert "neither interval nor test, with one common seed: mixup\n" in said
    assert "neither interval nor test, as the differences of all seeds are equal: cutmix\n" in said
    assert "+2.00 [-0.48, +4.48] │ 0.074" in said


def test_another_group_can_be_the_reference_and_a_misspelt_one_is_suggested(runs):
    rows = {row["group"]: row for row in printed(compare(runs, "--against", "cutmix", "--format", "csv"))}
    assert (rows["lgcoamix"]["against"], rows["lgcoamix"]["difference"]) == ("cutmix", "1")
    assert rows["none"]["difference"] == "-1"
    assert rows["cutmix"]["difference"] == ""
    done = compare(runs, "--against", "cutmicks")
    assert done.exit_code == 2
    assert "there is no group 'cutmicks'; did you mean cutmix?" in " ".join(done.stderr.split())


def test_the_metric_is_that_of_the_difference(runs):
    finished_run(runs / "snapmix", "snapmix", 0, 60, best=90)
    rows = {row["group"]: row for row in printed(compare(runs, "--metric", "best", "--format", "csv"))}
    assert (rows["snapmix"]["metric"], rows["snapmix"]["difference"]) == ("best", "29")  # none: 61


def test_without_plain_training_nothing_is_compared_until_a_group_is_named(tmp_path):
    for method in ("cutmix", "mixup"):
        finished_run(tmp_path / method, method, 0, 60)
    done = compare(tmp_path)
    assert "no differences by seed: expected one group of the method none; name another with --against" in done.stdout
    assert "│ p" not in done.stdout
    assert "last, against cutmix: mean difference paired by seed" in compare(tmp_path, "--against", "cutmix").stdout


def test_protocols_have_references_of_their_own(tmp_path):
    def rate(value: float) -> Edit:
        return lambda config, _: config["settings"]["optim"].update(lr=value)

    for letter, (lr, plain, mixed) in {"a": (0.1, 60, 65), "b": (0.2, 70, 72)}.items():
        finished_run(tmp_path / f"{letter}-none", "none", 0, plain, rate(lr))
        finished_run(tmp_path / f"{letter}-cutmix", "cutmix", 0, mixed, rate(lr))
    finished_run(tmp_path / "c", "mixup", 0, 80, rate(0.3))
    rows = printed(compare(tmp_path, "--across-protocols", "--format", "csv"))
    found = {(row["group"], row["last"]): row["difference"] for row in rows}
    assert found == {
        ("cutmix", "65"): "5",
        ("cutmix", "72"): "2",
        ("none", "60"): "",
        ("none", "70"): "",
        ("mixup", "80"): "",
    }


def test_a_median_of_ten_is_shown_of_ten_epochs_alone(tmp_path):
    finished_run(tmp_path / "none", "none", 0, 60, epochs(10))
    finished_run(tmp_path / "cutmix", "cutmix", 0, 61, epochs(9))
    rows = {row["group"]: row for row in printed(compare(tmp_path, "--format", "csv"))}
    assert (rows["none"]["median_of_last_10"], rows["cutmix"]["median_of_last_10"]) == ("59", "")
    done = compare(tmp_path, "--out", tmp_path / "out")
    assert "no median of last 10, for want of ten epochs: cutmix\n" in done.stdout
    assert "59.00 ± -" in done.stdout
    assert "60.00 ± -" in done.stdout  # none's last
    done = compare(tmp_path, "--metric", "median_of_last_10")
    assert re.search("none .*\n.* cutmix", done.stdout)  # what has no figure comes last
    with (tmp_path / "out" / "comparison.csv").open(newline="") as file:
        medians = {row["method"]: row["test_top1.median_of_last_10"] for row in csv.DictReader(file)}
    assert medians == {"none": "59", "cutmix": ""}
    groups = json.loads((tmp_path / "out" / "comparison.json").read_text())["groups"]
    assert [group["test_top1"]["median_of_last_10"] for group in groups] == [None, {"mean": 59, "deviation": None}]


def test_without_ten_epochs_there_is_no_column_and_no_such_order(tmp_path):
    finished_run(tmp_path / "none", "none", 0, 60, epochs(9))
    done = compare(tmp_path, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "│ median" not in done.stdout
    assert "┃ median" not in done.stdout
    assert "no median of last 10, for want of ten epochs: all\n" in done.stdout
    done = compare(tmp_path, "--metric", "median_of_last_10")
    assert done.exit_code == 2
    assert "no run has ten epochs, of which median_of_last_10 is the median" in " ".join(done.stderr.split())


def test_a_run_that_did_not_record_its_epochs_has_those_of_its_settings(tmp_path):
    finished_run(tmp_path / "none", "none", 0, 60, lambda _, results: results.pop("epochs"))  # settings: 24
    assert printed(compare(tmp_path, "--format", "csv"))[0]["median_of_last_10"] == "59"


def test_json_has_every_figure_unrounded_and_nothing_else_is_printed(runs, tmp_path):
    finished_run(runs / "snapmix", "snapmix", 0, 60 + 1 / 3)
    done = compare(runs, "--format", "json", "--out", tmp_path / "out")
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "out" / "comparison.json").read_text())
    groups = {group["group"]: group for group in document["groups"]}
    assert groups["snapmix"]["test_top1"]["last"]["mean"] == 60 + 1 / 3
    difference = groups["lgcoamix"]["test_difference"]
    assert (difference["by_seed"], difference["left_out"]) == ({"0": 1, "1": 2, "2": 3}, [3])
    assert (difference["against"], difference["metric"], difference["mean"]) == ("none", "last", 2)
    assert groups["none"]["test_difference"] is None
    assert "wrote " in done.stderr


def test_markdown_is_a_table_of_a_readme(runs):
    lines = compare(runs, "--format", "markdown").stdout.splitlines()
    first = lines.index("| --- | --- | --- | --- | --- | --- | --- |")
    assert lines[first - 1].startswith(
        "| group | n (seeds) | last | best (chosen on test) | median of last 10 | last, "
    )
    assert lines[first + 1] == (
        "| lgcoamix | 4 (0, 1, 2, 3) | 65.50 ± 3.87 | 66.50 ± 3.87 | 64.50 ± 3.87 | +2.00 [-0.48, +4.48] | 0.074 |"
    )
    assert any(line.startswith("- ±: sample standard deviation") for line in lines)


def test_cells_of_markdown_show_what_they_hold():
    text = to_markdown(Table("a", ("b|c", "d"), (("x_y *z* <i> `e` [f](g) [h, i]", "1\n2"),), ()))
    assert text == "a\n\n| b\\|c | d |\n| --- | --- |\n| x_y \\*z\\* \\<i> \\`e\\` [f\\](g) [h, i] | 1 2 |"


def test_latex_is_a_tabular_of_booktabs(runs):
    lines = compare(runs, "--format", "latex").stdout.splitlines()
    code = [line for line in lines if not line.startswith("%")]
    assert code[:2] == [r"\begin{tabular}{lrrrrrr}", r"\toprule"]
    assert code[3] == r"\midrule"
    assert code[4] == (
        r"lgcoamix & 4 (0, 1, 2, 3) & 65.50 $\pm$ 3.87 & 66.50 $\pm$ 3.87 & 64.50 $\pm$ 3.87 & "
        r"$+$2.00 {[}$-$0.48, $+$4.48] & 0.074 \\"
    )
    assert code[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert {line.count("&") for line in code[2:-2] if line != r"\midrule"} == {6}
    assert all(line.isascii() for line in code)


def test_latex_escapes_what_it_would_obey():
    names = r"50% & $5 #1 a_b {c} \input ~ ^ <d> |e| [f] ± λ-γ é"
    line = to_latex(Table("a\nb", ("b", "c"), ((names, "-1.50 a-3 <0.001 1e-05"),), ("100 %\n\\evil",))).splitlines()
    assert line[:3] == ["% a b", r"% 100 % \evil", r"% \usepackage{booktabs}"]
    assert line[-3] == (
        r"50\% \& \$5 \#1 a\_b \{c\} \textbackslash{}input \textasciitilde{} \textasciicircum{} $<$d$>$ $|$e$|$ {[}f] "
        r"$\pm$ $\lambda$-$\gamma$ é & $-$1.50 a-3 $<$0.001 1e-05 \\"
    )


def test_one_row_per_split(tmp_path):
    def held_out(config: dict, results: dict) -> None:
        results["val_top1"] = {"last": 50, "best": 51, "median_of_last_10": 49}

    finished_run(tmp_path / "none", "none", 0, 60, held_out)
    rows = printed(compare(tmp_path, "--format", "csv"))
    assert [(row["split"], row["last"]) for row in rows] == [("test", "60"), ("val", "50")]


def write_curve(folder: Path, text: str) -> None:
    (folder / "metrics.csv").write_text(text, newline="")


def test_curves_are_drawn_and_their_numbers_written(runs, tmp_path):
    write_curve(runs / "none-s0", "epoch,loss,test_top1,test_loss\r\n0,3,10.25,2.5\r\n1,2,60,1.5\r\n")
    write_curve(runs / "none-s1", "epoch,loss,test_top1,test_loss\r\n0,3,11,2\r\n1,2,62,1\r\n")
    write_curve(runs / "cutmix-s0", "epoch,loss,test_top1\r\n0,3,10\r\n1,2,\r\n2,2,63\r\n")
    write_curve(runs / "cutmix-s1", "epoch,loss,test_top1,test_loss\r\nx,3,10,2\r\n")
    write_curve(runs / "cutmix-s2", "epoch,loss,test_top1,test_loss\r\n0,3,nan,2\r\n")
    done = compare(runs, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    with (tmp_path / "out" / "curves.csv").open(newline="") as file:
        rows = [tuple(row.values())[1:] for row in csv.DictReader(file)]
    assert rows == [
        ("cutmix", "A", "0", "1", "10.0", ""),
        ("cutmix", "A", "0", "3", "63.0", ""),
        ("none", "A", "0", "1", "10.25", "2.5"),
        ("none", "A", "0", "2", "60.0", "1.5"),
        ("none", "A", "1", "1", "11.0", "2.0"),
        ("none", "A", "1", "2", "62.0", "1.0"),
    ]
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert f"warning: no curve of {runs / 'lgcoamix-s0'}: it has no metrics.csv\n" in done.stderr
    assert re.search("no curve of .*cutmix-s1.* is damaged .expected the number of an epoch, got 'x'", done.stderr)
    assert re.search("no curve of .*cutmix-s2.* is damaged .expected finite numbers, got 'nan'", done.stderr)


def test_the_line_of_a_group_is_the_mean_of_its_seeds_at_their_common_epochs(runs, tmp_path):
    from lgcoamix.runs.compare import compare as compare_runs
    from lgcoamix.runs.curves import mean_curve, read_curves

    write_curve(runs / "none-s0", "epoch,test_top1\r\n0,10\r\n1,20\r\n2,30\r\n")
    write_curve(runs / "none-s1", "epoch,test_top1\r\n1,24\r\n2,36\r\n3,40\r\n")
    curves, _ = read_curves(compare_runs([runs / "none-s0", runs / "none-s1"]), "test")
    assert mean_curve(curves, "top1") == [(2, 22, 20, 24), (3, 33, 30, 36)]
    assert mean_curve(curves, "loss") == []


def write_evaluation(
    folder: Path, accuracies: list[float | None], checkpoint: str = "best.pt", **changes: object
) -> None:
    """An evaluation beside a checkpoint; the third class has no images."""
    (folder / checkpoint).write_bytes(folder.name.encode())
    document = {
        "checkpoint": {"name": checkpoint, "sha256": sha256(folder.name.encode()).hexdigest()},
        "store": {"name": "flowers", "keys": {"test/images": "33"}},
        "split": "test",
        "classes": ["daisy", "iris", "tulip"],
        "figures": {"per_class": accuracies, "counts": [8, 4, 0]},
    }
    (folder / "evaluation-test").mkdir(exist_ok=True)
    (folder / "evaluation-test" / "evaluation.json").write_text(json.dumps(document | changes))


EMPTY = {"per_class": [None] * 3, "counts": [0] * 3}
OTHER = {"per_class": [1, 2, 3], "counts": [8, 4, 1]}


@pytest.fixture
def evaluated(runs: Path) -> Path:
    for seed, (daisy, iris) in enumerate(((50, 25), (62.5, 50), (75, 75))):
        write_evaluation(runs / f"none-s{seed}", [daisy, iris, None])
    for seed, (daisy, iris) in enumerate(((37.5, 50), (50, 100), (62.5, 75), (100, 100))):
        write_evaluation(runs / f"lgcoamix-s{seed}", [daisy, iris, None])
    return runs


def test_differences_by_class_are_paired_by_seed(evaluated, tmp_path):
    done = compare(evaluated, "--by-class", "lgcoamix", "--format", "csv", "--out", tmp_path / "out")
    first, second = printed(done)
    assert (tmp_path / "out" / "classes.csv").read_text() == done.stdout
    # iris: 25, 50, 0: mean 25, deviation 25, error 25/√3, t(2) = 4.30265
    assert (first["class"], first["images"], first["difference"], first["pairs"]) == ("iris", "4", "25", "3")
    reach = 4.30265 * 25 / 3**0.5
    assert [float(first[name]) for name in ("low", "high")] == pytest.approx([25 - reach, 25 + reach], abs=1e-3)
    assert (first["mean"], first["against_mean"]) == ("81.25", "50")  # over all seeds of each
    # daisy: -12.5 for all: no interval
    assert (second["class"], second["difference"], second["low"]) == ("daisy", "-12.5", "")
    assert len(json.loads(compare(evaluated, "--by-class", "lgcoamix", "--format", "json").stdout)) == 2
    said = " ".join(compare(evaluated, "--by-class", "lgcoamix").stdout.split())
    assert "│ iris │ 4 │ 81.25 │ 50.00 │ +25.00 [-37.10, +87.10] │" in said
    assert "difference: lgcoamix - none, mean over 3 common seeds" in said
    assert "Accuracies are those of best.pt, the epoch of each run that was best on test, as evaluate" in said
    assert first["chosen_on"] == "test"
    assert "as only one group has them: seeds 3" in said
    assert "A class without an interval has equal differences for all seeds." in said


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: (run / "evaluation-test" / "evaluation.json").unlink(), "evaluate --checkpoint {run} --shards"),
        (lambda run: (run / "best.pt").write_bytes(b"other"), "is of another best.pt than the run has now"),
        (lambda run: write_evaluation(run, [1, 2, None], "last.pt"), "one kind of checkpoint, got best.pt ("),
        (lambda run: write_evaluation(run, [1, 2, None], tta="flip"), "got best.pt ("),
        (lambda run: write_evaluation(run, [1, 2, None], store={"keys": {}}), "is of other images or classes"),
        (lambda run: write_evaluation(run, [1, 2, None], classes=["a", "b", "c"]), "is of other images or classes"),
        (lambda run: write_evaluation(run, [1, 2]), "expected an accuracy and a number of images for every class"),
        (lambda run: write_evaluation(run, [1, None, None]), "expected an accuracy of the classes that have images"),
        (lambda run: write_evaluation(run, [1, 101, None]), "at most 100, got 101"),
        (lambda run: write_evaluation(run, [], figures=EMPTY), "expected images of some class"),
        (lambda run: write_evaluation(run, [], figures=OTHER), "count images differently"),
    ],
)
def test_an_evaluation_that_does_not_fit_is_named(change, told, evaluated):
    run = evaluated / "none-s1"
    change(run)
    done = compare(evaluated, "--by-class", "lgcoamix")
    assert done.exit_code == 1, done.output
    assert told.format(run=run) in " ".join(done.stderr.split())
    assert str(run) in done.stderr


def test_by_class_needs_two_groups(evaluated):
    done = compare(evaluated, "--by-class", "none")
    assert done.exit_code == 2
    assert "and one to compare it with, found 0 such pairs" in " ".join(done.stderr.split())
    done = compare(evaluated, "--by-class", "lgcomix")
    assert "there is no group 'lgcomix'; did you mean lgcoamix or cutmix?" in " ".join(done.stderr.split())


def test_of_many_classes_a_terminal_shows_the_largest_gains_and_losses(runs):
    names = [f"class {number}" for number in range(30)]

    def rename(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"classes": names}))

    for method, sign in (("none", 0), ("cutmix", 1)):
        rename(runs / f"{method}-s0")
        figures = {"per_class": [50 + sign * (number - 15) for number in range(30)], "counts": [1] * 30}
        write_evaluation(runs / f"{method}-s0", [], classes=names, figures=figures)
    given = (runs / "none-s0", runs / "cutmix-s0", "--by-class", "cutmix")
    said = compare(*given).stdout
    assert [int(number) for number in re.findall(r"│ class (\d+)", said)] == [*range(29, 19, -1), *range(9, -1, -1)]
    assert "10 largest gains and losses of 30 classes" in " ".join(said.split())
    assert "difference: cutmix - none, of one seed." in said
    assert compare(*given, "--format", "markdown").stdout.count("| class ") == 31
