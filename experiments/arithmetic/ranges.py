"""Ranges of inputs: an interval, a union of two, or one interval for each half of the inputs."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import PlainValidator, WithJsonSchema


class Spans(NamedTuple):
    """A range, read: one or two intervals [low, high) and how the inputs are spread over two."""

    intervals: tuple[tuple[float, float], ...]
    by: Literal["element", "input"]
    """``element``: a fair coin per element chooses the interval. ``input``: the first half of the inputs comes from the
    first interval, the others from the second."""


def read_range(value: Any) -> Spans:
    """Read a range as a grid spells it: ``[low, high]``, ``[[a, b], [c, d]]``, or ``[[a, b], [c, d], []]``.

    The third form, the paper's own spelling of its mixed-sign data sets, spreads the inputs over the two intervals by
    their position.

    Raises
    ------
    ValueError
        If it is none of these, an interval is empty, or the two intervals differ in width.
    """
    parts = list(value) if isinstance(value, (list, tuple)) else []
    nested = bool(parts) and all(isinstance(part, (list, tuple)) for part in parts)
    by_input = nested and len(parts) == 3 and not parts[2]
    intervals = parts[:2] if nested else [parts]
    if (nested and len(parts) != 2 + by_input) or not all(map(_is_interval, intervals)):
        raise ValueError(
            "a range is [low, high], a union of two intervals [[a, b], [c, d]], or [[a, b], [c, d], []] for inputs that"
            f" are split between the two; all ends are finite numbers. {value!r} is none of these"
        )
    for low, high in intervals:
        if not low < high:
            raise ValueError(f"the range [{low}, {high}] is empty: its first number must be smaller than its second")
    widths = [high - low for low, high in intervals]
    if not math.isclose(widths[0], widths[-1], rel_tol=1e-9):
        raise ValueError(f"the intervals of {value!r} must be equally wide, not {widths[0]:g} and {widths[1]:g}")
    return Spans(tuple((float(low), float(high)) for low, high in intervals), "input" if by_input else "element")


def _is_interval(ends: Any) -> bool:
    return len(ends) == 2 and all(
        isinstance(end, (int, float)) and not isinstance(end, bool) and math.isfinite(end) for end in ends
    )


def _check_range(value: Any) -> Any:
    read_range(value)
    return value


_INTERVAL = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
Range = Annotated[
    Any,
    PlainValidator(_check_range),
    WithJsonSchema(
        {
            "anyOf": [
                _INTERVAL,
                {"type": "array", "items": _INTERVAL, "minItems": 2, "maxItems": 2},
                {
                    "type": "array",
                    "prefixItems": [_INTERVAL, _INTERVAL, {"type": "array", "maxItems": 0}],
                    "minItems": 3,
                    "maxItems": 3,
                },
            ]
        }
    ),
]
"""``[low, high]`` | ``[[a, b], [c, d]]`` (a coin per element) | ``[[a, b], [c, d], []]`` (first half, second half)."""
