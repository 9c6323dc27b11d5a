"""Which figures are older than what they show: asked by ``orch status``, so little is read and less imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export import lineage
from orchestrator.errors import UserError, nearest

if TYPE_CHECKING:
    from orchestrator.study.study import Study

SCRIPTS = Path(__file__).resolve().parent.parent / "r_plots"
"""Where the scripts are that a grid names without a path."""

DRAWN_FROM = "runs.csv"
"""The table whose digest a figure carries; it has a row per point."""


def stale(study: Study) -> list[str]:
    """Return the names of a study's figures that would be drawn from other data, or otherwise, today.

    Figures that are not there, and those that carry no lineage, are not named.
    """
    generation = study.generation()
    declared = generation.info.get("figures") or () if generation is not None else ()
    drawn = {figure["name"]: lineage.read(study.figures / f"{figure['name']}.pdf") for figure in declared}
    if not any(drawn.values()):
        return []
    runs = _digest_of_runs(study.tables)
    found = []
    for figure in declared:
        origin = drawn[figure["name"]]
        if runs and origin is not None and origin.is_stale(runs, digest(figure)):
            found.append(figure["name"])
    return found


def digest(figure: Mapping[str, Any]) -> str | None:
    """Return the digest of a figure's description and its script; None where the script is not found from here."""
    try:
        text = script(figure).read_bytes()
    except (OSError, UserError):
        return None
    return lineage.figure_digest(figure, text)


def script(figure: Mapping[str, Any]) -> Path:
    """Return the R script that draws a figure.

    Raises
    ------
    UserError
        If there is none of this name.
    """
    name = figure["script"]
    own = SCRIPTS / f"{name}.R"
    if own.exists():
        return own
    path = Path(name).expanduser().absolute()
    if path.is_file():
        return path
    known = sorted(path.stem for path in SCRIPTS.glob("*.R") if path.stem not in ("theme", "read"))
    raise UserError(
        f"figure {figure['name']!r} asks for the script {name!r}: there is no file {path}, and the scripts that come "
        f"with orch are {', '.join(known)}.{nearest(name, known)}"
    )


def _digest_of_runs(tables: Path) -> str:
    """Return the digest of the table that figures are drawn from, or nothing where none was exported."""
    try:
        files = json.loads((tables / "manifest.json").read_bytes())["files"]
        return next((str(file["blake2b"]) for file in files if file["name"] == DRAWN_FROM), "")
    except (OSError, ValueError, KeyError, TypeError):
        return ""
