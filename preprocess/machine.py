"""Resources of this machine."""

import os
import platform
from pathlib import Path


def cores() -> int:
    """Return the number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of main memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def processor(file: Path = Path("/proc/cpuinfo")) -> str:
    """Return the name of the processor, and on Linux its family: virtual machines call several kinds AMD EPYC.

    Parameters
    ----------
    file : where Linux says so.
    """
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    family = f" (family {found['cpu family']})" if "cpu family" in found else ""
    return found.get("model name", platform.machine()) + family
