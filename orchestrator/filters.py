"""Points chosen by ``key=value``: what ``--only`` and the words after a study's name mean."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from orchestrator.errors import UserError, nearest
from orchestrator.identity import Leaf
from orchestrator.points import Column, Missing, Points


def select(points: Points, filters: Sequence[str]) -> list[int]:
    """Return the positions of the points that all filters let pass.

    Parameters
    ----------
    points
        The points.
    filters
        ``key=value[,value…]``: an axis's label, or a parameter; ``key=0..3`` is a span of integers, both ends included.

    Raises
    ------
    UserError
        If a filter names no axis and no parameter, or no point at all passes it.
    """
    chosen: Sequence[int] = range(len(points))
    for text in filters:
        key, equals, wanted = text.partition("=")
        columns = [column for column in (points.labels.get(key), points.leaves.get(key)) if column is not None]
        if columns and not equals:
            raise UserError(f"{text!r} should be key=value, such as {key}={columns[0].values[0]}")
        if not columns:
            known = list(dict.fromkeys([*points.labels, *points.leaves]))
            raise UserError(f"{text}: there is no axis or parameter {key!r}.{nearest(key, known)}")
        passes = [_passing(column, _alternatives(wanted)) for column in columns]
        before, chosen = (
            chosen,
            [
                position
                for position in chosen
                if any(
                    (points.codes[column.by][position] if column.by else 0) in codes
                    for column, codes in zip(columns, passes, strict=True)
                )
            ],
        )
        if before and not chosen:
            values = ", ".join(dict.fromkeys(str(v) for v in columns[0].values if not isinstance(v, Missing)))
            raise UserError(f"{text}: no run is left; {key} has {values[:200]}")
    return list(chosen)


def _alternatives(text: str) -> list[str]:
    # A range such as [1,2) is one value, though it has a comma in it.
    return [text, *text.split(",")] if "," in text else [text]


def _passing(column: Column, wanted: Iterable[str]) -> frozenset[int]:
    return frozenset(
        code
        for code, value in enumerate(column.values)
        if not isinstance(value, Missing) and any(_matches(value, text) for text in wanted)
    )


def _matches(value: Leaf, text: str) -> bool:
    low, span, high = text.partition("..")
    if span and isinstance(value, (int, str)) and str(value).lstrip("-").isdecimal():
        try:
            return int(low) <= int(value) <= int(high)
        except ValueError:
            return False
    if text in (str(value), json.dumps(value)):
        return True
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and float(text) == value
    except ValueError:
        return False
