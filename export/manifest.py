"""The manifest of an export: what was expected, read, left out and written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from export.formats import Written
from export.reader import Report
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
        Event files, their bytes, and the whole records in them, read now or for an earlier export.
    scalars
        Scalars that count, of all tags.
    superseded, uncovered
        Scalars left out: a restarted attempt took them back; no checkpoint, verdict or live writer vouches for them.
    repeated
        Scalars left out because a later one has the same run, tag and step; 0 where all of them stay.
    dropped_bytes
        Bytes of damaged stretches.
    tails
        Files that end in an unfinished record: their writers live, or were killed.
    damage
        The damaged stretches: file, offset, bytes, why.
    tags
        Tags in the tables.
    unmatched
        Patterns of tags that no tag matches.
    where, duplicates
        How runs were chosen, and what became of several scalars at one step.
    files
        What was written.
    digest
        BLAKE2b-128 over the digests of the files; equal tables have equal digests.
    folder
        Where the tables are.
    bytes_new, files_new
        What of the event files had to be read this time. Not part of the file.
    unchanged
        Whether the tables were as they are already. Not part of the file.
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
    repeated: int = 0
    dropped_bytes: int = 0
    tails: int = 0
    damage: list[dict[str, str | int]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    duplicates: str = ""
    files: list[Written] = field(default_factory=list)
    digest: str = ""
    folder: Path = field(default_factory=Path, compare=False)
    bytes_new: int = field(default=0, compare=False)
    files_new: int = field(default=0, compare=False)
    unchanged: bool = field(default=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON-able data, without the folder: a moved study keeps a true manifest."""
        data = asdict(self)
        for passing in ("folder", "bytes_new", "files_new", "unchanged"):
            del data[passing]
        return {"schema": 1, **data}

    def close(self) -> None:
        """Compute the digest of what was written, and write the manifest beside it."""
        content = "".join(f"{file.name} {file.blake2b}\n" for file in self.files)
        self.digest = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        data = json.dumps(self.to_json(), indent=1, ensure_ascii=False).encode("utf-8", "surrogateescape")
        atomic.replace(self.folder / MANIFEST, data + b"\n")

    def met(self, reports: Sequence[Report], lost: Sequence[tuple[str, str]] = ()) -> None:
        """Take over what reading the files met, and which folders cannot be listed, and why."""
        self.files_read = len(reports)
        self.bytes_read = sum(report.size for report in reports)
        self.records = sum(report.records for report in reports)
        self.tails = sum(report.tail > 0 for report in reports)
        damaged = [(report.path, stretch) for report in reports for stretch in report.damage]
        self.dropped_bytes = sum(stretch.length for _, stretch in damaged)
        self.damage = [
            {"file": path, "offset": stretch.offset, "bytes": stretch.length, "why": stretch.why}
            for path, stretch in damaged
        ]
        self.damage += [{"file": path, "offset": 0, "bytes": 0, "why": why} for path, why in lost]

    @staticmethod
    def load(folder: Path) -> Manifest | None:
        """Read the manifest of a folder of tables, or None if there is none."""
        try:
            data = json.loads((folder / MANIFEST).read_bytes())
            known = {name: value for name, value in data.items() if name in Manifest.__dataclass_fields__}
            known["files"] = [Written(**file) for file in known.get("files", ())]
            return Manifest(**known, folder=folder)
        except (OSError, ValueError, TypeError, AttributeError):
            return None
