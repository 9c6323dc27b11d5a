"""Asking a file system again that lost its way for a moment: a stale handle, a server that is away, a bad read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

FLEETING: Final = frozenset(
    {errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOLCK, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO}
)
"""What a network file system says of a file that may well be there."""

VARIABLE: Final = "ORCH_PATIENCE"
LONGEST: Final = 60.0
"""Seconds after which it counts as away; ``$ORCH_PATIENCE``, if that is less."""


def fleeting(error: BaseException) -> bool:
    """Say whether an error may go away by itself and says nothing about what is in a file."""
    return isinstance(error, OSError) and error.errno in FLEETING


def patience(longest: float = LONGEST) -> float:
    """Return for how many seconds to try again."""
    try:
        return min(longest, float(os.environ[VARIABLE]))
    except (KeyError, ValueError):
        return longest


def patiently(call: Callable[[], T]) -> T:
    """Return what ``call`` returns, called again with growing pauses while it fails for a fleeting reason.

    Raises
    ------
    OSError
        The last one, if it still fails after :func:`patience`.
    """
    try:
        return call()
    except OSError as error:
        if not fleeting(error):
            raise
    import tenacity

    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(fleeting),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
        stop=tenacity.stop_after_delay(patience()),
        reraise=True,
    )
    return again(call)
