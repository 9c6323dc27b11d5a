"""What is said of each point beside its series: labels, parameters and the verdict, as dictionary-encoded columns.

Column names are stable. A label has its axis' name, a parameter ``param.<dotted path>``, and a series of the wide
table its tag. Where a label or a tag would take a name that the tables use themselves (:data:`OWN`), it is called
``label.<name>`` or ``tag.<tag>``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from export import arrow
from orchestrator.points import MISSING, Column, Points

Int64 = npt.NDArray[np.int64]

_OWN = """
run code attempt attempts tag step wall_time value outcome failure rows
best_step best_select best_error sparsity solved solved_at
runs n success success_lower success_upper
solved_at_mean solved_at_mean_lower solved_at_mean_upper solved_at_median solved_at_max
solved_at_published solved_at_published_lower solved_at_published_upper
sparsity_mean sparsity_mean_lower sparsity_mean_upper sparsity_median sparsity_max
sparsity_published sparsity_published_lower sparsity_published_upper
"""

OWN = frozenset(_OWN.split())
"""Names that the tables use themselves."""

ABSENT = -1
"""The code of a point that does not have the value."""


@dataclass
class Dictionary:
    """One column over the points, its distinct values kept once and in their order in the grid.

    Parameters
    ----------
    name
        Name of the column.
    codes
        int64 (points,): index into ``values``; :data:`ABSENT` for none.
    values
        Distinct values.
    """

    name: str
    codes: Int64
    values: Sequence[Any]
    _typed: Any = field(default=None, repr=False, compare=False)

    def at(self, points: Int64) -> Any:
        """Return the column at some points, as a dictionary-encoded Arrow array."""
        if self._typed is None:
            self._typed = typed(self.values)
        return arrow.dictionary(self.codes[points], self._typed)

    def take(self, points: Int64) -> Dictionary:
        """Return the column over some of the points."""
        return Dictionary(self.name, self.codes[points], self.values)


def label_name(axis: str) -> str:
    """Return the column's name of an axis' labels."""
    return f"label.{axis}" if axis in OWN or axis.startswith(("label.", "param.")) else axis


def parameter_name(path: str) -> str:
    """Return the column's name of a parameter."""
    return f"param.{path}"


def tag_names(tags: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Return the wide table's column names of tags, given the names of its other columns."""
    used = {*OWN, *taken, ""}
    names = []
    for tag in tags:
        name = tag
        while name in used:
            name = f"tag.{name}"
        used.add(name)
        names.append(name)
    return names


def labels(points: Points) -> list[Dictionary]:
    """Return the labels of the points, axis by axis."""
    return [_dictionary(label_name(axis), points, column, text=True) for axis, column in points.labels.items()]


def parameters(points: Points) -> list[Dictionary]:
    """Return the resolved parameters of the points, in the order of their names; those that are null everywhere not."""
    columns = (_dictionary(parameter_name(path), points, points.leaves[path]) for path in sorted(points.leaves))
    return [column for column in columns if len(column.values)]


def column(points: Points, name: str) -> Dictionary | None:
    """Return the labels of an axis, or the parameter of this path, or None if there is neither."""
    if name in points.labels:
        return _dictionary(label_name(name), points, points.labels[name], text=True)
    if name in points.leaves:
        return _dictionary(parameter_name(name), points, points.leaves[name])
    return None


def typed(values: Sequence[Any]) -> Any:
    """Return values of one column as an Arrow array of the narrowest type that holds them all.

    Booleans, int64, float64 or text; a column of several kinds, or of lists, is written as JSON.
    """
    kinds = {type(value) for value in values if value is not None}
    there = np.array([value is not None for value in values], bool)
    filled = [0 if value is None else value for value in values]
    if kinds == {bool}:
        return arrow.flags(np.array(filled, bool), there)
    if kinds == {int} and all(-(1 << 63) <= value < 1 << 63 for value in filled):
        return arrow.numbers(np.array(filled, np.int64), there)
    if kinds and kinds <= {int, float}:
        return arrow.numbers(np.array(filled, np.float64), there)
    if kinds <= {str}:
        return arrow.texts(values)
    return arrow.texts([None if value is None else json.dumps(value, ensure_ascii=False) for value in values])


def _dictionary(name: str, points: Points, source: Column, *, text: bool = False) -> Dictionary:
    positions: dict[str, int] = {}
    kept: list[Any] = []
    codes = []
    for value in source.values:
        if value is MISSING or value is None:
            codes.append(ABSENT)
            continue
        item = str(value) if text else value
        position = positions.setdefault(json.dumps(item), len(kept))
        if position == len(kept):
            kept.append(item)
        codes.append(position)
    lookup = np.array(codes or [ABSENT], np.int64)
    by = np.array(points.codes[source.by], np.int64) if source.by else np.zeros(len(points), np.int64)
    return Dictionary(name, lookup[by], kept)
