"""A JSON Schema (draft 2020-12) of grid files, from which editors complete and check while a user types.

It accepts what ``load`` accepts and knows every parameter of every installed experiment; what it cannot express (checks
across parameters, two axes on one leaf) is left to ``load`` and ``expand``. Editors read ``50_000`` and ``0..24`` as
text, so numbers may also be text of the right pattern.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import TypeAdapter

from orchestrator.experiment import Experiment
from orchestrator.grid.document import FLOAT, INTEGER
from orchestrator.grid.model import ExportSpec, FigureSpec, Name, Resources
from orchestrator.grid.values import GENERATORS, SPAN

Schema = dict[str, Any]

_ANNOTATIONS = ("title", "description", "default")
_SPELLED = {"integer": f"^{INTEGER.pattern}$", "number": f"^{FLOAT.pattern}$"}
_NULL: Schema = {"type": "null"}
_DERIVED: Schema = {"type": "string", "pattern": r"\$\{"}
_SCALAR: Schema = {"type": ["boolean", "number", "string", "null"]}


def json_schema(experiments: Iterable[Experiment]) -> Schema:
    """Return the schema of grid files.

    Parameters
    ----------
    experiments
        The installed experiments; a grid that names another (``my_pkg.params:EXP``) is checked for its structure only.
    """
    known = sorted(experiments, key=lambda experiment: experiment.reference)
    definitions: Schema = {
        "span": {"type": "string", "pattern": f"^{SPAN.pattern}$", "description": "both ends included, such as 0..24"},
        "generator": _generator(),
        "resources": _section(Resources, "resources"),
        "condition": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"anyOf": [_SCALAR, {"type": "array"}]},
            "description": "axis or parameter: a value, a list of values, or a span",
        },
        "any.set": {"type": "object"},
        "any.bundle": {"type": "object", "properties": {"resources": _ref("resources")}},
        "any.axes": {"type": "object", "additionalProperties": _axis({}, _ref("any.bundle"))},
    }
    branches = []
    for experiment in known:
        definitions |= _of_experiment(experiment)
        condition = {"properties": {"experiment": {"const": experiment.reference}}, "required": ["experiment"]}
        branches.append({"if": condition, "then": {"properties": _body(experiment.reference)}})
    installed: Schema = {"enum": [experiment.reference for experiment in known]}
    own: Schema = {"type": "string", "pattern": r"^[\w.]+:[\w.]+$", "description": "my_package.module:EXPERIMENT"}
    schema: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "orch grid",
        "type": "object",
        "properties": {
            "study": TypeAdapter(Name).json_schema() | {"description": "name of the study and of its folder"},
            "experiment": {"anyOf": [installed, own], "description": "what to run"},
            "command": {"type": "string", "description": "template of a command, with ${parameter} and ${run.dir}"},
            **_body("any"),
            "resources": _ref("resources"),
            "export": _section(ExportSpec, "export"),
            "figures": {"anyOf": [one := _section(FigureSpec, "figure"), {"type": "array", "items": one}]},
        },
        "required": ["study"],
        "oneOf": [{"required": ["experiment"]}, {"required": ["command"]}],
        "additionalProperties": False,
        "allOf": branches,
        "$defs": definitions,
    }
    # Sections carry definitions of their own; all live at the root.
    for part in list(_objects(schema)):
        if part is not schema and "$defs" in part:
            definitions |= part.pop("$defs")
    return schema


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _objects(schema: Any) -> Iterator[Schema]:
    if isinstance(schema, dict):
        yield schema
        for child in list(schema.values()):
            yield from _objects(child)
    elif isinstance(schema, list):
        for child in schema:
            yield from _objects(child)


def _section(model: Any, name: str) -> Schema:
    schema: Schema = model.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    schema["$defs"] = {f"{name}.{key}": value for key, value in schema.get("$defs", {}).items()}
    return schema


def _generator() -> Schema:
    options = [
        {"type": "object", "properties": {name: loosen(model.model_json_schema(), partial=False)},
         "required": [name], "additionalProperties": False}
        for name, model in GENERATORS.items()
    ]  # fmt: skip
    return {"anyOf": options}


def _body(name: str) -> Schema:
    """Return what depends on the experiment: ``set``, ``axes``, rules and sub-grids."""
    own: Schema = {"set": _ref(f"{name}.set"), "axes": _ref(f"{name}.axes"), "skip": _some(_ref("condition"))}
    condition = {"if": _ref("condition")}
    rules = [
        {"type": "object", "properties": condition | {"set": own["set"]}, "required": ["if", "set"]},
        {"type": "object", "properties": condition | {"drop": {"const": True}}, "required": ["if", "drop"]},
    ]
    own["when"] = _some({"anyOf": [rule | {"additionalProperties": False} for rule in rules]})
    also = own | {"base": {"const": "none"}, "resources": _ref("resources")}
    also["axes"] = _ref(f"{name}.also") if name != "any" else own["axes"]
    entry = {"type": "object", "properties": also, "additionalProperties": False}
    return own | {"also": _some(entry)}


def _some(schema: Schema) -> Schema:
    return {"anyOf": [{"type": "array", "items": schema}, schema]}


def _of_experiment(experiment: Experiment) -> Schema:
    name = experiment.reference
    schema: Schema = experiment.params.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    groups = schema.pop("$defs", {})
    properties = dict(_dotted(schema["properties"], {f"#/$defs/{name}.{key}": group for key, group in groups.items()}))
    settable = {path: _settable(loosen(value)) for path, value in properties.items()}
    bundle = _ref(f"{name}.bundle")
    axes = {path: _axis(loosen(value), bundle) for path, value in properties.items()}
    closed: Schema = {"type": "object", "additionalProperties": False}
    return {
        **{f"{name}.{key}": loosen(group) for key, group in groups.items()},
        f"{name}.set": closed | {"properties": settable},
        f"{name}.bundle": closed | {"properties": settable | {"resources": _ref("resources")}},
        f"{name}.axes": {"type": "object", "properties": axes, "additionalProperties": _bundles(bundle)},
        f"{name}.also": {
            "type": "object",
            "properties": {path: {"anyOf": [axis, _NULL]} for path, axis in axes.items()},
            "additionalProperties": {"anyOf": [_bundles(bundle), _NULL]},
        },
    }


def _dotted(properties: Schema, groups: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Walk a class's properties as dotted names, those of groups included."""
    for key, value in properties.items():
        yield prefix + key, value
        for part in _objects(value):
            if "$ref" in part:
                group = groups[part["$ref"]]
                yield from _dotted(group.get("properties", {}), groups, f"{prefix}{key}.")


