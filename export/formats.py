"""How a table is written: one entry of :data:`FORMATS` per format. Files appear whole, or not at all."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.study import atomic

GZIP_LEVEL = 6


@dataclass(frozen=True)
class Written:
    """A table file as the manifest names it: name, rows, bytes, and the BLAKE2b-128 of its content."""

    name: str
    rows: int
    bytes: int
    blake2b: str


def write(path: Path, schema: Any, batches: Iterable[Any], form: str) -> Written:
    """Write a table from Arrow tables of one schema.

    Parameters
    ----------
    path
        The file; it is replaced as a whole.
    schema
        The Arrow schema.
    batches
        Arrow tables, in order.
    form
        One of :data:`FORMATS`.
    """
    rows = 0

    def counted() -> Iterable[Any]:
        nonlocal rows
        for batch in batches:
            rows += batch.num_rows
            yield batch

    atomic.write_new(path, lambda file: FORMATS[form](file, schema, counted()))
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return Written(path.name, rows, path.stat().st_size, digest.hexdigest())


def _csv(file: BinaryIO, schema: Any, batches: Iterable[Any]) -> None:
    import pyarrow as pa
    from pyarrow import csv

    with csv.CSVWriter(pa.PythonFile(file, mode="w"), schema) as writer:
        for batch in batches:
            writer.write_table(batch)


def _csv_gz(file: BinaryIO, schema: Any, batches: Iterable[Any]) -> None:
    # Without a name and a time in its header, equal tables are equal files.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=0) as packed:
        _csv(packed, schema, batches)  # type: ignore[arg-type]


def _parquet(file: BinaryIO, schema: Any, batches: Iterable[Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    encodings = {
        field.name: "BYTE_STREAM_SPLIT" if pa.types.is_floating(field.type) else "DELTA_BINARY_PACKED"
        for field in schema
        if pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
    }
    with parquet.ParquetWriter(
        pa.PythonFile(file, mode="w"),
        schema,
        compression="zstd",
        use_dictionary=[field.name for field in schema if field.name not in encodings],
        column_encoding=encodings,
    ) as writer:
        for batch in batches:
            writer.write_table(batch)


FORMATS: Mapping[str, Callable[[BinaryIO, Any, Iterable[Any]], None]] = {
    "csv": _csv,
    "csv.gz": _csv_gz,
    "parquet": _parquet,
}
"""Ending of the file to the function that writes it."""
