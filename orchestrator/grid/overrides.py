"""Trailing ``key=value`` words of the command line: they win over everything in the file.

The name of an axis replaces its values, or picks among its bundles; a span or a generator for any other parameter adds
an axis; anything else sets the parameter. ``study=…`` and ``resources.time=…`` change those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.errors import Place, UserError, nearest
from orchestrator.grid import document
from orchestrator.grid.axes import Axis, assignments, is_span_or_generator, read_axis, unknown
from orchestrator.grid.document import Items, Node, Scalar, parse
from orchestrator.grid.model import Name, Resources, Section
from orchestrator.grid.parameters import Parameters
from orchestrator.grid.problems import read
from orchestrator.grid.resolve import SubGrid

FILE = "command line"
"""What errors call the file of an override; the column counts along the words, joined by single spaces."""


@dataclass(frozen=True, eq=False)
class Override:
    """One word: its key, its value, and their places."""

    key: str
    node: Node
    place: Place


class _Study(Section):
    study: Name


def words(overrides: Sequence[str]) -> list[Override]:
    """Read the words of the command line.

    Raises
    ------
    UserError
        If a word is no ``key=value``, a value is no YAML, or a key comes twice.
    """
    found: dict[str, Override] = {}
    column = 0
    for word in overrides:
        key, equals, text = word.partition("=")
        place = Place(FILE, 1, column + 1)
        if not equals or not key.strip():
            raise UserError(f"{word!r} should be key=value, such as seed=0..3", places=(place,))
        indent = column + len(key) + 1
        if not text.strip():
            raise UserError(f"{word!r} gives no value; to give none on purpose, write {key}=null", places=(place,))
        # Spaces before the value put it, for the parser, in the column where it stands on the command line.
        node = parse(" " * indent + text, FILE)
        if key in found:
            raise UserError(f"{key!r} is given twice", places=(place, found[key].place))
        found[key] = Override(key, node, place)
        column += len(word) + 1
    return list(found.values())


def apply(
    overrides: Sequence[Override], resources: Node | None, subs: Sequence[SubGrid], parameters: Parameters
) -> tuple[str | None, Resources, list[SubGrid]]:
    """Apply overrides.

    Returns
    -------
    tuple
        The study's new name if one is given, the resources, and the sub-grids.

    Raises
    ------
    UserError
        If a key names nothing, or a value does not fit.
    """
    study: str | None = None
    place = resources.place if resources else Place(FILE)
    section = resources if isinstance(resources, document.Mapping) else document.Mapping(place, 1, {}, {})
    if resources is not None and section is not resources:
        read(Resources, resources, "resources")
    changed = list(subs)
    for override in overrides:
        head, _, rest = override.key.partition(".")
        if override.key in parameters.paths or override.key in _axis_names(changed):
            changed = _parameter(override, changed, parameters)
        elif override.key == "study":
            one = document.Mapping(override.place, 2, {"study": override.node}, {"study": override.place})
            study = read(_Study, one, "a grid").study
        elif head == "resources" and rest:
            section = replace(section, entries=section.entries | {rest: override.node},
                              keys=section.keys | {rest: override.place})  # fmt: skip
        elif parameters.open and override.key in _set_names(changed):
            changed = _parameter(override, changed, parameters)
        elif parameters.open:
            known = [*_set_names(changed), *_axis_names(changed), "study", "resources"]
            hint = nearest(override.key, known)
            raise UserError(f"the grid sets no {override.key!r}.{hint}", places=(override.place,))
        else:
            raise unknown(override.key, parameters, override.place, (*_axis_names(changed), "study"))
    return study, read(Resources, section, "resources"), changed


def _axis_names(subs: Sequence[SubGrid]) -> dict[str, None]:
    return dict.fromkeys(axis.name for sub in subs for axis in sub.axes)


def _set_names(subs: Sequence[SubGrid]) -> dict[str, None]:
    axes = (assign.path for sub in subs for one in sub.axes for assign in one.paths())
    rules = (assign.path for sub in subs for rule in sub.whens for assign in rule.assigns)
    return dict.fromkeys([*(a.path for sub in subs for a in sub.base if a.path != "command"), *axes, *rules])


def _parameter(override: Override, subs: Sequence[SubGrid], parameters: Parameters) -> list[SubGrid]:
    key, node = override.key, override.node
    if key in _axis_names(subs):
        return _replace_axis(override, subs, parameters)
    if is_span_or_generator(node) or (isinstance(node, Items) and parameters.is_scalar(key)):
        added = read_axis(key, node, override.place, parameters)
        return [replace(sub, axes=(*(_without(one, key) for one in sub.axes), added)) for sub in subs]
    assigns = tuple(assignments(node, parameters, override.place, key))
    return [replace(sub, final=(*sub.final, *assigns)) for sub in subs]


def _without(one: Axis, path: str) -> Axis:
    """Take a parameter from the bundles of an axis, because the command line varies it."""
    return replace(one, bundles=tuple(
        replace(bundle, assigns=tuple(assign for assign in bundle.assigns if assign.path != path))
        for bundle in one.bundles
    ))  # fmt: skip


def _replace_axis(override: Override, subs: Sequence[SubGrid], parameters: Parameters) -> list[SubGrid]:
    """Give an axis other values wherever it exists; a sub-grid that is left without any goes."""
    replaced: dict[int, Axis | None] = {}
    plain: Axis | None = None
    names = {name: None for sub in subs for one in sub.axes if one.name == override.key for name in one.names}
    changed: list[SubGrid] = []
    for sub in subs:
        axes: list[Axis | None] = []
        for one in sub.axes:
            if one.name != override.key:
                axes.append(one)
                continue
            if id(one) not in replaced:
                if one.bundles:
                    replaced[id(one)] = _pick(override, one, list(names))
                else:
                    plain = plain or read_axis(override.key, override.node, override.place, parameters)
                    replaced[id(one)] = plain
            axes.append(replaced[id(one)])
        kept = [one for one in axes if one is not None]
        if len(kept) == len(axes):
            changed.append(replace(sub, axes=tuple(kept)))
    return changed


def _pick(override: Override, one: Axis, names: Sequence[str]) -> Axis | None:
    wanted = override.node.items if isinstance(override.node, Items) else (override.node,)
    bundles = {bundle.name: bundle for bundle in one.bundles}
    for item in wanted:
        text = item.text if isinstance(item, Scalar) else str(item.plain)
        if text not in names:
            raise UserError(f"axis {one.name!r} has no bundle {text!r}.{nearest(text, names)}", places=(item.place,))
    picked = tuple(bundles[item.text] for item in wanted if isinstance(item, Scalar) and item.text in bundles)
    return replace(one, bundles=picked) if picked else None
