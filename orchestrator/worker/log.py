"""What a process says of itself on standard error: one line each, with the time."""

from __future__ import annotations

import logging
import sys

LOG = logging.getLogger("orch")


def to_stderr() -> None:
    """Write :data:`LOG` to standard error, whatever user code does with logging later."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s orch: %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    LOG.handlers, LOG.propagate = [handler], False
    LOG.setLevel(logging.INFO)
