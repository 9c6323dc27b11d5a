"""The points of a grid, column by column: what a study stores and what every reader of a study asks.

Nothing is kept per point but its id and one small code per axis. Two points may be the same run, under other labels.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from orchestrator.identity import ID_BYTES, Leaf


class Missing:
    """The value of a path that does not exist at a point, because its group is null there."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()

Value = Leaf | Missing

# Item sizes of ``array`` type codes differ between platforms; a stored code array must not.
_SIZES: Final = {"B": 1, "H": 2, "I": 4}


@dataclass
class Column:
    """One resolved leaf, or one label, at every point.

    Parameters
    ----------
    by
        Name of the code array that indexes ``values``; ``""`` means ``values[0]`` at every point.
    values
        The distinct values, :data:`MISSING` where there is none.
    """

    by: str
    values: Sequence[Value]


@dataclass
class Points:
    """The points of one grid, in grid order.

    Parameters
    ----------
    ids
        ``ID_BYTES`` per point.
    codes
        Arrays of type ``B``, ``H`` or ``I`` with one entry per point.
    leaves
        ``{dotted path: column}`` of the resolved parameters, defaults included.
    labels
        ``{axis: column}`` of the text of the value, or the bundle's name.
    resources
        ``(code array, overrides)``: what differs from the grid's resources at some points, as plain mappings.
    """

    ids: bytearray = field(default_factory=bytearray)
    codes: dict[str, array[int]] = field(default_factory=dict)
    leaves: dict[str, Column] = field(default_factory=dict)
    labels: dict[str, Column] = field(default_factory=dict)
    resources_by: str = ""
    resources: list[dict[str, Any]] = field(default_factory=lambda: [{}])

    def __len__(self) -> int:
        return len(self.ids) // ID_BYTES

    def id(self, i: int) -> bytes:
        """Return the raw id of point ``i``."""
        if not 0 <= i < len(self):
            raise IndexError(f"there is no point {i} among {len(self)}")
        return bytes(self.ids[i * ID_BYTES : (i + 1) * ID_BYTES])

    def run_count(self) -> int:
        """Return the number of distinct runs."""
        ids = self.ids
        return len({bytes(ids[i : i + ID_BYTES]) for i in range(0, len(ids), ID_BYTES)})

    def at(self, column: Column, i: int) -> Value:
        """Return the value of a column at point ``i``."""
        return column.values[self.codes[column.by][i] if column.by else 0]

    def params(self, i: int) -> dict[str, Leaf]:
        """Return the flattened parameters of point ``i``; ``orchestrator.experiment.nest`` undoes the flattening."""
        return _present(self, self.leaves, i)

    def label(self, i: int) -> dict[str, str]:
        """Return ``{axis: text}`` of point ``i``; an axis that this point does not have is left out."""
        return {name: str(value) for name, value in _present(self, self.labels, i).items()}

    def resource(self, i: int) -> dict[str, Any]:
        """Return what point ``i`` asks beyond or instead of the grid's ``resources``."""
        return self.resources[self.codes[self.resources_by][i] if self.resources_by else 0]

    def dump(self) -> dict[str, Any]:
        """Return everything but the ids as JSON-able values; code arrays are base64 of little-endian integers."""
        return {
            "count": len(self),
            "codes": {
                name: {"type": codes.typecode, "data": base64.b64encode(_little(codes)).decode()}
                for name, codes in self.codes.items()
            },
            "leaves": {path: _dump(column) for path, column in self.leaves.items()},
            "labels": {name: _dump(column) for name, column in self.labels.items()},
            "resources": {"by": self.resources_by, "values": self.resources},
        }

    @classmethod
    def load(cls, info: Mapping[str, Any], ids: bytes) -> Points:
        """Undo :meth:`dump`.

        Raises
        ------
        ValueError
            If the ids or a code array do not have one entry per point.
        """
        count = info["count"]
        if len(ids) != count * ID_BYTES:
            raise ValueError(f"{len(ids)} bytes of ids are not {count} points")
        codes: dict[str, array[int]] = {}
        for name, stored in info["codes"].items():
            data = base64.b64decode(stored["data"])
            if len(data) != count * _SIZES[stored["type"]]:
                raise ValueError(f"the codes of {name!r} are not {count} points")
            codes[name] = _from_little(stored["type"], data)
        return cls(
            ids=bytearray(ids),
            codes=codes,
            leaves={path: _load(column) for path, column in info["leaves"].items()},
            labels={name: _load(column) for name, column in info["labels"].items()},
            resources_by=info["resources"]["by"],
            resources=info["resources"]["values"],
        )


def _present(points: Points, columns: Mapping[str, Column], i: int) -> dict[str, Leaf]:
    values = ((name, points.at(column, i)) for name, column in columns.items())
    return {name: value for name, value in values if not isinstance(value, Missing)}


def _dump(column: Column) -> dict[str, Any]:
    return {"by": column.by, "values": [{"missing": True} if value is MISSING else value for value in column.values]}


def _load(stored: Mapping[str, Any]) -> Column:
    return Column(stored["by"], [MISSING if isinstance(value, dict) else value for value in stored["values"]])


def code_type(count: int) -> str:
    """Return the smallest ``array`` type code that can tell ``count`` values apart."""
    return next(name for name, size in _SIZES.items() if count <= 1 << 8 * size)


def _little(codes: array[int]) -> bytes:
    if sys.byteorder == "big":
        codes = codes[:]
        codes.byteswap()
    return codes.tobytes()


def _from_little(typecode: str, data: bytes) -> array[int]:
    codes = array(typecode)
    codes.frombytes(data)
    if sys.byteorder == "big":
        codes.byteswap()
    return codes
