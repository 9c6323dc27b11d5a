"""Lists of indices as arithmetic progressions: ``[start, stop, step]``, so that records grow with tasks, not runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import SupportsInt

Span = list[int]


def to_spans(indices: Iterable[SupportsInt]) -> list[Span]:
    """Write indices, in their order, as few spans; ``[3, 4, 5, 9]`` becomes ``[[3, 6, 1], [9, 10, 1]]``."""
    items = list(map(int, indices))
    spans: list[Span] = []
    at, end = 0, len(items)
    while at < end:
        start = items[at]
        step = items[at + 1] - start if at + 1 < end else 1
        if step <= 0 or (step > 1 and not (at + 2 < end and items[at + 2] - items[at + 1] == step)):
            step = 1
        stop = at + 1
        while stop < end and items[stop] - items[stop - 1] == step:
            stop += 1
        spans.append([start, items[stop - 1] + 1, step])
        at = stop
    return spans


def from_spans(spans: Iterable[Sequence[int]]) -> list[int]:
    """Undo :func:`to_spans`.

    Raises
    ------
    ValueError
        If something is not a span of non-negative indices.
    """
    items: list[int] = []
    for start, stop, step in spans:
        if start < 0 or step <= 0:
            raise ValueError(f"[{start}, {stop}, {step}] is not a span")
        items.extend(range(start, stop, step))
    return items


def per_lane(steps: int | Sequence[int], count: int) -> list[int]:
    """Read the steps of a record: one number for all lanes, or one for each."""
    if isinstance(steps, int):
        return [steps] * count
    if len(steps) != count:
        raise ValueError(f"{len(steps)} steps for {count} lanes")
    return list(map(int, steps))


def pack_steps(steps: SupportsInt | Iterable[SupportsInt]) -> int | list[int]:
    """Undo :func:`per_lane`: a single number where all lanes agree."""
    if not isinstance(steps, Iterable):
        return int(steps)
    items = list(map(int, steps))
    return items[0] if items and items.count(items[0]) == len(items) else items
