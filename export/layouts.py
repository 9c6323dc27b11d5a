"""What the rows of a table are: a scalar each (long), or a step each with a column per tag (wide)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from export import arrow, describe
from export.attempts import Int64
from export.corpus import Corpus
from export.scalars import Chunk

SCHEMA = 1
"""Of the tables' columns; it changes when a column changes its name, its type or its meaning."""


@dataclass(frozen=True)
class Layout:
    """A kind of table.

    Parameters
    ----------
    name
        Of the file, without its ending.
    schema
        The Arrow schema.
    table
        From a chunk to an Arrow table of that schema.
    divisible
        Whether a part of a chunk's rows makes that part of the table.
    """

    name: str
    schema: Any
    table: Callable[[Chunk], Any]
    divisible: bool


def long(corpus: Corpus, tags: list[str], *, single: bool) -> Layout:
    """Return the table that has a row per scalar.

    Parameters
    ----------
    corpus
        What is exported.
    tags
        All tags; a chunk numbers them in this order.
    single
        Whether four bytes hold every value.
    """
    names = arrow.texts(tags)
    kind = np.float32 if single else np.float64

    def table(chunk: Chunk) -> dict[str, Any]:
        return {
            **_head(corpus, chunk.low, chunk.high, chunk.point),
            "attempt": arrow.numbers(chunk.attempt),
            "tag": arrow.dictionary(chunk.tag, names),
            "step": arrow.numbers(chunk.step),
            "wall_time": arrow.numbers(chunk.wall),
            "value": arrow.numbers(_cast(chunk.value, kind)),
        }

    return _layout("long", table, divisible=True)


def wide(corpus: Corpus, tags: list[str], *, single: bool, shown: npt.NDArray[np.bool_]) -> Layout:
    """Return the table that has a row per step and a column for each of the tags shown; see :func:`long`."""
    kind = np.float32 if single else np.float64
    codes = np.flatnonzero(shown).tolist()
    none = np.zeros(0, np.int64)
    names = describe.tag_names([tags[code] for code in codes], _head(corpus, 0, 0, none))

    def table(chunk: Chunk) -> dict[str, Any]:
        chunk = chunk.latest()
        steps, rank = _ranks(chunk.step)
        keys, at = _ranks((chunk.point - chunk.low) * len(steps) + rank)
        lines = len(keys)
        attempt = np.zeros(lines, np.int64)
        wall = np.full(lines, np.nan)
        np.maximum.at(attempt, at, chunk.attempt)
        np.fmax.at(wall, at, chunk.wall)
        columns = {
            **_head(corpus, chunk.low, chunk.high, chunk.low + keys // max(len(steps), 1)),
            "attempt": arrow.numbers(attempt),
            "step": arrow.numbers(steps[keys % max(len(steps), 1)]),
            "wall_time": arrow.numbers(wall),
        }
        order = np.argsort(chunk.tag, kind="stable")
        low, high = (np.searchsorted(chunk.tag[order], codes, side=side).tolist() for side in ("left", "right"))
        for name, begin, end in zip(names, low, high, strict=True):
            mine = order[begin:end]
            cells, there = np.zeros(lines, kind), np.zeros(lines, bool)
            cells[at[mine]], there[at[mine]] = _cast(chunk.value[mine], kind), True
            columns[name] = arrow.numbers(cells, there)
        return columns

    return _layout("wide", table, divisible=False)


LAYOUTS = ("long", "wide")
"""Names of the layouts."""


def _layout(name: str, table: Callable[[Chunk], dict[str, Any]], *, divisible: bool) -> Layout:
    import pyarrow as pa

    none = np.zeros(0, np.int64)
    empty = table(Chunk(0, 0, none, none, none, np.zeros(0), np.zeros(0), none))
    fields = [pa.field(column, array.type) for column, array in empty.items()]
    schema = pa.schema(fields, metadata={"orch.table": name, "orch.schema": str(SCHEMA)})

    def build(chunk: Chunk) -> Any:
        return pa.Table.from_arrays(list(table(chunk).values()), schema=schema)

    return Layout(name, schema, build, divisible)


def _head(corpus: Corpus, low: int, high: int, point: Int64) -> dict[str, Any]:
    """Return the columns that say which run a row belongs to, for rows of the points from ``low`` to ``high``."""
    names = arrow.texts([corpus.runs[run] for run in corpus.points[low:high].tolist()])
    columns = {"run": arrow.dictionary(point - low, names)}
    columns |= {column.name: column.at(point) for column in (*corpus.labels, *corpus.parameters)}
    columns |= {fact.name: fact.at(corpus.points[point]) for fact in corpus.facts if fact.name == "code"}
    return columns


def _cast(values: npt.NDArray[np.float64], kind: type[np.floating[Any]]) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):
        return values.astype(kind)


def _ranks(values: Int64) -> tuple[Int64, Int64]:
    """Return the distinct values, ascending, and the place of each value among them."""
    if not len(values):
        return values, values
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * len(values) + 1000:
        distinct, place = np.unique(values, return_inverse=True)
        return distinct, place.astype(np.int64)
    there = np.zeros(high - low + 1, bool)
    there[values - low] = True
    return np.flatnonzero(there) + low, (np.cumsum(there) - 1)[values - low]
