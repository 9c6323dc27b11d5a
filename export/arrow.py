"""NumPy arrays and lists as Arrow arrays, by their buffers: ``pa.array`` would import pandas, which costs more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Bool = npt.NDArray[np.bool_]

_TYPES = {"i8": "int64", "i4": "int32", "f8": "float64", "f4": "float32"}


def numbers(values: npt.NDArray[Any], there: Bool | None = None) -> Any:
    """Return an array of int32, int64, float32 or float64; null where ``there`` is false."""
    import pyarrow as pa

    kind = getattr(pa, _TYPES[values.dtype.str[1:]])()
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(kind, len(values), [_validity(there), data])


def flags(values: Bool, there: Bool | None = None) -> Any:
    """Return an array of booleans; null where ``there`` is false."""
    import pyarrow as pa

    return pa.Array.from_buffers(
        pa.bool_(), len(values), [_validity(there), pa.py_buffer(np.packbits(values, bitorder="little"))]
    )


def texts(values: Sequence[str | None]) -> Any:
    """Return an array of texts; what UTF-8 cannot say (a file's name may be anything) is replaced."""
    import pyarrow as pa

    data = [b"" if value is None else value.encode("utf-8", "replace") for value in values]
    offsets = np.zeros(len(data) + 1, np.int32)
    np.cumsum([len(item) for item in data], out=offsets[1:])
    there = np.array([value is not None for value in values], bool)
    return pa.Array.from_buffers(
        pa.string(), len(data), [_validity(there), pa.py_buffer(offsets), pa.py_buffer(b"".join(data))]
    )


def dictionary(codes: npt.NDArray[np.integer[Any]], values: Any) -> Any:
    """Return a dictionary-encoded array; a negative code is null."""
    import pyarrow as pa

    there = codes >= 0
    index = numbers(codes.astype(np.int32), None if there.all() else there)
    return pa.DictionaryArray.from_arrays(index, values)


def _validity(there: Bool | None) -> Any:
    if there is None or there.all():
        return None
    import pyarrow as pa

    return pa.py_buffer(np.packbits(there, bitorder="little"))
