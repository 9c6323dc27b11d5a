"""What a worker used, for its last record: memory, processor time, time."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

_BEGUN = time.monotonic()  # this module is imported when a worker starts

UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in the unit of ``ru_maxrss``."""


def spent(status: Path = Path("/proc/self/status")) -> dict[str, Any]:
    """Return ``peak`` in bytes, ``cpu`` and ``seconds``, of this process and the children that it waited for.

    ``peak`` is the most that this process had in memory, and beside it the largest of its children: no less than was
    ever used by it and one child at a time.
    """
    times = os.times()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * UNIT
    return {
        "peak": _own_peak(status) + children,
        "cpu": round(times.user + times.system + times.children_user + times.children_system, 3),
        "seconds": round(time.monotonic() - _BEGUN, 3),
    }


def _own_peak(status: Path) -> int:
    # The kernel's count of a process goes on from that of the one which started it; Linux also keeps the program's own.
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT
