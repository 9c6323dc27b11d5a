"""The scalars of a corpus: event files brought into the store, and rows brought out of it, a chunk of runs at a time.

Bringing in reads only what is new: files that did not change since the last export are not opened, those that grew are
read from where they ended, all others from the beginning. Bringing out decides which rows count, orders them, and
leaves one row per run, tag and step where that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export import store
from export.attempts import Bool, Files, Int64, counting
from export.corpus import Corpus
from export.decode import Decoder
from export.decoded import Float64, Int32
from export.reader import Batch, Reader, Report, goes_on
from export.store import Entry, Extent, Index, Store

CHUNK = 1 << 17
"""Rows that are held at a time; a run is held whole."""

DUPLICATES = ("all", "last")
"""What becomes of several scalars of one run, tag and step: all stay, or the one that was written last."""


@dataclass
class Progress:
    """How far reading is: files and bytes, of how many, and scalars read."""

    files: int = 0
    all_files: int = 0
    bytes: int = 0
    all_bytes: int = 0
    scalars: int = 0


Watch = Callable[[Progress], None]
"""Told of progress after every batch."""


@dataclass
class Gathered:
    """What a corpus' files hold.

    Parameters
    ----------
    corpus
        The corpus.
    folder
        Where the store is.
    index
        Of the store; it has an entry for each of the corpus' files.
    bytes_read, files_changed
        What was new since the last export.
    """

    corpus: Corpus
    folder: Path
    index: Index
    bytes_read: int = 0
    files_changed: int = 0

    def __post_init__(self) -> None:
        self.entries = [self.index.entries[path] for path in self.corpus.files]
        used = {code for number in {entry.tags for entry in self.entries} for code in self._set(number)}
        self.tags = sorted(self.index.tags[code] for code in used)
        """The tags there are, sorted; chunks number them in this order."""
        position = {tag: place for place, tag in enumerate(self.tags)}
        self._rank = np.array([position.get(tag, -1) for tag in self.index.tags], np.int32)
        self.single = all(entry.single for entry in self.entries)
        self.filled = np.array([entry.report.scalars > 0 for entry in self.entries], bool)

    def _set(self, number: int) -> list[int]:
        return self.index.tag_sets[number] if number >= 0 else []

    @property
    def reports(self) -> list[Report]:
        """What reading each file met."""
        return [entry.report for entry in self.entries]

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows of all points that count, in order, some points at a time.

        Raises
        ------
        GoneError
            If the store is damaged.
        """
        corpus, reader = self.corpus, Store(self.folder, self.index.segments)
        rows = np.array([entry.report.scalars for entry in self.entries], np.int64)
        first = np.searchsorted(corpus.of_run, np.arange(len(corpus.runs) + 1))
        of_run = np.append(0, np.cumsum(rows))[first]
        count = np.diff(of_run)[corpus.points]
        if not len(count):
            return
        edges = np.flatnonzero(np.diff(np.maximum(np.cumsum(count) - 1, 0) // CHUNK, prepend=-1)).tolist()
        for low, high in zip(edges, [*edges[1:], len(count)], strict=True):
            runs = corpus.points[low:high]
            sizes = (first[runs + 1] - first[runs]).astype(np.int64)
            point = np.arange(low, high).repeat(sizes)
            within = np.arange(len(point)) - (np.cumsum(sizes) - sizes).repeat(sizes)
            yield self._chunk(reader, low, high, point, first[runs].repeat(sizes) + within, rows)

    def _chunk(self, reader: Store, low: int, high: int, point: Int64, files: Int64, rows: Int64) -> Chunk:
        """Return the rows of some points: their files one after another, and the point of each."""
        numbers = files.tolist()
        entries = [self.entries[file] for file in numbers]
        found = reader.rows(extent for entry in entries for extent in entry.extents)
        covers = [self.corpus.covers[run] for run in self.corpus.of_run[files].tolist()]
        # A run that stands at two points has its folders twice.
        folder = (point - low) * (int(self.corpus.of_folder.max(initial=0)) + 1) + self.corpus.of_folder[files]
        described = Files(
            folder=folder,
            ordinal=self.corpus.ordinals[files],
            rows=rows[files],
            cover_step=np.array([cover.step for cover in covers], np.int64),
            cover_live=np.array([cover.live for cover in covers], np.int64),
            marks=[(place, *mark) for place, entry in enumerate(entries) for mark in entry.report.marks],
        )
        current, vouched = counting(described, found.step)
        of_row = _repeated(point, rows[files])
        chunk = Chunk(
            low,
            high,
            of_row,
            self._rank[found.tag],
            found.step,
            found.wall,
            found.value,
            _repeated(self.corpus.ordinals[files], rows[files]),
        )
        chunk.superseded = np.bincount(of_row[~current] - low, minlength=high - low)
        chunk.uncovered = np.bincount(of_row[current & ~vouched] - low, minlength=high - low)
        del found, of_row  # sorting lets go of each column when it has the next
        chunk.sort(current & vouched, len(self.tags))
        return chunk


def _repeated(values: Int64, counts: Int64) -> Int64:
    """Return each value so many times. Of a large run all rows have one point, most often one attempt: it is held once.

    Its stride is zero then, and only then.
    """
    if len(values) and (values == values[0]).all():
        return np.broadcast_to(values[:1], (int(counts.sum()),))
    return values.repeat(counts)


COLUMNS = ("point", "tag", "step", "wall", "value", "attempt")
"""Names of what a chunk has a number of for each row."""


@dataclass
class Chunk:
    """Rows of some points: ``low <= point < high``.

    Parameters
    ----------
    low, high
        The points.
    point, tag, step, wall, value, attempt
        (n,): the columns; ``tag`` is a position in :attr:`Gathered.tags`.
    superseded, uncovered
        int64 (points,): rows left out.
    """

    low: int
    high: int
    point: Int64
    tag: Int32 | Int64
    step: Int64
    wall: Float64
    value: Float64
    attempt: Int64
    superseded: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    uncovered: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))

    def take(self, rows: Int64 | Bool) -> Chunk:
        """Return some of the rows."""
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def parts(self) -> Iterator[Chunk]:
        """Yield the rows, :data:`CHUNK` at a time, without copying them."""
        for low in range(0, len(self.step), CHUNK):
            yield replace(self, **{name: getattr(self, name)[low : low + CHUNK] for name in COLUMNS})

    def sort(self, keep: Bool, tags: int) -> None:
        """Keep some rows, in the order of point, tag and step; rows of equal step stay as they were written."""
        if not keep.all():
            self._put(np.flatnonzero(keep))
        key: npt.NDArray[np.integer[Any]] = self.tag
        if self.high - self.low > 1:
            key = (self.point - self.low) * max(tags, 1) + self.tag
        if (self.high - self.low) * max(tags, 1) < 1 << 16:
            key = key.astype(np.uint16)  # so few can be sorted by counting
        order = np.argsort(key, kind="stable")
        self._put(order)
        if np.any((self.step[1:] < self.step[:-1]) & ~self._starts()[1:]):
            self._put(np.lexsort((self.step, key[order])))

    def _put(self, rows: Int64) -> None:
        """Leave some of the rows, column by column: never are all columns held twice."""
        for name in COLUMNS:
            column = getattr(self, name)
            setattr(self, name, column[rows] if column.strides[0] else column[: len(rows)])

    def _starts(self) -> Bool:
        """Say of each row whether a series begins with it."""
        return np.append(True, (self.tag[1:] != self.tag[:-1]) | (self.point[1:] != self.point[:-1]))[: len(self.tag)]

    def latest(self) -> Chunk:
        """Return one row per point, tag and step: the one that was written last."""
        again = np.append((self.step[1:] == self.step[:-1]) & ~self._starts()[1:], False)[: len(self.step)]
        return self.take(~again) if again.any() else self

    def of_tags(self, wanted: Bool) -> Chunk:
        """Return the rows of some tags."""
        return self if wanted.all() else self.take(wanted[self.tag])

    def thinned(self, every: int) -> Chunk:
        """Return every so many rows of each series, beginning with the first."""
        if every == 1:
            return self
        rows = np.arange(len(self.step))
        first = np.maximum.accumulate(np.where(self._starts(), rows, 0))
        return self.take((rows - first) % every == 0)

    def last(self) -> Chunk:
        """Return the last row of each series."""
        return self.take(np.append(self._starts()[1:], True)[: len(self.step)])


