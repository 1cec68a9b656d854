"""``builds.jsonl`` beside the shards: what each finished build took, one line of JSON a build.

It is told, not needed: no command reads it but ``report``, and a store without it is whole.
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from preprocess.task import Report

_NAME = "builds.jsonl"
_PACKAGES = ("scikit-image", "numba", "pillow")


@dataclass(frozen=True)
class BuildRecord:
    """One finished build.

    Parameters
    ----------
    when : UTC, ISO 8601.
    seconds : wall clock, from the first task to the published index.
    superpixels : name of the set that was asked for.
    images, tasks : how many were in the plan; what another build had finished already counts too.
    images_failed : images that could not be used.
    maps_computed : by this build.
    jobs, backend : the workers.
    processors : cores that the process could use.
    versions : package -> version.
    """

    when: str
    seconds: float
    superpixels: str
    images: int
    tasks: int
    images_failed: int
    maps_computed: int
    jobs: int
    backend: str
    processors: int
    versions: dict[str, str]


def record_build(
    out: Path,
    superpixels: str,
    images: int,
    reports: Sequence[Report],
    seconds: float,
    jobs: int,
    backend: str,
    processors: int,
) -> None:
    """Append a line for the build of ``out`` that has just ended; the parameters are those of a record."""
    record = BuildRecord(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        superpixels=superpixels,
        images=images,
        tasks=len(reports),
        images_failed=sum(len(report.failed) for report in reports),
        maps_computed=sum(report.maps_computed for report in reports),
        jobs=jobs,
        backend=backend,
        processors=processors,
        versions={package: version(package) for package in _PACKAGES},
    )
    line = f"{json.dumps(asdict(record), ensure_ascii=False)}\n".encode()
    # A full disk or a folder that may not be written to: the store is published and whole, so the build did not fail.
    # Unbuffered and appended, a line is one write: two builds that end at once do not mix theirs.
    with contextlib.suppress(OSError), log_of(out).open("a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        torn = end > 0 and file.read(1) != b"\n"  # a full disk cut the line before: it must not swallow this one
        file.write(b"\n" * torn + line)


def read_builds(out: Path) -> tuple[list[BuildRecord], int]:
    """The builds of a store, oldest first, and the number of lines that cannot be read."""
    try:
        lines = [line for line in log_of(out).read_bytes().split(b"\n") if line.strip()]
    except OSError:
        return [], 0
    records = [record for record in map(_parse, lines) if record]
    return records, len(lines) - len(records)


def log_of(out: Path) -> Path:
    """The file that belongs to an index."""
    return out.with_suffix(".shards") / _NAME


def _parse(line: bytes) -> BuildRecord | None:
    """Read one line; every value is brought to its type, so that no reader meets another one."""
    try:
        data = json.loads(line)
        return BuildRecord(
            when=str(data["when"]),
            seconds=float(data["seconds"]),
            superpixels=str(data["superpixels"]),
            images=_count(data["images"]),
            tasks=_count(data["tasks"]),
            images_failed=_count(data["images_failed"]),
            maps_computed=_count(data["maps_computed"]),
            jobs=_count(data["jobs"]),
            backend=str(data["backend"]),
            processors=_count(data["processors"]),
            versions={str(name): str(number) for name, number in data["versions"].items()},
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _count(value: object) -> int:
    """An integer that can be divided: an infinite one, or one beyond all floats, is an OverflowError."""
    return int(float(value))
