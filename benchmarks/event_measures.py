"""What reading event files is asked to reach beside other readers, and a table of what it did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

CORPORA = ("grid", "small", "huge", "irregular", "shuffled", "tensors", "noisy")
"""Names of what ``event_corpora.py`` makes."""

OURS = ("ours", "ours, no kernel", "sorted", "sorted, no kernel")
"""Ways to read: with what was compiled and without it; and as the tables have the rows: through the cache on the disk,
purged, sorted, one row per run, tag and step, with progress told."""

EXPORTS = ("orch export", "orch export, no kernel")
"""Whole processes, with what was compiled and without it."""

SLOW = ("EventAccumulator", "tbparse")
RUST = "Rust --checksum"

Seconds = Mapping[tuple[str, str, str], float]
"""(what, corpus, reader) → CPU seconds."""


def place(folder: Path, name: str, scale: float) -> Path:
    """Return where a corpus of some part of its full size is."""
    return folder / (name if scale == 1 else f"{name}-{scale:g}")


class Measure(NamedTuple):
    """A reader's CPU seconds divided by ours.

    Parameters
    ----------
    what
        ``decode`` (from files to columns) or ``whole`` (start of the process to closed Parquet file).
    corpus, reader
        Which files, and who reads them.
    asked
        The least ratio without the compiled kernel.
    aim
        The ratio that the kernel aims at.
    """

    what: str
    corpus: str
    reader: str
    asked: float
    aim: float | None = None


ASKED = (
    *(Measure("decode", corpus, "EventAccumulator", at) for corpus, at in (("grid", 60), ("small", 25), ("huge", 60))),
    *(Measure("decode", corpus, "tbparse", at) for corpus, at in (("grid", 60), ("small", 40), ("huge", 60))),
    Measure("decode", "grid", RUST, 2.5, 8),
    Measure("decode", "small", RUST, 1.4, 8),
    Measure("decode", "huge", RUST, 4, 8),
    Measure("decode", "irregular", RUST, 0.9, 4),
    Measure("decode", "shuffled", RUST, 0.9, 4),
    *(
        Measure("whole", corpus, reader, at)
        for corpus in ("grid", "small")
        for reader, at in (("EventAccumulator", 20), ("tbparse", 20), (RUST, 1.3))
    ),
)
"""Every ratio that is asked for."""

MOST_MEMORY = ("grid", 150)
"""Peak memory of a whole export of this corpus, MB."""


def ratios(seconds: Seconds) -> str:
    """Return a table of what is asked and what was reached, of the measures whose readers ran."""
    columns = ("what", "corpus", "beside", "asked", "no kernel", "sorted, no kernel", "aim", "kernel", "sorted, kernel")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for one in ASKED:
        theirs = seconds.get((one.what, one.corpus, one.reader))
        if theirs is None:
            continue
        if one.what == "decode":
            ways: tuple[str | None, ...] = (OURS[1], OURS[3], OURS[0], OURS[2])
        else:
            ways = (EXPORTS[1], None, EXPORTS[0], None)
        least = (one.asked, one.asked, one.aim, one.aim)
        cells = [
            "–" if way is None else _cell(theirs / seconds[one.what, one.corpus, way], at)
            for way, at in zip(ways, least, strict=True)
        ]
        aim = f"{one.aim:g}×" if one.aim else "–"
        lines.append(
            f"| {one.what} | {one.corpus} | {one.reader} | {one.asked:g}× | {cells[0]} | {cells[1]} | {aim} | "
            f"{cells[2]} | {cells[3]} |"
        )
    return "\n".join(lines)


def _cell(ratio: float, least: float | None) -> str:
    text = f"{ratio:.1f}×"
    return f"{text} **missed**" if least is not None and ratio < least else text