def gather(corpus: Corpus, folder: Path, *, watch: Watch | None = None) -> Gathered:
    """Bring the files of a corpus into the store; :func:`export.store.save` keeps them for the next export.

    Parameters
    ----------
    corpus
        The corpus.
    folder
        Where the store is.
    watch
        Told of progress.

    Raises
    ------
    OSError
        If the store cannot be written.
    """
    index = Index.load(folder)
    known = index.entries
    index.entries, wanted, total = _changed(corpus.files, index)
    if corpus.narrowed:  # the next export may be of all runs again
        index.entries = {**known, **index.entries}
    decoder = Decoder(index.tags)
    prefixes = dict(zip(corpus.files, corpus.prefixes, strict=True))
    sets = {tuple(codes): number for number, codes in enumerate(index.tag_sets)}
    entries = [index.entries[path] for path in wanted]
    for entry in entries:
        if entry.plugins:
            decoder.plugins[entry.report.path] = entry.plugins
    progress = Progress(len(corpus.files) - len(wanted), len(corpus.files), 0, total)
    begun = [entry.report.end for entry in entries]
    told = list(begun)
    with store.new_segment(folder) as writer:
        for batch in Reader(decoder).read([entry.report for entry in entries]):
            rows = batch.rows
            first = rows.first.tolist()
            _prefix(batch, decoder, [prefixes[wanted[number]] for number in batch.files])
            low = writer.append(rows)
            for place, codes in enumerate(_tags_of(rows.tag, rows.first, len(decoder.known.codes))):
                entry = entries[batch.files[place]]
                if first[place + 1] > first[place]:
                    entry.extents.append(Extent(writer.name, low + first[place], low + first[place + 1]))
                    before = index.tag_sets[entry.tags] if entry.tags >= 0 else []
                    merged = codes if not before else tuple(sorted({*before, *codes}))
                    if merged not in sets:
                        sets[merged] = len(index.tag_sets)
                        index.tag_sets.append(list(merged))
                    entry.tags = sets[merged]
                    entry.single &= rows.single
            for number in batch.files:
                progress.bytes += entries[number].report.end - told[number]
                told[number] = entries[number].report.end
            progress.files = len(corpus.files) - len(wanted) + batch.files[-1] + 1
            progress.scalars += len(rows.step)
            if watch is not None:
                watch(progress)
        for entry in entries:
            entry.plugins = decoder.plugins.get(entry.report.path, {})
            if entry.report.unread:
                entry.mtime = -1  # so that the next export tries again
        index.tags = decoder.tags
        if writer.rows:
            index.segments[writer.name] = writer.blocks
        fresh = writer.rows
    if store.crowded(index, fresh):
        store.compact(folder, index, list(index.entries))
    read = sum(
        max(0, entry.report.end + entry.report.tail - start) for entry, start in zip(entries, begun, strict=True)
    )
    return Gathered(corpus, folder, index, read, len(wanted))


