"""Folders of event files, and the tables made of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from export.manifest import Manifest
from tests.export.events import version


def write(folder: Path, *parts: bytes, name: str = "events.out.tfevents.1.host") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(version() + b"".join(parts))
    return folder / name


def table(folder: Path, name: str = "long.parquet") -> pd.DataFrame:
    return pd.read_parquet(folder / name) if name.endswith("parquet") else pd.read_csv(folder / name)


def digests(folder: Path) -> dict[str, str]:
    manifest = Manifest.load(folder)
    assert manifest is not None
    return {file.name: file.blake2b for file in manifest.files}
