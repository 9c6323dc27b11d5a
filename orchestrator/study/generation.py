"""One version of a study's grid, as it was published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import identity

if TYPE_CHECKING:
    from orchestrator.points import Points


class Generation:
    """One version of a study's grid.

    Parameters
    ----------
    g
        Its number, from 1.
    folder
        The study's folder.
    """

    def __init__(self, g: int, folder: Path) -> None:
        self.g = g
        self._stem = folder / f"grid.{g}"

    @cached_property
    def text(self) -> str:
        """The grid file as it was submitted."""
        return Path(f"{self._stem}.yaml").read_text(encoding="utf-8")

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the grid resolved to: experiment, version, form, overrides, resources, export, figures, created."""
        info: dict[str, Any] = json.loads(Path(f"{self._stem}.json").read_bytes())
        return info

    @cached_property
    def ids(self) -> bytes:
        """Raw run ids of all points, ``identity.ID_BYTES`` each, end to end, in grid order."""
        return Path(f"{self._stem}.ids").read_bytes()

    @cached_property
    def runs(self) -> list[bytes]:
        """Raw run id of each point."""
        size, ids = identity.ID_BYTES, self.ids
        return [ids[at : at + size] for at in range(0, len(ids), size)]

    def says(self, text: str, info: Mapping[str, Any], ids: bytes) -> bool:
        """Say whether it is the same but for its time."""
        same = {**self.info, "created": ""} == {**info, "created": ""}
        return same and self.text == text and self.ids == ids

    @cached_property
    def points(self) -> Points:
        """The points with all their parameters and labels."""
        from orchestrator.points import Points

        return Points.load(self.info["points"], self.ids)
