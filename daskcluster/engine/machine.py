"""The machine that this process runs on, for the record."""

import os
import platform
from pathlib import Path
from typing import Any

from distributed.system import MEMORY_LIMIT


def machine() -> dict[str, Any]:
    """system, processor, cores and bytes of memory; no name of the host.

    Examples
    --------
    >>> sorted(machine())
    ['cores', 'memory', 'processor', 'system']
    """
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": int(MEMORY_LIMIT),
    }


def _processor() -> str:
    """Its name; the standard library knows it on some systems only."""
    names = Path("/proc/cpuinfo")
    if names.exists():
        for line in names.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
