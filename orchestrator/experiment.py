"""The contract between an experiment and the orchestrator. It imports pydantic, and never torch.

An experiment is a parameter class and a train function::

    class Ramp(Group):
        start: Lane[float] = 1e6
        end: Lane[float] = 2e6

    class Params(ExperimentParams):
        layer: Literal["nmru", "nru"] = "nmru"         # static: decides the program
        learning_rate: Lane[Annotated[float, Gt(0)]] = 1e-3   # a value per lane
        regulariser: Ramp | None = None                # its presence is static, its leaves are per lane
        max_iterations: int = 50_000

    EXPERIMENT = Experiment("arithmetic.single_layer", params=Params, train="experiments.arithmetic.train:train")

Validators *check and never change* a value: a run's id is assembled from the values as they stand in the grid.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic.fields import FieldInfo
from typing_extensions import Self

from orchestrator.errors import UserError, nearest
from orchestrator.identity import Leaf

ENTRY_POINT_GROUP = "orchestrator.experiments"

T = TypeVar("T")


class LaneMark:
    """Marks a parameter that may differ between the lanes of one program."""


LANE = LaneMark()

Lane = Annotated[T, LANE]
"""``Lane[float]``: a parameter with a value per lane. Numbers are stacked into a tensor, anything else into a list."""


@dataclass(frozen=True)
class Absent:
    """Declares a field added later: runs whose value equals ``value`` keep the id they had before the field existed.

    Written as ``Annotated[int, Absent(1)]``; the leaf is left out of the identity while it equals ``value``. A whole
    group is ``Annotated[Ramp | None, Absent(None)]``.
    """

    value: Leaf


def _lists_for_tuples(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_lists_for_tuples(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _lists_for_tuples(value) for key, value in schema.items() if key != "metadata"}
    if "metadata" in schema:
        changed["metadata"] = schema["metadata"]
    return changed | {"strict": False} if schema.get("type") == "tuple" else changed


class Group(BaseModel):
    """A group of parameters. Strict: unknown keys, wrong types and non-finite numbers are errors."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> Any:
        """Let a list stand for a tuple: YAML and JSON know no tuples, and strict mode would refuse every list."""
        return _lists_for_tuples(handler(source))


class StopWhen(Group):
    """Ends a run early, with the verdict ``stopped``: at the first row, from step ``after`` on, beyond the bound.

    An experiment of form ``lanes`` offers it by a parameter ``stop_when: StopWhen | None = None``. A run that may stop
    early is another run than one that may not: this is part of its identity.
    """

    tag: Annotated[str, Field(min_length=1, description="the tag that is looked at, at each log point")]
    below: Lane[float | None] = Field(None, description="stop where its value is less than this")
    above: Lane[float | None] = Field(None, description="stop where its value is greater than this")
    after: Lane[Annotated[int, Field(ge=0)]] = Field(0, description="do not stop before this step")

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.below is None and self.above is None:
            raise ValueError("stop_when has no bound: give it below, above, or both")
        return self


class ExperimentParams(Group):
    """The base of every parameter class; ``seed`` is the one parameter that all experiments share."""

    seed: Lane[Annotated[int, Field(ge=0, lt=2**63, description="seed of data and initial values")]] = 0


Params = ExperimentParams
Form = Literal["lanes", "run", "command"]


class CommandParams(ExperimentParams):
    """The parameters of a grid that runs a command: the template, and whatever names the grid sets, untyped."""

    model_config = ConfigDict(extra="allow")

    command: str


@dataclass(frozen=True)
class Experiment:
    """Code that can train a run.

    Parameters
    ----------
    name
        The name that grids use; part of every run's identity.
    params
        The parameter class; its defaults are the configuration of a grid that sets nothing.
    train
        ``"module:function"``. ``train(lanes)`` for ``form="lanes"`` (see ``orchestrator.lanes``), ``train(run)`` for
        ``form="run"`` (see ``orchestrator.worker.handle``). Imported in workers only.
    version
        Raise it when the same parameters mean another computation: all ids change.
    form
        Whether ``train`` takes stacked lanes or a single run; ``"command"`` is :data:`COMMAND` only.
    cadence
        Name of the parameter that holds the log interval in steps, if the experiment has one: checkpoints fall on it.
    steps
        Name of the parameter that holds the number of iterations, for progress and cost.
    reference
        How grids spell it: the name by default, ``module:attribute`` where :func:`find` was given that.
    """

    name: str
    params: type[ExperimentParams]
    train: str
    version: int = 1
    form: Form = "lanes"
    cadence: str | None = None
    steps: str | None = None
    reference: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.reference:
            object.__setattr__(self, "reference", self.name)

    def load(self) -> Callable[[Any], None]:
        """Import and return the train function. Workers only: this is where torch is imported."""
        module, _, name = self.train.partition(":")
        function: Callable[[Any], None] = getattr(importlib.import_module(module), name)
        return function


COMMAND = Experiment("command", params=CommandParams, train="", form="command")
"""The experiment of every grid with a ``command:``; the template is the leaf ``command`` of the identity."""


