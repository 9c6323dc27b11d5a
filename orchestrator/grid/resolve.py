"""The parameters of one point: ``set``, then axes in their order, then ``when``, then the command line, then ``${…}``.

Everything is computed per *field* (top-level parameter) and says on which axes the field depends, so that expansion
computes a field once for each combination of those axes and not for each point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import UserError, nearest
from orchestrator.grid.axes import Assign, Axis
from orchestrator.grid.derive import Derived
from orchestrator.grid.parameters import Parameters
from orchestrator.grid.rules import Match, Rule
from orchestrator.identity import Leaf
from orchestrator.points import MISSING, Missing

Codes = Sequence[int]
Tree = dict[str, Any]


@dataclass(frozen=True)
class SubGrid:
    """One sub-grid of a study: what it sets, varies and drops.

    ``final`` comes from the command line and wins over everything else.
    """

    base: tuple[Assign, ...]
    axes: tuple[Axis, ...]
    whens: tuple[Rule, ...] = ()
    skips: tuple[Rule, ...] = ()
    final: tuple[Assign, ...] = ()
    resources: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that drop points."""
        return (*self.skips, *(rule for rule in self.whens if rule.drop))

    def product(self) -> int:
        """Return the number of points before any is dropped."""
        count = 1
        for axis in self.axes:
            count *= len(axis)
        return count