def loosen(schema: Schema, *, partial: bool = True) -> Schema:
    """Accept spelled numbers (``50_000``) wherever numbers stand, and with ``partial`` groups that say only a part."""
    changed = {key: value for key, value in schema.items() if key != "discriminator"}
    if "oneOf" in changed:  # a part of a group may fit several members of a union
        changed["anyOf"] = changed.pop("oneOf")
    for key in ("anyOf", "allOf", "prefixItems"):
        if key in changed:
            changed[key] = [loosen(item, partial=partial) for item in changed[key]]
    if isinstance(changed.get("items"), dict):
        changed["items"] = loosen(changed["items"], partial=partial)
    if "properties" in changed:
        wrap = _settable if partial else dict
        changed["properties"] = {
            name: wrap(loosen(value, partial=partial)) for name, value in changed["properties"].items()
        }
        if partial:
            changed.pop("required", None)
    if changed.get("type") in _SPELLED:
        spelled = {"type": "string", "pattern": _SPELLED[changed["type"]]}
        return _any([{k: v for k, v in changed.items() if k not in _ANNOTATIONS}, spelled], changed)
    return changed


def _any(options: list[Schema], described: Schema) -> Schema:
    """Offer options under one description, where editors look for it."""
    return {"anyOf": options} | {key: described[key] for key in _ANNOTATIONS if key in described}


def _settable(schema: Schema) -> Schema:
    bare = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    return _any([bare, _DERIVED, _NULL], schema)


def _axis(value: Schema, bundle: Schema) -> Schema:
    item: Schema = {"anyOf": [_settable(value), _ref("span")]} if value else {}
    single = [_settable(value)] if value else [_SCALAR]
    values: Schema = {"type": "array", "items": item, "minItems": 1}
    return {"anyOf": [values, _ref("span"), _ref("generator"), _bundles(bundle), *single], **_about(value)}


def _about(value: Schema) -> Schema:
    return {key: value[key] for key in ("description",) if key in value}


def _bundles(bundle: Schema) -> Schema:
    return {"type": "object", "additionalProperties": bundle, "minProperties": 1}
