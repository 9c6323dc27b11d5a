"""Where a figure comes from, written into its PDF: an update appended to the file, as the format provides for.

The document information then names the study, ``n = read of expected``, and digests of the table that is drawn, of
``runs.csv`` and of the figure's own description. Comparing them later tells whether the figure is stale.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "orch"

_KEYWORDS = re.compile(rb"/Keywords <([0-9A-F]+)>")


@dataclass(frozen=True)
class Lineage:
    """What a figure was drawn from.

    Parameters
    ----------
    study
        Name of the study.
    read, expected
        Runs.
    table, runs, figure
        Digests: of the table that is drawn, of ``runs.csv``, of the figure's description and script.
    """

    study: str
    read: int
    expected: int
    table: str
    runs: str
    figure: str

    @property
    def caption(self) -> str:
        """What stands below the figure."""
        return f"n = {self.read} of {self.expected} runs read; table {self.table[:12]}"

    def is_stale(self, runs: str, figure: str | None) -> bool:
        """Say whether the figure would be drawn from other data, or, if that is known, otherwise, today."""
        return self.runs != runs or (figure is not None and self.figure != figure)


def figure_digest(figure: Mapping[str, Any], script: bytes) -> str:
    """Return the digest of a figure's description and its script."""
    described = json.dumps(dict(figure), sort_keys=True, default=str).encode()
    return hashlib.blake2b(described + b"\0" + script, digest_size=8).hexdigest()


def stamp(path: Path, lineage: Lineage, name: str = "") -> None:
    """Write a lineage into a PDF, and the figure's name; a file that is no PDF, or an odd one, stays as it is."""
    data = path.read_bytes()
    words = json.dumps(vars(lineage), ensure_ascii=True)
    info = {
        "Title": f"{lineage.study}: {name or path.stem}",
        "Subject": f"n = {lineage.read} of {lineage.expected} runs",
        "Keywords": f"{PREFIX} {words}",
        "Creator": "orch",
    }
    path.write_bytes(data + _update(data, info))


def read(path: Path) -> Lineage | None:
    """Read the lineage of a PDF; None where there is none."""
    try:
        found = _KEYWORDS.findall(path.read_bytes())
        text = bytes.fromhex(found[-1].decode()).decode("utf-16")
        return Lineage(**json.loads(text.removeprefix(PREFIX)))
    except (OSError, IndexError, ValueError, TypeError):
        return None


def _update(data: bytes, info: Mapping[str, str]) -> bytes:
    """Return what is appended to a PDF so that ``info`` is its document information; nothing where it is odd."""
    start = re.search(rb"startxref\s+(\d+)\s+%%EOF\s*$", data)
    if not data.startswith(b"%PDF-") or start is None:
        return b""
    before = int(start.group(1))
    table = data[before : before + 4] == b"xref"
    dictionary = data[data.find(b"trailer", before) if table else before :]
    size, root = re.search(rb"/Size\s+(\d+)", dictionary), re.search(rb"/Root\s+(\d+\s+\d+\s+R)", dictionary)
    if size is None or root is None:
        return b""
    number = int(size.group(1))
    content = " ".join(f"/{name} <FEFF{_hex(text)}>" for name, text in info.items())
    added = f"\n{number} 0 obj\n<< {content} >>\nendobj\n".encode()
    place = len(data) + 1
    at = len(data) + len(added)
    common = f"/Root {root.group(1).decode()} /Info {number} 0 R /Prev {before}"
    if table:
        added += f"xref\n{number} 1\n{place:010d} 00000 n \ntrailer\n<< /Size {number + 1} {common} >>\n".encode()
    else:
        entries = b"".join(b"\1" + offset.to_bytes(8, "big") + b"\0\0" for offset in (place, at))
        head = f"/Type /XRef /Size {number + 2} /W [1 8 2] /Index [{number} 2] {common} /Length {len(entries)}"
        added += f"{number + 1} 0 obj\n<< {head} >>\nstream\n".encode() + entries + b"\nendstream\nendobj\n"
    return added + f"startxref\n{at}\n%%EOF\n".encode()


def _hex(text: str) -> str:
    return text.encode("utf-16-be").hex().upper()