def _changed(files: Sequence[str], index: Index) -> tuple[dict[str, Entry], list[str], int]:
    """Return an entry for each file, those that are to be read from their reports' ends on, and the bytes of that."""
    entries: dict[str, Entry] = {}
    wanted: list[str] = []
    total = 0
    for path in files:
        state = store.file_state(path)
        old = index.entries.get(path)
        size, mtime, inode = state or (0, 0, 0)
        if old is not None and state == (old.report.size, old.mtime, old.inode):
            entries[path] = old
            continue
        # Of a damaged file that changed, the damage may have changed too: a network file system shows pages late. And a
        # file that was written without growing was written somewhere in its middle.
        grown = (
            old is not None
            and inode == old.inode
            and size > old.report.size
            and not old.report.damage
            and goes_on(old.report)
        )
        entry = old if grown and old is not None else Entry(Report(path))
        entry.mtime, entry.inode = mtime, inode
        entries[path] = entry
        wanted.append(path)
        total += size - entry.report.end
    return entries, wanted, total


def _tags_of(tag: Int32, first: Int64, tags: int) -> list[tuple[int, ...]]:
    """Return for each piece of a batch the codes of its tags, ascending."""
    pieces, width = len(first) - 1, max(tags, 1)
    there = np.zeros(pieces * width, bool)
    there[(np.arange(pieces) * width).repeat(np.diff(first)) + tag] = True
    known: dict[bytes, tuple[int, ...]] = {}
    found = []
    for row in there.reshape(pieces, width):
        key = row.tobytes()
        if key not in known:
            known[key] = tuple(np.flatnonzero(row).tolist())
        found.append(known[key])
    return found


def _prefix(batch: Batch, decoder: Decoder, prefixes: Sequence[str]) -> None:
    """Give the tags of some pieces of a batch what they begin with."""
    rows = batch.rows
    names: list[str] = []
    for place, prefix in enumerate(prefixes):
        if not prefix:
            continue
        names = names or decoder.tags
        part = rows.tag[rows.first[place] : rows.first[place + 1]]
        for code in np.unique(part).tolist():
            part[part == code] = -2 - decoder.known.code(prefix + names[code])
        part[:] = -2 - part
