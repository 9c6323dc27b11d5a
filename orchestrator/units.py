"""Times and sizes as users write them: ``40m``, ``2G``. A bare number is refused: nobody agrees on its unit."""

from __future__ import annotations

import re

_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_BYTES = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
NUMBER = r"[0-9]+(?:\.[0-9]+)?"
TIME = rf"(?:{NUMBER}[dhms])+"
SIZE = rf"({NUMBER})\s*([KMGT])(?:i?B)?"


def seconds(text: str) -> float:
    """Read a duration such as ``90s``, ``40m``, ``1h30m`` or ``1.5d``, in seconds.

    Raises
    ------
    ValueError
        If it has no unit or is no duration.
    """
    if not re.fullmatch(TIME, text):
        raise ValueError(f"{text!r} is no duration: write a number with its unit, such as 90s, 40m, 1h30m or 2d")
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(rf"({NUMBER})([dhms])", text))


def size(text: str) -> int:
    """Read an amount of memory such as ``512M`` or ``2G`` (powers of 1024), in bytes.

    Raises
    ------
    ValueError
        If it has no unit or is no amount.
    """
    match = re.fullmatch(SIZE, text)
    if match is None:
        raise ValueError(f"{text!r} is no amount of memory: write a number with its unit, such as 512M or 2G")
    return int(float(match[1]) * _BYTES[match[2]])
