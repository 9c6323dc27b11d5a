"""Where a setting's value comes from: command line > environment > grid > ``[tool.orchestrator]`` > default.

``root`` and every resource of a grid (``cluster``, ``workers``, ``partition`` …) are settings. In the environment they
are called ``ORCH_ROOT``, ``ORCH_CLUSTER`` and so on; in ``pyproject.toml`` they stand under ``[tool.orchestrator]`` by
their own names, a relative ``root`` counting from the file's folder.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Place, UserError, nearest

if TYPE_CHECKING:
    from orchestrator.grid import Resources

PREFIX = "ORCH_"
TABLE = b"[tool.orchestrator]"


def project_file(start: Path | None = None) -> Path | None:
    """Return the nearest ``pyproject.toml`` of this folder or those above it that has a table of ours."""
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return file if TABLE in file.read_bytes() else None
    return None


def project_settings(start: Path | None = None) -> dict[str, Any]:
    """Return ``[tool.orchestrator]`` of the nearest ``pyproject.toml``; empty where there is none.

    Raises
    ------
    UserError
        If the file is no TOML, or this Python has no TOML reader.
    """
    file = project_file(start)
    if file is None:
        return {}
    try:
        import tomllib as toml
    except ModuleNotFoundError:  # Python 3.10
        try:
            import tomli as toml  # type: ignore[import-not-found,no-redef,unused-ignore]
        except ModuleNotFoundError:
            raise UserError(
                "Python 3.10 cannot read [tool.orchestrator]: install tomli, or use Python 3.11 or later",
                places=(Place(str(file)),),
            ) from None
    try:
        table: dict[str, Any] = toml.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("orchestrator", {})
    except (toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"this is no TOML: {error}", places=(Place(str(file)),)) from error
    if "root" in table:
        table["root"] = str(file.parent / table["root"])
    return table


def root(flag: str | None) -> Path:
    """Return the folder of all studies.

    Parameters
    ----------
    flag
        What ``--root`` says, if anything.
    """
    found = flag or os.environ.get(f"{PREFIX}ROOT") or project_settings().get("root")
    return Path(found or "runs").absolute()


def resources(grid: Resources, given: Container[str] = ()) -> Resources:
    """Return a grid's resources with what the environment and the project say about them.

    Parameters
    ----------
    grid
        What the grid says, and the command line on top of it.
    given
        Names that the command line gave: the environment does not change them.

    Raises
    ------
    UserError
        If a name or a value is none that a grid could have, naming where it came from.
    """
    from pydantic import ValidationError

    names = type(grid).model_fields
    file, own = project_file(), project_settings()
    layers: list[tuple[str, Mapping[str, Any]]] = [
        (str(file), {name: value for name, value in own.items() if name != "root"}),
        ("the grid", {name: getattr(grid, name) for name in grid.model_fields_set}),
        *(
            (PREFIX + name.upper(), {name: int(text) if text.isdecimal() else text})
            for name in names
            if name not in given and (text := os.environ.get(PREFIX + name.upper())) is not None
        ),
    ]
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, values in layers:
        merged |= values
        origin |= dict.fromkeys(values, source)
    try:
        return type(grid).model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            message = f"there is no resource {name!r}.{nearest(name, names)}"
        else:
            message = f"{name} cannot be {first['input']!r}: {first['msg']}"
        raise UserError(message, places=(Place(origin.get(name, "the grid")),)) from error
