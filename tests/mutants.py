"""Mutation testing: small faults spread over all rooms by a fixed seed, and the tests that should find them.

    python -m tests.mutants --count 80 --seed 0 --out mutants.json

Every mutant changes one operator, constant or condition in a copy of the tree. The tests of its room, and all that name
its module, run until one fails. It is killed if one fails or hangs, and survives if all pass.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_SECONDS = 600  # a mutant may hang
_COMPARE = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "=="}
_COMPARE |= {ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is"}
_BINARY = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "*"}
_WRITTEN = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=", ast.In: "in"}
_WRITTEN |= {ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not", ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_WRITTEN |= {ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"}


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Parameters
    ----------
    path : file, relative to the tree.
    line : its number, from 1.
    before, after : the line, without and with the fault.
    """

    path: str
    line: int
    before: str
    after: str

    @property
    def room(self) -> str:
        """``lgcoamix/data`` for a file in that folder."""
        return "/".join(Path(self.path).parts[:2])


def faults(path: Path) -> Iterator[Mutant]:
    """All faults that can be made in the functions of a file."""
    text = path.read_text("utf-8")
    lines, name = text.splitlines(), path.relative_to(ROOT).as_posix()
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    seen = set()
    for node in (inner for function in functions for statement in function.body for inner in ast.walk(statement)):
        for number, start, end, new in _edits(node, lines):
            before = lines[number - 1]
            after = before.encode()[:start].decode() + new + before.encode()[end:].decode()
            if after != before and (number, after) not in seen:
                seen.add((number, after))
                yield Mutant(name, number, before, after)


def _edits(node: ast.AST, lines: list[str]) -> Iterator[tuple[int, int, int, str]]:
    """Line, first and last byte, and what stands there instead."""
    if isinstance(node, ast.Compare | ast.BinOp):
        left = node.left
        right, kind = (node.comparators[0], node.ops[0]) if isinstance(node, ast.Compare) else (node.right, node.op)
        new = (_COMPARE if isinstance(node, ast.Compare) else _BINARY).get(type(kind))
        if new and left.end_lineno == right.lineno:
            between = lines[right.lineno - 1].encode()[left.end_col_offset : right.col_offset].decode()
            old = _WRITTEN[type(kind)]
            if between.strip("() ") == old:
                yield right.lineno, left.end_col_offset, right.col_offset, between.replace(old, new)
    elif isinstance(node, ast.Constant) and node.lineno == node.end_lineno:
        where = node.lineno, node.col_offset, node.end_col_offset
        if isinstance(node.value, bool):
            yield *where, str(not node.value)
        elif isinstance(node.value, int | float):
            yield *where, str(node.value + 1)
    elif isinstance(node, ast.If | ast.IfExp) and node.test.lineno == node.test.end_lineno:
        test = node.test
        old = lines[test.lineno - 1].encode()[test.col_offset : test.end_col_offset].decode()
        yield test.lineno, test.col_offset, test.end_col_offset, f"(not ({old}))"


def choose(count: int, seed: int) -> list[Mutant]:
    """About as many from every room, drawn by a fixed seed."""
    rooms: dict[str, list[Mutant]] = {}
    for package in ("lgcoamix", "preprocess"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for mutant in faults(path):
                rooms.setdefault(mutant.room, []).append(mutant)
    generator = random.Random(seed)
    for mutants in rooms.values():
        generator.shuffle(mutants)
    chosen: list[Mutant] = []
    while len(chosen) < count and any(rooms.values()):
        chosen += [mutants.pop() for mutants in rooms.values() if mutants]
    return chosen[:count]


def tests_for(mutant: Mutant) -> list[str]:
    """The tests of the mutant's room, then all that name its module, or its name in quotes, as a command is named."""
    if mutant.room.endswith("__init__.py"):
        return ["tests/test_public_names.py"]
    module = mutant.path.removesuffix(".py").replace("/", ".")
    folder = ROOT / "tests" / mutant.room
    own = sorted(folder.rglob("test_*.py")) if folder.is_dir() else []
    words = module, f'"{Path(mutant.path).stem}"'
    named = sorted((ROOT / "tests").rglob("test_*.py"))
    others = [path for path in named if any(word in path.read_text("utf-8") for word in words)]
    return [path.relative_to(ROOT).as_posix() for path in dict.fromkeys([*own, *others])]


def run(mutant: Mutant, tests: list[str], tree: Path) -> str:
    """Run tests on a tree with the fault. Returns the first test that fails, ``hangs``, or ``survives``."""
    path = tree / mutant.path
    text = path.read_text("utf-8")
    lines = text.splitlines(keepends=True)
    lines[mutant.line - 1] = lines[mutant.line - 1].replace(mutant.before, mutant.after)
    path.write_text("".join(lines), "utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "hangs"
    finally:
        path.write_text(text, "utf-8")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return (failed[0].split(" - ")[0] if failed else "does not start") if done.returncode else "survives"


def main() -> None:
    """Run all, print a line for each, and write what came of them."""
    parser = argparse.ArgumentParser(description="Put faults into a copy of the tree and see whether tests find them.")
    parser.add_argument("--count", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    given = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        for name in filter(None, listed.stdout.split("\0")):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
        for mutant in choose(given.count, given.seed):
            found = run(mutant, tests_for(mutant), tree)
            results.append({**asdict(mutant), "found": found})
            sys.stdout.write(
                f"{found}: {mutant.path}:{mutant.line}: {mutant.before.strip()} -> {mutant.after.strip()}\n"
            )
            sys.stdout.flush()
            given.out.write_text(json.dumps(results, indent=1))
    survived = Counter(result["found"] == "survives" for result in results)
    sys.stdout.write(f"{survived[False]} killed, {survived[True]} survive\n")


if __name__ == "__main__":
    main()
