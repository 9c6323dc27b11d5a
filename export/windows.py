"""Bytes at many places of a buffer at once, aligned or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


def gather(buffer: Bytes, width: int, places: Int64) -> Bytes:
    """Return the ``width`` bytes from some places on, uint8 (n, width).

    They are copied as one item each, which takes half as long as so many bytes.
    """
    windows: npt.NDArray[np.void] = np.ndarray((len(buffer) - width + 1,), f"V{width}", buffer, 0, (1,))
    return windows[places].view(np.uint8).reshape(len(places), width)


def column(records: Bytes, offset: int, dtype: str) -> npt.NDArray[Any]:
    """Return the numbers that stand at one offset in each record of uint8 (n, width): a view of (n,)."""
    return records[:, offset : offset + np.dtype(dtype).itemsize].view(dtype)[:, 0]
