"""What a parameter class knows of its names: which exist, which are groups, what they are when a grid is silent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator.experiment import Experiment, Group, groups_of
from orchestrator.identity import Leaf
from orchestrator.points import MISSING, Missing

IDENTIFIER = re.compile(r"[^\W\d]\w*")


@dataclass
class Parameters:
    """The names of one parameter class; a command's parameters are whatever its grid names (``open``)."""

    params: type[Group]
    open: bool = False
    paths: dict[str, list[FieldInfo]] = field(default_factory=dict)

    @classmethod
    def of(cls, experiment: Experiment) -> Parameters:
        """Collect the names of an experiment's parameters, groups included."""
        found = cls(experiment.params, open=experiment.form == "command")
        found._collect(experiment.params, "")
        return found

    def _collect(self, params: type[Group], prefix: str) -> None:
        for name, info in params.model_fields.items():
            self.paths.setdefault(prefix + name, []).append(info)
            for group in groups_of(info.annotation):
                self._collect(group, f"{prefix}{name}.")

    def knows(self, path: str) -> bool:
        """Whether a parameter or group of this name exists; in a command grid, whether it is a possible name."""
        if path in self.paths:
            return True
        return self.open and all(IDENTIFIER.fullmatch(part) for part in path.split("."))

    def is_group(self, path: str) -> bool:
        """Whether a mapping may stand here; in a command grid, anywhere but in the parameters it is born with."""
        if path not in self.paths:
            return self.open
        return any(groups_of(info.annotation) for info in self.paths[path])

    def nullable(self, path: str) -> bool:
        """Whether ``null`` is a value of this parameter."""
        if path not in self.paths:
            return self.open
        return any(_accepts_none(info.annotation) for info in self.paths[path])

    def is_scalar(self, path: str) -> bool:
        """Whether the parameter can hold nothing but one number, text or flag."""
        return path in self.paths and all(_is_scalar(info.annotation) for info in self.paths[path])

    def lookup(self, raw: Mapping[str, Any], path: str) -> Leaf | Missing:
        """Return the value that ``raw``, or else a default, gives a parameter.

        :data:`~orchestrator.points.MISSING` if its group is null, if it has no value yet, or if it is a group.
        """
        return _lookup(self.params, raw, path.split("."))


def _lookup(params: type[Group] | None, raw: Mapping[str, Any], parts: Sequence[str]) -> Leaf | Missing:
    name, *rest = parts
    info = params.model_fields.get(name) if params else None
    if name in raw:
        value = raw[name]
    elif info is None or info.is_required():
        return MISSING
    else:
        value = info.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, BaseModel):
        value = {key: getattr(value, key) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        return _lookup(_member(groups_of(info.annotation) if info else [], value), value, rest) if rest else MISSING
    return MISSING if rest else value


def _member(groups: Sequence[type[Group]], value: Mapping[str, Any]) -> type[Group] | None:
    """Return the member of a tagged union whose tags fit ``value``."""
    for group in groups:
        tags = {name: get_args(i.annotation) for name, i in group.model_fields.items() if _is_literal(i.annotation)}
        if all(value[name] in options for name, options in tags.items() if name in value):
            return group
    return groups[0] if groups else None


def _is_literal(annotation: Any) -> bool:
    return get_origin(annotation) is Literal


def _accepts_none(annotation: Any) -> bool:
    if annotation in (None, type(None), Any):
        return True
    return not _is_literal(annotation) and any(map(_accepts_none, get_args(annotation)))


def _is_scalar(annotation: Any) -> bool:
    if _is_literal(annotation) or annotation in (int, float, str, bool, type(None)):
        return True
    origin = get_origin(annotation)
    if origin in (list, tuple, set, frozenset, dict):
        return False
    arguments = [argument for argument in get_args(annotation) if isinstance(argument, type) or get_origin(argument)]
    return bool(arguments) and all(map(_is_scalar, arguments))
