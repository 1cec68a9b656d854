"""``make pictures``: draw what is missing, and write the page."""

import hashlib
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import click
from PIL import Image

from lgcoamix.cli.common import friendly
from lgcoamix.errors import RunError
from preprocess.files import write_whole
from preprocess.terminal import say
from tests.pictures.page import ROOT, collect, declared_files, drawing_functions, missing, page, pictures, take_embedded
from tests.pictures.plan import HOME, RUN, STAGES, Stage
from tests.study.stores import unpacked

_FEW = {"daffodil": 16, "crocus": 12, "iris": 10, "sunflower": 8, "daisy": 6, "pansy": 4}  # class -> images of a split


@click.command()
@friendly
def main() -> None:
    """Draw every picture of the product on one page. Start it in the root of the repository."""
    unpacked("cub100", say)
    take_few(unpacked("flowers17", say))
    source = digest()
    for stage in STAGES:
        if stage.command:
            make(stage, source)
    shown, lines = collect(STAGES)
    write_whole(HOME / "index.html", page(shown, HOME).encode())
    lines += missing(shown, drawing_functions(), declared_files())
    say(f"wrote {HOME / 'index.html'}: {len(shown)} pictures")
    if lines:
        raise RunError("the page is not complete; add commands to tests/pictures/plan.py:\n  " + "\n  ".join(lines))


def make(stage: Stage, source: str) -> None:
    """Run a command, unless it was done with the same source; a finished run only draws again."""
    done, mark = HOME / "done" / stage.name, f"{' '.join(stage.words)}\n{source}\n"
    before = done.read_text() if done.is_file() else ""
    if before == mark:
        return
    if before.splitlines()[:1] not in ([], mark.splitlines()[:1]):  # another command
        shutil.rmtree(stage.out, ignore_errors=True)
    for path in (*pictures(stage.out), stage.out / "results.json"):
        path.unlink(missing_ok=True)
    if stage.kind and not stage.kind.is_folder and stage.kind is not RUN:
        stage.out.mkdir(parents=True, exist_ok=True)
    say(f"$ python -m {' '.join(stage.words)}")
    begin, log = cpu(), HOME / "done" / f"{stage.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        code = subprocess.run([sys.executable, "-m", *stage.words], stdout=file, stderr=file, check=False).returncode
    if code:
        told = log.read_text(encoding="utf-8")[-1000:]
        raise RunError(f"it ended with {code}; if plan.py builds another store now, remove {HOME}:\n{told}")
    if (stage.out / "report.html").exists():
        take_embedded(stage.out / "report.html")
    done.write_text(mark)
    say(f"  {cpu() - begin:.0f} s of a core")


def cpu() -> float:
    """Seconds that the commands have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def digest() -> str:
    """Of the source: what was drawn with another is drawn again."""
    found = hashlib.sha256()
    for path in sorted(path for name in ("lgcoamix", "preprocess") for path in (ROOT / name).rglob("*")):
        if path.suffix in (".py", ".html", ".mplstyle"):
            found.update(path.read_bytes())
    return found.hexdigest()


def take_few(flowers: Path) -> None:
    """Copy some images of few classes, and one that is black."""
    raw = HOME / "raw" / "few"
    for split in ("train", "test"):
        for name, count in _FEW.items():
            (raw / split / name).mkdir(parents=True, exist_ok=True)
            for path in sorted((flowers / split / name).iterdir())[:count]:
                shutil.copyfile(path, raw / split / name / path.name)
    Image.new("RGB", (500, 400)).save(raw / "test" / "pansy" / "black.png")


if __name__ == "__main__":
    main(prog_name="python -m tests.pictures")
