"""Which runs train together: tasks of one program and like resources, begun runs beside runs at the same step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.identity import encode
from orchestrator.points import Missing, Points, Value
from orchestrator.study.history import NEVER, History, RunRecord

FEWEST_LANES, MOST_LANES = 16, 256
"""Bounds of ``lanes: auto``: stacked tensors are padded to 16, and a task of 256 still fits a cache."""


@dataclass(frozen=True)
class Shape:
    """What a task may look like.

    Parameters
    ----------
    form
        ``"lanes"``: runs of one program train side by side. ``"run"``, ``"command"``: one after the other.
    lanes
        Dotted paths of the parameters that may differ between the lanes of a program.
    source
        Digest of the experiment's sources of today; ``""`` calls nothing stale.
    resources
        The grid's resources; ``lanes``, ``retries`` and ``memory`` are looked at, the others handed on.
    spread
        How many processes work side by side: what is to be done is spread over them.
    """

    form: str = "lanes"
    lanes: frozenset[str] = frozenset()
    source: str = ""
    resources: Mapping[str, Any] = field(default_factory=dict)
    spread: int = 1


@dataclass(frozen=True)
class Group:
    """A task to be: runs that go together, the resources they ask for, and how many times the memory."""

    resource: int
    memory: int
    positions: Sequence[int]


def pack(
    points: Points,
    ids: Sequence[bytes],
    history: History,
    begun: Sequence[int],
    fresh: Sequence[int],
    shape: Shape,
    anew: Container[int] = (),
) -> list[Group]:
    """Cut everything that is to be trained into tasks.

    Parameters
    ----------
    points, ids, history
        What is desired, the raw id of each point, and what is known.
    begun, fresh
        Positions of runs that go on, and of those that start from nothing. The former come first: they are nearest to
        their end.
    shape
        What a task may look like.
    anew
        Those of ``begun`` whose earlier failures are forgotten: they get what the grid asks for, and no more.
    """
    total = len(begun) + len(fresh)
    kinds = _Kinds(points, shape)
    most = [_most(resources, total, shape) for resources in points.resources]
    groups: list[Group] = []
    buckets: dict[tuple[Any, ...], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position in begun:
        record = history.runs[ids[position]]
        buckets[(kinds.at(position), *((None, 1) if position in anew else _escalation(record)))][
            restored(record, shape)
        ].append(position)
    for (kind, cap, memory), steps in buckets.items():
        resource = kinds.resource(kind)
        width = min(most[resource], cap or most[resource])
        # Runs go beside runs at the same step, as long as that fills the padding.
        for piece in _join([steps[step] for step in sorted(steps, reverse=True)], min(width, FEWEST_LANES)):
            groups += [Group(resource, memory, chunk) for chunk in _cut(piece, width)]
    for kind, positions in kinds.split(fresh):
        resource = kinds.resource(kind)
        groups += [Group(resource, 1, chunk) for chunk in _cut(positions, most[resource])]
    return groups


def _most(resources: Mapping[str, Any], total: int, shape: Shape) -> int:
    """Return how many runs one task may have."""
    asked = {**shape.resources, **resources}.get("lanes", "auto")
    if asked != "auto":
        return int(asked)
    if shape.form != "lanes":
        return 1
    return min(max(-(-total // max(1, shape.spread)), FEWEST_LANES), MOST_LANES)


def _escalation(record: RunRecord) -> tuple[int | None, int]:
    """Return (most lanes, memory factor) of a run's next attempt: out of memory, half the lanes, then more memory."""
    times = record.used.get("oom", 0) if record.failure == "oom" else 0
    if not times:
        return None, 1
    return max(1, record.width // 2), 1 << (times - (record.width > 1))


def restored(record: RunRecord, shape: Shape) -> int:
    """Return the step that a run will go on from; a checkpoint of other sources is not gone on from."""
    return record.saved if not shape.source or record.code == shape.source else NEVER


def _join(groups: Iterable[list[int]], enough: int) -> Iterator[list[int]]:
    """Join neighbouring groups until they are large enough."""
    piece: list[int] = []
    for group in groups:
        piece += group
        if len(piece) >= enough:
            yield piece
            piece = []
    if piece:
        yield piece


def _cut(positions: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """Cut into as few chunks as ``most`` allows, of almost equal sizes."""
    count = -(-len(positions) // most)
    for index in range(count):
        yield positions[index * len(positions) // count : (index + 1) * len(positions) // count]


class _Kinds:
    """Which points may share a task: those of one program (``orchestrator.experiment.program_of``) and like resources.

    For each code array that matters, every code has a class; a point's kind is the tuple of its classes. A static
    parameter contributes its value, a lane parameter whether it is there. Where runs train one after the other, their
    programs do not matter.
    """

    def __init__(self, points: Points, shape: Shape) -> None:
        marks: dict[str, list[list[bytes]]] = defaultdict(list)
        for path, column in points.leaves.items() if shape.form == "lanes" else ():
            if column.by:
                lane = path in shape.lanes
                marks[column.by].append([_mark(value, lane=lane) for value in column.values])
        axes = [(by, _numbered(zip(*columns, strict=True))) for by, columns in marks.items()]
        self._axes = [(points.codes[by], classes) for by, classes in axes if len(set(classes)) > 1]
        self._resources = len(points.resources) > 1 and bool(points.resources_by)
        if self._resources:
            self._axes.append((points.codes[points.resources_by], list(range(len(points.resources)))))

    def at(self, position: int) -> tuple[int, ...]:
        """Return the kind of one point."""
        return tuple(classes[codes[position]] for codes, classes in self._axes)

    def resource(self, kind: tuple[int, ...]) -> int:
        """Return which of ``points.resources`` a kind asks for."""
        return kind[-1] if self._resources else 0

    def split(self, positions: Sequence[int]) -> Iterable[tuple[tuple[int, ...], Sequence[int]]]:
        """Split positions by kind, in the order of first appearance."""
        if not self._axes:
            return [((), positions)]
        whole = isinstance(positions, range) and len(positions) == len(self._axes[0][0])
        columns = [
            map(classes.__getitem__, codes if whole else map(codes.__getitem__, positions))
            for codes, classes in self._axes
        ]
        buckets: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for position, kind in zip(positions, zip(*columns, strict=True), strict=True):
            buckets[kind].append(position)
        return buckets.items()


def _mark(value: Value, *, lane: bool) -> bytes:
    if isinstance(value, Missing):
        return b"missing"
    return b"lane" if lane else encode(value)


def _numbered(keys: Iterable[tuple[bytes, ...]]) -> list[int]:
    numbers: dict[tuple[bytes, ...], int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]
