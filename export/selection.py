"""What is asked of the tables: which runs, which tags, which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

import numpy as np

from export.attempts import Bool
from export.corpus import Corpus
from export.formats import FORMATS
from export.layouts import LAYOUTS
from export.scalars import DUPLICATES, Chunk
from orchestrator.errors import UserError, nearest
from orchestrator.points import Points


@dataclass(frozen=True)
class Selection:
    """What goes into the long and the wide table.

    Parameters
    ----------
    tags
        Patterns of tags (``metric/*``; a star also matches slashes).
    every
        Keep every so many rows of a series, beginning with the first.
    last
        Keep the last row of each series alone.
    duplicates
        Of :data:`export.scalars.DUPLICATES`. The wide table has the last one always.
    where
        How the runs were chosen, for the manifest.
    """

    tags: tuple[str, ...] = ("*",)
    every: int = 1
    last: bool = False
    duplicates: str = "last"
    where: tuple[str, ...] = ()

    def __call__(self, chunk: Chunk, wanted: Bool) -> Chunk:
        """Return the rows of a chunk that are selected."""
        chunk = chunk.of_tags(wanted).thinned(self.every)
        return chunk.last() if self.last else chunk


def choose(described: Corpus, points: Points | None, where: Sequence[str]) -> Corpus:
    """Return the points of a corpus that some filters let pass.

    Parameters
    ----------
    described
        The corpus.
    points
        Its points, where it is a study's: see :func:`orchestrator.filters.select`. Runs of a folder are chosen by
        ``run=PATTERN``.
    where
        The filters.

    Raises
    ------
    UserError
        If a filter cannot be read, or no run is left.
    """
    if not where:
        return described
    if points is not None:
        from orchestrator.filters import select

        return described.select(select(points, list(where)))
    chosen = list(range(len(described.runs)))
    for text in where:
        key, equals, patterns = text.partition("=")
        if key != "run" or not equals:
            raise UserError(f"{text}: runs of a folder are chosen by their names, run=PATTERN")
        wanted = patterns.split(",")
        chosen = [run for run in chosen if any(fnmatchcase(described.runs[run], one) for one in wanted)]
    if not chosen:
        raise UserError(f"{' '.join(where)}: no run is left of {len(described.runs)}, {described.runs[0]!r} being one")
    return described.select(chosen)


def check(chosen: Sequence[str], formats: Sequence[str], duplicates: str | None, out: Path | BinaryIO | None) -> None:
    """Check what was asked for.

    Raises
    ------
    UserError
        For unknown names, and for several tables to one pipe.
    """
    for given, known, what in ((chosen, LAYOUTS, "layout"), (formats, FORMATS, "format")):
        for name in given:
            if name not in known:
                raise UserError(f"{name!r} is no {what} of tables: {', '.join(known)} are.{nearest(name, known)}")
    if duplicates not in (None, *DUPLICATES):
        raise UserError(f"{duplicates!r} says not what becomes of duplicates: {' or '.join(DUPLICATES)} does")
    if not (out is None or isinstance(out, Path)) and (len(chosen), len(formats)) != (1, 1):
        raise UserError("a pipe takes one table of one format: name a layout and a format")


def matching(tags: Sequence[str], patterns: Sequence[str]) -> Bool:
    """Say of each tag whether one of the patterns matches it."""
    return np.array([any(fnmatchcase(tag, pattern) for pattern in patterns) for tag in tags], bool)
