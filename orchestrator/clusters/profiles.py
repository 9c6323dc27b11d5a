"""Cluster profiles: what a site wants of every job, one YAML file per cluster in the user's or the site's folder.

::

    # ~/.config/orch/clusters/alpine.yaml
    kind: slurm
    partition: short
    account: abc123
    prologue: module load gcc/13
    limits: {jobs: 500}

A profile holds ``kind`` and any of a grid's resources but ``cluster``; it is checked as strictly as a grid is. Nothing
of pydantic or YAML is imported before a profile is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from orchestrator.errors import Place, UserError

if TYPE_CHECKING:
    from pydantic import BaseModel

VARIABLE: Final = "ORCH_CONFIG"
"""Names a folder that stands in place of the user's and the site's."""

Kind = Literal["slurm", "lsf", "local"]

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


class Profile(NamedTuple):
    """A profile that was read.

    Parameters
    ----------
    name
        The cluster's name: the file's, without its ending.
    kind
        The scheduler.
    file
        The file.
    resources
        What it says of a job's resources: only what stands there, in the shape of ``Resources.model_dump()``.
    """

    name: str
    kind: Kind
    file: Path
    resources: Mapping[str, Any]


def folders() -> list[Path]:
    """Return the folders of profiles; the first that has one of a name decides. New ones go into the first."""
    if own := os.environ.get(VARIABLE):
        return [Path(own).expanduser().absolute() / "clusters"]
    from platformdirs import site_config_path, user_config_path

    return [user_config_path("orch") / "clusters", site_config_path("orch") / "clusters"]


def names() -> list[str]:
    """Return the names of all profiles."""
    return sorted({file.stem for folder in folders() for file in folder.glob("*.yaml") if _NAME.fullmatch(file.stem)})


def find(name: str) -> Path | None:
    """Return the file of a profile; None if there is none of that name."""
    if not _NAME.fullmatch(name):
        return None
    return next((file for folder in folders() if (file := folder / f"{name}.yaml").is_file()), None)


def kind_of(name: str) -> Kind | None:
    """Return the kind of cluster that a profile describes; None if there is no such profile.

    Raises
    ------
    UserError
        If the profile is broken.
    """
    profile = read(name)
    return profile.kind if profile is not None else None


def read(name: str) -> Profile | None:
    """Read and check a profile; None if there is none of that name.

    Raises
    ------
    UserError
        With the file, line and column of each place that is wrong.
    """
    file = find(name)
    if file is None:
        return None
    from orchestrator.clusters import KINDS
    from orchestrator.grid import document, problems

    node = document.parse(document.read_text(file, str(file), _NOUN), str(file), _NOUN)
    if not isinstance(node, document.Mapping):
        raise UserError(f"a {_NOUN} should be a mapping, not {node.kind}", places=(node.place,))
    values = problems.read(_model(), node, f"a {_NOUN}").model_dump(exclude_unset=True)
    kind: Kind = values.pop("kind")
    if name in KINDS and kind != name:
        raise UserError(
            f"the cluster {name!r} is of kind {name}, not {kind}: give the profile another name",
            places=(node.entries["kind"].place,),
        )
    return Profile(name, kind, file, values)


def write(name: str, text: str, *, force: bool = False) -> Path:
    """Write a profile into the first folder and return its file.

    Parameters
    ----------
    name
        The cluster's name.
    text
        The file.
    force
        Whether to replace the one that is there.

    Raises
    ------
    UserError
        If it is there already, cannot be written, or no profile can have that name.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot name a cluster: use letters, digits, dots, dashes and underscores, and begin with none "
            "of dot and dash"
        )
    file = folders()[0] / f"{name}.yaml"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError as error:
        raise UserError("this profile exists: --force replaces it", places=(Place(str(file)),)) from error
    except OSError as error:
        raise UserError(f"the profile cannot be written: {error.strerror}", places=(Place(str(file)),)) from error
    return file


_NOUN: Final = "cluster profile"


def _model() -> type[BaseModel]:
    """Return the model of a profile: flat, ``kind`` beside a grid's resources."""
    from pydantic import create_model

    from orchestrator.grid.model import Resources, Section

    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in Resources.model_fields.items() if name != "cluster"
    }
    return create_model("Profile", __base__=Section, kind=(Kind, ...), **fields)
