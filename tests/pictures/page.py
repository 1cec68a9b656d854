"""Which pictures there are, which are missing, and the page of all."""

import ast
import base64
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from preprocess import outputs
from preprocess.inspect.drawing import PAGE
from preprocess.outputs import Kind
from tests.pictures.plan import Look, Stage

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = (".assets/mixed.jpg", ".assets/compare.png", "tests/study/length.png", "tests/study/length-64.png")
_SUFFIXES = (".png", ".jpg")
_MAKERS = {"Figure", "new_figure", "tiled_figure"}
_EMBEDDED = {  # how the alternative text of a picture in the report begins -> its name
    "Plot: images of each class": "balance",
    "Histograms: superpixels per image": "found",
    "Histograms: pixels per superpixel": "sizes",
    "Plots: width and height": "shapes",
    "Contact sheet": "sheet",
    "Images of": "suspicious",
}


@dataclass(frozen=True)
class Picture:
    """A picture on the page."""

    path: Path
    stage: Stage
    look: Look

    @property
    def width(self) -> float:
        """At which it is used, in CSS pixels, of which an inch has 96; as large as it was made, if made for print."""
        with Image.open(self.path) as image:
            return self.look.width or 96 * image.width / image.info.get("dpi", (300,))[0]


def collect(stages: Iterable[Stage]) -> tuple[list[Picture], list[str]]:
    """The pictures in the folders of all stages, and a line for each that is unknown or wider than a page."""
    found, wrong = [], []
    for stage in stages:
        for path in pictures(stage.out) if stage.command else [ROOT / name for name in DOCUMENTS]:
            look = stage.looks.get(re.sub(r"\d+$", "", path.stem))
            if look is None:
                wrong.append(f"{path}: tests/pictures/plan.py does not say what to look for")
            else:
                found.append(picture := Picture(path, stage, look))
                if not look.width and picture.width > 96 * PAGE + 1:
                    wrong.append(f"{path}: wider than a page, which would shrink its text")
    return found, wrong


def pictures(folder: Path) -> list[Path]:
    """The pictures in a folder."""
    return sorted(path for path in folder.glob("*") if path.suffix in _SUFFIXES)


def missing(shown: Iterable[Picture], functions: Iterable[str], files: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each picture that the product declares and the page lacks.

    Parameters
    ----------
    functions : names of all functions that draw.
    files : kind of output and name of a picture in it.
    """
    shown = list(shown)
    drawn = {picture.look.drawn_by for picture in shown}
    there = {
        (picture.stage.kind.what, re.sub(r"\d+$", "", picture.path.stem)) for picture in shown if picture.stage.kind
    }
    lines = [f"no picture was drawn by {name}" for name in sorted(set(functions) - drawn)]
    return lines + [f"no picture {name} of {what}" for what, name in sorted(set(files) - there)]


def drawing_functions(
    folders: Iterable[Path] = (ROOT / "lgcoamix", ROOT / "preprocess", ROOT / "tests/study"),
) -> set[str]:
    """The functions in the source that make a figure, without those that make one for others."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for folder in folders for path in sorted(folder.rglob("*.py")))
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {function.name for function in functions if _MAKERS & _called(function)} - _MAKERS


def declared_files(kinds: Iterable[Kind] | None = None) -> set[tuple[str, str]]:
    """Kind and name, without digits, of every picture that ``preprocess/outputs.py`` lists."""
    found = set()
    for kind in (value for value in vars(outputs).values() if isinstance(value, Kind)) if kinds is None else kinds:
        plain = re.sub(r"\([^()]*\)\?", "", kind.files).replace(r"\d+", "")  # without what may be missing
        for names, one, forms in re.findall(r"(?:\(([\w|-]+)\)|([\w-]+))\\\.\(([\w|]+)\)", plain):
            if "png" in forms.split("|"):
                found |= {(kind.what, name) for name in (names or one).split("|")}
    return found


def take_embedded(html: Path) -> None:
    """Write the pictures in a report to files beside it."""
    pattern = r'<img src="data:image/(png|jpeg);base64,([^"]+)" alt="([^"]+)"'
    for number, (form, data, alt) in enumerate(re.findall(pattern, html.read_text(encoding="utf-8"))):
        name = next((name for start, name in _EMBEDDED.items() if alt.startswith(start)), "unknown")
        (html.parent / f"{name}{number}.{form.replace('jpeg', 'jpg')}").write_bytes(base64.b64decode(data))


def page(shown: Iterable[Picture], home: Path) -> str:
    """HTML of all pictures; files are named from ``home``."""
    parts, last = [], None
    for picture in shown:
        if picture.stage is not last:
            command = f"python -m {' '.join(picture.stage.words)}" if picture.stage.command else "in the repository"
            parts.append(f"<h2>{escape(picture.stage.name)}</h2>\n<p><code>{escape(command)}</code></p>")
            last = picture.stage
        source = escape(os.path.relpath(picture.path, home))
        about = f"<b>{escape(picture.path.name)}</b>, by {picture.look.drawn_by}. {escape(picture.look.sentence)}"
        image = f'<img src="{source}" style="width:{picture.width:.0f}px" alt="">'
        parts.append(f"<figure>{image}<figcaption>{about}</figcaption></figure>")
    return _HTML.format("\n".join(parts))


def _called(function: ast.FunctionDef) -> set[str]:
    return {
        node.func.id for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


_HTML = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Every picture</title>
<style>body {{ font: 15px/1.4 sans-serif; margin: 2rem; }} figure {{ margin: 1.5rem 0; }}
figcaption {{ max-width: 46rem; }} img {{ display: block; border: 1px solid #ddd; }}</style>
<h1>Every picture, at the width at which it is used</h1>
{}
</html>
"""