class Resolver:
    """Computes the fields of one sub-grid's points.

    Parameters
    ----------
    sub
        The sub-grid.
    parameters
        The known parameters.
    """

    def __init__(self, sub: SubGrid, parameters: Parameters) -> None:
        self.sub = sub
        self.parameters = parameters
        self.axis_index = {axis.name: i for i, axis in enumerate(sub.axes)}
        self.bundle_index = {axis.name: i for i, axis in enumerate(sub.axes) if axis.bundles}
        self.axes_of: dict[str, dict[int, None]] = {}
        self._open: set[tuple[str, int]] = set()
        self._names: dict[str, set[str]] = {}
        for assign in (*sub.base, *sub.final, *(a for rule in sub.whens for a in rule.assigns)):
            self._note(assign)
        for i, axis in enumerate(sub.axes):
            for assign in axis.paths():
                self._note(assign)
                self.axes_of.setdefault(assign.field, {})[i] = None
        for rule in sub.whens:
            for assign in rule.assigns:
                for match in rule.condition:
                    self._names[assign.field].add(match.name)
        self.fields = sorted(self._names)
        self.deps = self._dependencies()
        others = {assign.field for assign in (*sub.final, *(a for rule in sub.whens for a in rule.assigns))}
        # Most fields that vary are simply the values of one axis: those need no tree.
        self._plain: dict[str, tuple[int, Sequence[Leaf]]] = {
            axis.name: (i, axis.values.values)
            for i, axis in enumerate(sub.axes)
            if axis.values and axis.name not in others and len(self.axes_of.get(axis.name, ())) == 1 and axis.is_plain
        }

    def _note(self, assign: Assign) -> None:
        names = self._names.setdefault(assign.field, set())
        if isinstance(assign.value, Derived):
            for name in assign.value.names:
                self._require(name, assign)
            names |= assign.value.names

    def _require(self, name: str, assign: Assign) -> None:
        known = name in self.bundle_index or name in self.parameters.paths
        if not known and not (self.parameters.open and name.partition(".")[0] in self._set_fields()):
            hint = nearest(name, [*self.parameters.paths, *self._set_fields(), *self.bundle_index])
            raise UserError(f"${{{name}}} names neither a parameter nor a bundle axis.{hint}", places=(assign.place,))

    def _set_fields(self) -> set[str]:
        sub = self.sub
        fields = {a.field for a in (*sub.base, *sub.final, *(a for rule in sub.whens for a in rule.assigns))}
        return fields | {a.field for axis in sub.axes for a in axis.paths()}

    def _dependencies(self) -> dict[str, tuple[int, ...]]:
        """Return the axes that each field depends on: a fixed point over what its values and conditions name."""
        deps = {name: set(self.axes_of.get(name, ())) for name in self.fields}
        changed = True
        while changed:
            changed = False
            for name, own in deps.items():
                size = len(own)
                own.update(*(self._name_deps(other, deps) for other in self._names[name]))
                changed |= len(own) != size
        return {name: tuple(sorted(own)) for name, own in deps.items()}

    def _name_deps(self, name: str, deps: Mapping[str, Iterable[int]]) -> set[int]:
        found = set(deps.get(name.partition(".")[0], ()))
        if name in self.bundle_index:
            found.add(self.bundle_index[name])
        return found

    def match_deps(self, match: Match) -> tuple[int, ...]:
        """Return the axes that one entry of a condition depends on."""
        if match.is_axis and match.name in self.bundle_index:
            return (self.bundle_index[match.name],)
        return tuple(sorted(self.deps.get(match.name.partition(".")[0], ())))

    # --- values -------------------------------------------------------------------------------------------------------

    def holds(self, match: Match, codes: Codes, stage: int | None = None) -> bool:
        """Whether one entry of a condition holds at a point, as the rules before ``stage`` leave it."""
        if match.is_axis and match.name in self.bundle_index:
            i = self.bundle_index[match.name]
            return match.label(self.sub.axes[i].label(codes[i]))
        return match.value(self.lookup(match.name, codes, self._stage(stage)))

    def _stage(self, stage: int | None) -> int:
        return len(self.sub.whens) if stage is None else stage

    def tree(self, name: str, codes: Codes, stage: int | None = None) -> Tree:
        """Return ``{name: …}`` with an :class:`Assign` in place of each value, or ``{}`` if nothing sets the field."""
        stage, sub = self._stage(stage), self.sub
        tree: Tree = {}
        layers: list[Iterable[Assign]] = [sub.base]
        layers += [sub.axes[i].assigns(codes[i]) for i in self.axes_of.get(name, ())]
        for k, rule in enumerate(sub.whens[:stage]):
            sets = any(assign.field == name for assign in rule.assigns)
            if sets and all(self.holds(match, codes, k) for match in rule.condition):
                layers.append(rule.assigns)
        for layer in (*layers, sub.final):
            for assign in layer:
                if assign.field == name:
                    self._put(tree, assign)
        return tree

    def _put(self, tree: Tree, assign: Assign) -> None:
        *groups, last = assign.path.split(".")
        for group in groups:
            if not isinstance(tree.get(group), dict):
                tree[group] = {}
            tree = tree[group]
        if isinstance(assign.value, dict):
            if not isinstance(tree.get(last), dict):
                tree[last] = {}
        elif assign.value is None and not self.parameters.nullable(assign.path):
            tree.pop(last, None)
        else:
            tree[last] = assign

    def field(self, name: str, codes: Codes, stage: int | None = None) -> Any:
        """Return the raw value of a field, :data:`MISSING` if nothing sets it.

        Raises
        ------
        UserError
            If a derived value cannot be computed, or derives from itself.
        """
        if name in self._plain:
            i, values = self._plain[name]
            return values[codes[i]]
        stage = self._stage(stage)
        tree = self.tree(name, codes, stage)
        return self._evaluate(tree[name], codes, stage) if name in tree else MISSING

    def _evaluate(self, tree: Any, codes: Codes, stage: int) -> Any:
        if isinstance(tree, dict):
            return {name: self._evaluate(child, codes, stage) for name, child in tree.items()}
        assign: Assign = tree
        if not isinstance(assign.value, Derived):
            return assign.value
        seen = stage if assign.stage is None else min(stage, assign.stage)
        if (assign.path, stage) in self._open:
            raise UserError(f"{assign.path!r} derives from itself", places=(assign.place,))
        self._open.add((assign.path, stage))
        try:
            return assign.value.evaluate(lambda name: self._reference(name, codes, seen))
        except ValueError as error:
            raise UserError(f"{assign.path}: {error}", places=(assign.place,)) from error
        except UserError as error:
            if assign.place in error.places:
                raise
            raise UserError(error.message, places=(*error.places, assign.place)) from error
        finally:
            self._open.discard((assign.path, stage))

    def _reference(self, name: str, codes: Codes, stage: int) -> Leaf:
        if name not in self.parameters.paths and name in self.bundle_index:
            i = self.bundle_index[name]
            return self.sub.axes[i].label(codes[i])
        value = self.lookup(name, codes, stage)
        if isinstance(value, Missing):
            raise ValueError(f"${{{name}}} has no value here")  # noqa: TRY004
        return value

    def lookup(self, path: str, codes: Codes, stage: int | None = None) -> Leaf | Missing:
        """Return a parameter's value at a point, defaults included."""
        name = path.partition(".")[0]
        if name in self._plain:
            return self.parameters.lookup({name: self.field(name, codes, stage)}, path)
        tree: Tree = self.tree(name, codes, stage) if name in self._names else {}
        found: Any = tree
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if isinstance(found, Assign):  # only this leaf is evaluated: another of its group may derive from it
            value: Leaf = self._evaluate(found, codes, self._stage(stage))
            return value
        return self.parameters.lookup(_written(tree), path)

    def raw(self, codes: Codes) -> dict[str, Any]:
        """Return all fields that a point sets, as plain nested values."""
        values = {name: self.field(name, codes) for name in self.fields}
        return {name: value for name, value in values.items() if value is not MISSING}

    def sources(self, codes: Codes) -> Tree:
        """Return :meth:`tree` of all fields."""
        merged: Tree = {}
        for name in self.fields:
            merged |= self.tree(name, codes)
        return merged


def _written(tree: Tree) -> dict[str, Any]:
    """Return the values of a tree as they were written, nothing for those that derive."""
    plain = {name: _written(child) if isinstance(child, dict) else child.value for name, child in tree.items()}
    return {name: None if isinstance(value, Derived) else value for name, value in plain.items()}
