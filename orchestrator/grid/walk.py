"""Every point of a sub-grid, in order: validated against the parameter class, and its id.

The plain way would resolve, validate, flatten and hash each point on its own. Here a field is resolved, flattened and
encoded once for each combination of the axes it depends on (an :class:`Entry`); a point is then one dict of inputs for
pydantic, which runs every validator of the class, and one hash of fragments.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator import identity
from orchestrator.errors import Place, UserError
from orchestrator.experiment import Experiment, Group, absent_values, flatten
from orchestrator.grid.axes import Assign
from orchestrator.grid.drop import Dropper
from orchestrator.grid.problems import Fault, combine, faults, follow, node_at
from orchestrator.grid.resolve import Resolver
from orchestrator.identity import ID_BYTES, Leaf
from orchestrator.points import MISSING

CHECKED = 1000
"""The fast id is compared with the plain one at every point that brings a new value, at most this often."""


class Entry:
    """One value of a field: what pydantic is given, what it made of it, and its fragment of the identity."""

    __slots__ = ("fragment", "given", "value")

    def __init__(self, given: Any) -> None:
        self.given = given
        self.value: Any = MISSING
        self.fragment: bytes | None = None


class Slot:
    """A field that varies within a sub-grid, with an entry for each combination of its axes that was met."""

    def __init__(self, name: str, deps: Sequence[int], resolver: Resolver) -> None:
        self.name = name
        self.deps = deps
        self.resolver = resolver
        self.entries: dict[Any, Entry] = {}
        self.position = 0

    def entry(self, codes: Sequence[int]) -> Entry:
        """Return the entry of a point."""
        deps = self.deps
        key: Any = codes[deps[0]] if len(deps) == 1 else tuple([codes[i] for i in deps])
        found = self.entries.get(key)
        if found is None:
            try:
                found = self.entries[key] = Entry(self.resolver.field(self.name, codes))
            except UserError as error:
                where = describe(self.resolver, codes)
                raise UserError(
                    f"{error.message} ({where})" if where else error.message, places=error.places
                ) from error
        return found


class Walk:
    """Walks one sub-grid.

    Parameters
    ----------
    experiment
        Whose parameter class validates.
    resolver
        The sub-grid, resolved.
    """

    def __init__(self, experiment: Experiment, resolver: Resolver) -> None:
        self.experiment = experiment
        self.resolver = resolver
        self.slots = [Slot(name, deps, resolver) for name in resolver.fields if (deps := resolver.deps[name])]
        self.constants: dict[str, Any] = {}
        self._head = identity.prefix(experiment.name, experiment.version)
        self._absent = {path: identity.encode(value) for path, value in absent_values(experiment.params).items()}
        self._validate = experiment.params.__pydantic_validator__.validate_python
        self._parts: list[bytes | None] = [None]
        self._checks = CHECKED

    def __iter__(self) -> Iterator[tuple[list[int], bytes, BaseModel]]:
        """Yield (codes, raw id, validated parameters) of each point; the list of codes is reused.

        Raises
        ------
        UserError
            If a point does not fit the parameter class; it names the point and every place that contributed.
        """
        sub, resolver = self.resolver.sub, self.resolver
        if not sub.product():
            return
        sizes = [len(axis) for axis in sub.axes]
        last = len(sizes) - 1
        dropper = Dropper(resolver)
        outer_slots = [slot for slot in self.slots if last not in slot.deps]
        inner_slots = [slot for slot in self.slots if last in slot.deps]
        inputs: dict[str, Any] = {
            name: value
            for name in resolver.fields
            if not resolver.deps[name] and (value := resolver.field(name, [0] * len(sizes))) is not MISSING
        }
        validate, blake2b, size = self._validate, hashlib.blake2b, ID_BYTES
        codes = [0] * len(sizes)
        for outer in itertools.product(*map(range, sizes[:-1])):
            codes[:-1] = outer
            active = dropper.active(codes)
            for slot in outer_slots:
                self._place(slot, codes, inputs)
            for code in range(sizes[last] if sizes else 1):
                if sizes:
                    codes[last] = code
                if active and dropper.drops(active, codes):
                    continue
                parts = self._parts
                for slot in inner_slots:
                    entry = slot.entry(codes)
                    if entry.given is MISSING:
                        inputs.pop(slot.name, None)
                    else:
                        inputs[slot.name] = entry.given
                    parts[slot.position] = entry.fragment
                try:
                    model = validate(inputs)
                except ValidationError as error:
                    raise explain(error, resolver.raw(codes), resolver, codes) from error
                try:
                    raw = blake2b(b"".join(parts), digest_size=size).digest()  # type: ignore[arg-type]
                except TypeError:  # a part that is not known yet is None, which cannot be joined
                    raw = self._learn(model, codes)
                    for slot in outer_slots:
                        self._place(slot, codes, inputs)
                yield codes, raw, model

    def _place(self, slot: Slot, codes: Sequence[int], inputs: dict[str, Any]) -> None:
        entry = slot.entry(codes)
        if entry.given is MISSING:
            inputs.pop(slot.name, None)
        else:
            inputs[slot.name] = entry.given
        self._parts[slot.position] = entry.fragment

    # --- the first time a value is met --------------------------------------------------------------------------------

    def _learn(self, model: BaseModel, codes: Sequence[int]) -> bytes:
        """Learn the fragments of the values that are new at a valid point, and return its id."""
        values = model.__dict__ | (model.model_extra or {})
        if not self.constants:
            self._lay_out(model)
        for slot in self.slots:
            entry = slot.entry(codes)
            if entry.fragment is None:
                value = entry.value = values.get(slot.name, MISSING)
                entry.fragment = b"" if value is MISSING else self._encode({slot.name: value}, codes)
                # A group is validated once; pydantic takes the instance as it is.
                entry.given = value if isinstance(value, Group) and entry.given is not MISSING else entry.given
            self._parts[slot.position] = entry.fragment
        raw = hashlib.blake2b(b"".join(self._parts), digest_size=ID_BYTES).digest()  # type: ignore[arg-type]
        if self._checks:
            self._checks -= 1
            self._check(model, raw, codes)
        return raw

    def _lay_out(self, model: BaseModel) -> None:
        """Lay out the parts of an encoding: constant fragments, joined, between those that vary, in order of names.

        Names in order put their dotted paths in order too: no letter or digit comes before the dot.
        """
        slots = {slot.name: slot for slot in self.slots}
        values = {name: getattr(model, name) for name in type(model).model_fields} | (model.model_extra or {})
        self.constants = {name: value for name, value in values.items() if name not in slots}
        parts: list[bytes | None] = [self._head]
        for name in sorted({*self.constants, *slots}):
            if name in slots:
                slots[name].position = len(parts)
                parts += [None, b""]
            else:
                parts[-1] = (parts[-1] or b"") + self._encode({name: self.constants[name]}, [])
        self._parts = parts

    def _encode(self, values: dict[str, Any], codes: Sequence[int]) -> bytes:
        leaves = flatten(values)
        try:
            return b"".join(
                identity.leaf(path, leaves[path]) for path in sorted(leaves) if self._counts(path, leaves[path])
            )
        except (TypeError, ValueError) as error:
            where = describe(self.resolver, codes)
            raise UserError(f"experiment {self.experiment.name!r} cannot be identified: {error} ({where})") from error

    def _counts(self, path: str, value: Leaf) -> bool:
        return path not in self._absent or identity.encode(value) != self._absent[path]

    def _check(self, model: BaseModel, fast: bytes, codes: Sequence[int]) -> None:
        leaves = {path: value for path, value in flatten(model).items() if self._counts(path, value)}
        plain = identity.run_id(self.experiment.name, self.experiment.version, leaves)
        if plain != identity.to_text(fast):
            raise UserError(
                f"experiment {self.experiment.name!r} changes a parameter depending on another: validators and defaults"
                f" may check values, never change them ({describe(self.resolver, codes)})"
            )


# --- what is wrong with a point ---------------------------------------------------------------------------------------


def describe(resolver: Resolver, codes: Sequence[int]) -> str:
    """Name a point: ``seed 3, model NMRU``."""
    named = ", ".join(f"{axis.name} {axis.label(code)}" for axis, code in zip(resolver.sub.axes, codes, strict=False))
    return f"at {named}" if named else ""


def explain(error: ValidationError, raw: dict[str, Any], resolver: Resolver, codes: Sequence[int]) -> UserError:
    """Turn pydantic's error about a point into sentences with the places of everything that contributed."""
    sources = resolver.sources(codes)
    found: list[tuple[Fault, tuple[Place, ...]]] = []
    for fault in faults(error, raw, "the experiment", resolver.parameters.paths):
        path = follow(raw, fault.path)
        found.append((fault, _contributors(sources, path, fault, resolver, codes)))
    where = describe(resolver, codes)
    combined = combine(found)
    return UserError(f"{combined.message} ({where})" if where else combined.message, places=combined.places)


