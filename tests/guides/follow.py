"""Follow the guides of a README literally: every command, file and edit, in a copy of the source tree."""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import matplotlib

SECTION = re.compile(r"^## (Guide: [^\n]+|When something goes wrong)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"```(\w+)\n(.*?)```\n", re.DOTALL)
# What Dask's scheduler logs as an INFO if its workers end before it has answered them.
_DASK = re.compile(r"Batched Comm Closed[^\n]*\nTraceback.*?CommClosedError", re.DOTALL)
NAMED_FILE = re.compile(r"`(\w+/[\w/]+\.py)`")  # a block is the last one that the text before it names
# What the text calls a try is made smaller still. Pictures of a run are tested elsewhere.
TRY = (
    re.compile(r'^TRY="([^"]+)"$', re.MULTILINE),
    r'TRY="\1 --backbone test_resnet --image-size 32 --epochs 1 --no-pictures"',
)
# Caches that would lie in a home, or beside the source.
SURROUNDINGS = {
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "200",
    "PYTHONDONTWRITEBYTECODE": "",
    "MPLCONFIGDIR": matplotlib.get_cachedir(),
}


def as_script(readme: Path) -> str:
    """All guides of a README as one shell script: a Python block is the file named before it, a diff is applied."""
    lines = ["set -euo pipefail", "PS4='+ $SECONDS s: '"]
    for title, text in SECTION.findall(readme.read_text()):
        lines.append(f"echo '== {title}'")
        for block in FENCE.finditer(text):
            kind, content = block.groups()
            if kind == "sh":
                lines.append(f"set -x\n{TRY[0].sub(TRY[1], content)}{{ set +x; }} 2> /dev/null")
            elif kind == "diff":
                lines.append(f"git apply - <<'END OF BLOCK'\n{content}END OF BLOCK")
            else:
                name = NAMED_FILE.findall(text[: block.start()])[-1]
                lines.append(f"cat > {name} <<'END OF BLOCK'\n{content}END OF BLOCK")
    return "\n".join(lines)


def follow(readme: str, clone: Path, reader: Path) -> str:
    """Run the guides of a README in a clone; give what they print."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    log = reader / "log.txt"  # not a pipe: what a guide that fails leaves behind, such as a cluster, would hold it open
    with log.open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-c", as_script(clone / readme)],
            cwd=clone,
            env={**environment, **SURROUNDINGS, "HOME": str(reader)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(1200)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    text = log.read_text()
    assert code == 0, text[-6000:]
    ours = _DASK.sub("", text)
    assert "Traceback" not in ours, ours[-6000:]
    return text
