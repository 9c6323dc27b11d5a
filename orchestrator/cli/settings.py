"""Where a setting's value comes from.

Command line > environment > grid > ``[tool.orchestrator]`` > cluster profile > default.

``root`` and every resource of a grid (``cluster``, ``workers``, ``partition`` …) are settings. In the environment they
are called ``ORCH_ROOT``, ``ORCH_CLUSTER`` and so on; in ``pyproject.toml`` they stand under ``[tool.orchestrator]`` by
their own names, a relative ``root`` counting from the file's folder. Which profile counts is decided by ``cluster``.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from orchestrator.clusters import profiles
from orchestrator.errors import Place, UserError, nearest

if TYPE_CHECKING:
    from orchestrator.grid import Resources

PREFIX = "ORCH_"
TABLE = re.compile(rb"\[\s*tool\s*\.\s*orchestrator\s*[.\]]")
"""Begins our table, or a group of it such as ``[tool.orchestrator.limits]``."""


def project_file(start: Path | None = None) -> Path | None:
    """Return the nearest ``pyproject.toml`` of this folder or those above it that has a table of ours."""
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return file if TABLE.search(file.read_bytes()) else None
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
        table["root"] = str(file.parent / Path(table["root"]).expanduser())
    return table


def root(flag: str | None) -> Path:
    """Return the folder of all studies.

    Parameters
    ----------
    flag
        What ``--root`` says, if anything.
    """
    found = flag or os.environ.get(f"{PREFIX}ROOT") or project_settings().get("root")
    return Path(found or "runs").expanduser().absolute()  # no shell does it in `--root=~/runs`


def resources(grid: Resources, given: Container[str] = ()) -> Resources:
    """Return a grid's resources with what the environment, the project and the cluster's profile say about them.

    Groups (``limits``, ``steward``) merge name by name; of anything else, the highest that says something decides.

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
    layers: list[tuple[str, Mapping[str, Any]]] = [
        (str(project_file()), {name: value for name, value in project_settings().items() if name != "root"}),
        ("the grid", grid.model_dump(exclude_unset=True)),
        *(
            (PREFIX + name.upper(), {name: _value(text, names[name].annotation)})
            for name, text in _environment(names, given)
        ),
    ]
    cluster = next((values["cluster"] for _, values in reversed(layers) if "cluster" in values), grid.cluster)
    if isinstance(cluster, str) and (profile := profiles.read(cluster)) is not None:
        layers.insert(0, (str(profile.file), profile.resources))
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for source, values in layers:
        for name, value in values.items():
            below = merged.get(name)
            merged[name] = {**below, **value} if isinstance(below, dict) and isinstance(value, dict) else value
            origin[name] = source
    try:
        return type(grid).model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            message = f"there is no resource {'.'.join(map(str, first['loc']))!r}.{nearest(name, names)}"
        else:
            message = f"{name} cannot be {first['input']!r}: {first['msg']}"
        raise UserError(message, places=(Place(origin.get(name, "the grid")),)) from error


def _environment(names: Iterable[str], given: Container[str]) -> Iterator[tuple[str, str]]:
    """Walk the resources that the environment sets."""
    for name in names:
        text = os.environ.get(PREFIX + name.upper())
        if text is not None and name not in given:
            yield name, text


def _value(text: str, annotation: object) -> int | str | list[str]:
    """Read a variable: lists are words as a shell splits them; an account may be called 007, a number of cores not."""
    if get_origin(annotation) is list:
        return shlex.split(text)
    return int(text) if text.isdecimal() and annotation != str | None else text