def _contributors(
    sources: Any, path: Sequence[str | int], fault: Fault, resolver: Resolver, codes: Sequence[int]
) -> tuple[Place, ...]:
    tree, rest = sources, list(path)
    while rest and isinstance(tree, dict) and rest[0] in tree:
        tree = tree[rest.pop(0)]
    if isinstance(tree, Assign):
        if fault.key:
            return (tree.key,)
        return (node_at(tree.node, tuple(rest)).place if tree.node else tree.place,)
    leaves = list(_leaves(tree))
    if fault.key and leaves:
        return (leaves[0].key,)
    # A check across parameters: first what its message speaks of, then the values of the axes.
    named = [leaf for leaf in leaves if re.search(rf"\b{re.escape(leaf.path.rpartition('.')[2])}\b", fault.message)]
    axes = [axis.place(code) for axis, code in zip(resolver.sub.axes, codes, strict=True)]
    places = [leaf.place for leaf in named or (leaves if path else [])]
    return tuple(dict.fromkeys([*places, *axes])) or tuple(leaf.place for leaf in leaves[:1])


def _leaves(tree: Any) -> Iterator[Assign]:
    if isinstance(tree, Assign):
        yield tree
    elif isinstance(tree, dict):
        for child in tree.values():
            yield from _leaves(child)
