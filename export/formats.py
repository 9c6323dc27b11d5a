"""How a table is written: one entry of :data:`FORMATS` per format. Files appear whole, or not at all."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from orchestrator.study import atomic

GZIP_LEVEL = 6


@dataclass(frozen=True)
class Written:
    """A table file as the manifest names it: name, rows, bytes, and the BLAKE2b-128 of its content."""

    name: str
    rows: int
    bytes: int
    blake2b: str


class Table:
    """A table that is being written, row group after row group."""

    def __init__(self, name: str, put: Callable[[Any], None]) -> None:
        self.name, self.rows = name, 0
        self.result: Written | None = None
        self._put = put

    def add(self, batch: Any) -> None:
        """Append an Arrow table of the table's schema."""
        if batch.num_rows:
            self._put(batch)
            self.rows += batch.num_rows


class _Counting:
    """A file that can only be written to, and knows the size and the digest of what was written."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self.size = 0
        self._file = file

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size += len(data)
        self._file.write(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """Leave the file open: who opened it closes it."""


@contextmanager
def writing(path: Path, schema: Any, form: str) -> Iterator[Table]:
    """Write a table that appears as ``path``, as a whole, when the context ends well.

    Parameters
    ----------
    path
        The file.
    schema
        The Arrow schema.
    form
        One of :data:`FORMATS`.
    """
    with atomic.writing(path) as file:
        counting = _Counting(file)
        with FORMATS[form](cast("BinaryIO", counting), schema) as put:
            table = Table(path.name, put)
            yield table
    table.result = Written(path.name, table.rows, counting.size, counting.digest.hexdigest())


@contextmanager
def streaming(file: BinaryIO, schema: Any, form: str) -> Iterator[Table]:
    """Write a table to an open file, a pipe for one."""
    counting = _Counting(file)
    with FORMATS[form](cast("BinaryIO", counting), schema) as put:
        table = Table("-", put)
        yield table
    file.flush()
    table.result = Written("-", table.rows, counting.size, counting.digest.hexdigest())


def write(path: Path, schema: Any, batches: Iterable[Any], form: str) -> Written:
    """Write a table from Arrow tables of one schema; see :func:`writing`."""
    with writing(path, schema, form) as table:
        for batch in batches:
            table.add(batch)
    assert table.result is not None
    return table.result


@contextmanager
def _csv(file: BinaryIO, schema: Any) -> Iterator[Callable[[Any], None]]:
    import pyarrow as pa
    from pyarrow import csv

    with csv.CSVWriter(pa.PythonFile(file, mode="w"), schema) as writer:
        yield writer.write_table


@contextmanager
def _csv_gz(file: BinaryIO, schema: Any) -> Iterator[Callable[[Any], None]]:
    # Without a name and a time in its header, equal tables are equal files.
    with (
        gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=0) as packed,
        _csv(cast("BinaryIO", packed), schema) as put,
    ):
        yield put


@contextmanager
def _parquet(file: BinaryIO, schema: Any) -> Iterator[Callable[[Any], None]]:
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
        yield writer.write_table


FORMATS: Mapping[str, Callable[[BinaryIO, Any], AbstractContextManager[Callable[[Any], None]]]] = {
    "csv": _csv,
    "csv.gz": _csv_gz,
    "parquet": _parquet,
}
"""Ending of the file to the function that writes it: given a file and a schema, a context that takes Arrow tables."""
