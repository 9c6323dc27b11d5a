"""The manifest of an export: what was expected, read, left out and written."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export.corpus import Corpus
from export.formats import Written
from orchestrator.study import atomic

MANIFEST = "manifest.json"


@dataclass
class Manifest:
    """What an export read and wrote.

    Parameters
    ----------
    name, generation
        The study and the generation of its grid; generation 0 for a folder.
    points
        Points of the grid: labelled occurrences of runs.
    expected, read, missing, finished
        Distinct runs: all of them; those of which there are rows; the rest; those that have a verdict.
    files_read, bytes_read, records
        Event files, their bytes, and the whole records in them.
    scalars
        Scalars that count.
    superseded, uncovered
        Scalars left out: a restarted attempt took them back; no checkpoint, verdict or live writer vouches for them.
    dropped_bytes
        Bytes of damaged stretches.
    tails
        Files that end in an unfinished record: their writers live, or were killed.
    damage
        The damaged stretches: file, offset, bytes, why.
    tags
        Tags in the tables.
    files
        What was written.
    digest
        BLAKE2b-128 over the digests of the files; equal tables have equal digests.
    folder
        Where the tables are.
    """

    name: str
    generation: int = 0
    points: int = 0
    expected: int = 0
    read: int = 0
    missing: int = 0
    finished: int = 0
    files_read: int = 0
    bytes_read: int = 0
    records: int = 0
    scalars: int = 0
    superseded: int = 0
    uncovered: int = 0
    dropped_bytes: int = 0
    tails: int = 0
    damage: list[dict[str, str | int]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    files: list[Written] = field(default_factory=list)
    digest: str = ""
    folder: Path = Path()

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON-able data, without the folder: a moved study keeps a true manifest."""
        data = asdict(self)
        del data["folder"]
        return {"schema": 1, **data}

    def close(self) -> None:
        """Compute the digest of what was written, and write the manifest beside it."""
        content = "".join(f"{file.name} {file.blake2b}\n" for file in self.files)
        self.digest = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        data = json.dumps(self.to_json(), indent=1, ensure_ascii=False).encode("utf-8", "surrogateescape")
        atomic.replace(self.folder / MANIFEST, data + b"\n")

    @staticmethod
    def load(folder: Path) -> Manifest | None:
        """Read the manifest of a folder of tables, or None if there is none."""
        try:
            data = json.loads((folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return None
        known = {name: value for name, value in data.items() if name in Manifest.__dataclass_fields__}
        known["files"] = [Written(**file) for file in known.get("files", ())]
        return Manifest(**known, folder=folder)


def begin(corpus: Corpus, tags: list[str], folder: Path) -> Manifest:
    """Return the manifest of what was read; the files are added as they are written.

    Parameters
    ----------
    corpus
        Everything that was read.
    tags
        The tags that go into the tables.
    folder
        Where the tables go.
    """
    reports = corpus.reports
    read = int(np.count_nonzero(corpus.count))
    return Manifest(
        name=corpus.name,
        generation=corpus.generation,
        points=len(corpus.points),
        expected=len(corpus.runs),
        read=read,
        missing=len(corpus.runs) - read,
        finished=int(np.count_nonzero(corpus.finished)),
        files_read=len(reports),
        bytes_read=sum(report.size for report in reports),
        records=sum(report.records for report in reports),
        scalars=len(corpus.columns),
        superseded=corpus.superseded,
        uncovered=corpus.uncovered,
        dropped_bytes=sum(damage.length for report in reports for damage in report.damage),
        tails=sum(report.tail > 0 for report in reports),
        damage=[
            {"file": report.path, "offset": damage.offset, "bytes": damage.length, "why": damage.why}
            for report in reports
            for damage in report.damage
        ],
        tags=tags,
        folder=folder,
    )