def installed() -> dict[str, str]:
    """Return the installed experiments as ``{name: "module:attribute"}``, in order of their names."""
    return {entry.name: entry.value for entry in sorted(entry_points(group=ENTRY_POINT_GROUP))}


def find(name: str, project: Path | None = None) -> Experiment:
    """Find an experiment by its installed name, or by ``module:attribute`` within a user's project.

    Parameters
    ----------
    name
        An entry point of the group ``orchestrator.experiments``, or ``my_pkg.params:EXPERIMENT``.
    project
        The folder that goes first on the import path for a ``module:attribute`` name.

    Raises
    ------
    UserError
        If there is no such experiment, or its module cannot be imported.
    """
    known = installed()
    target = name if ":" in name else known.get(name)
    if target is None:
        choice = ", ".join(known) or "none"
        raise UserError(f"there is no experiment {name!r}; installed: {choice}.{nearest(name, known)}")
    if ":" in name and project is not None and str(project) not in sys.path:
        sys.path.insert(0, str(project))
    found = imported(target, f"experiment {name!r} cannot be loaded from {target}")
    if not isinstance(found, Experiment):
        raise UserError(f"{target} is a {type(found).__name__}, not an orchestrator.experiment.Experiment")
    known_paths = {path for path, _ in fields(found.params)}
    for what, path in (("steps", found.steps), ("cadence", found.cadence)):
        if path is not None and path not in known_paths:
            raise UserError(f"{target} has {what}={path!r}, which is no parameter of it.{nearest(path, known_paths)}")
    return replace(found, reference=name)


def imported(target: str, complaint: str) -> Any:
    """Return what ``module:attribute`` names.

    Raises
    ------
    UserError
        The complaint, and why: there is no such thing, or the module raises when it is imported.
    """
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{complaint}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a user's module does when it is imported
        raise UserError(f"{complaint}: {type(error).__name__}: {error}{_last_line(error)}") from error


def _last_line(error: BaseException) -> str:
    """Say where an exception comes from, as `` (file:line)``; a syntax error says it itself."""
    if isinstance(error, SyntaxError):
        return ""
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f" ({frame.filename}:{frame.lineno})"


# --- leaves -----------------------------------------------------------------------------------------------------------


def groups_of(annotation: Any) -> list[type[Group]]:
    """Return the group classes that an annotation holds: one for ``Ramp | None``, several for a tagged union."""
    if isinstance(annotation, type) and issubclass(annotation, Group):
        return [annotation]
    return [group for argument in get_args(annotation) for group in groups_of(argument)]


def fields(params: type[Group], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Walk the leaves of a parameter class as (dotted path, field); a group's own leaves follow in place of it.

    A path that several members of a tagged union share comes once for each of them.
    """
    for name, info in params.model_fields.items():
        groups = groups_of(info.annotation)
        if not groups:
            yield prefix + name, info
        for group in groups:
            yield from fields(group, f"{prefix}{name}.")


def lane_paths(params: type[Group]) -> frozenset[str]:
    """Return the dotted paths of the parameters that may differ between lanes."""
    return frozenset(path for path, info in fields(params) if any(isinstance(m, LaneMark) for m in info.metadata))


def absent_values(params: type[Group], prefix: str = "") -> dict[str, Leaf]:
    """Return ``{dotted path: value}`` of the fields declared :class:`Absent`, groups that are ``None`` included."""
    found: dict[str, Leaf] = {}
    for name, info in params.model_fields.items():
        for mark in info.metadata:
            if isinstance(mark, Absent):
                found[prefix + name] = mark.value
        for group in groups_of(info.annotation):
            found |= absent_values(group, f"{prefix}{name}.")
    return found


def flatten(values: BaseModel | Mapping[str, Any], prefix: str = "") -> dict[str, Leaf]:
    """Flatten validated parameters into ``{dotted path: leaf}``; an absent group is a ``None`` leaf of its own name."""
    if isinstance(values, BaseModel):
        values = {name: getattr(values, name) for name in type(values).model_fields} | (values.model_extra or {})
    leaves: dict[str, Leaf] = {}
    for name, value in values.items():
        if isinstance(value, (BaseModel, Mapping)):
            leaves.update(flatten(value, f"{prefix}{name}."))
        else:
            leaves[prefix + name] = value
    return leaves


def nest(leaves: Mapping[str, Leaf]) -> dict[str, Any]:
    """Undo :func:`flatten`: ``{"l1.start": 1}`` becomes ``{"l1": {"start": 1}}``."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        *groups, name = path.split(".")
        node = tree
        for group in groups:
            node = node.setdefault(group, {})
        node[name] = value
    return tree


def program_of(leaves: Mapping[str, Leaf], lanes: frozenset[str]) -> tuple[tuple[str, Any], ...]:
    """Return what decides a run's program: its static leaves and which lane leaves are present.

    Runs of one experiment and version with equal programs can train as lanes of one process.
    """
    return tuple((path, ... if path in lanes else _hashable(leaves[path])) for path in sorted(leaves))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value
