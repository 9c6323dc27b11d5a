"""A grid file, read: structure and names are checked here; every value is checked at every point by ``expand``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import template
from orchestrator.errors import UserError, nearest
from orchestrator.experiment import COMMAND, Experiment, find
from orchestrator.grid import document
from orchestrator.grid.axes import (
    Assign,
    Axis,
    assignments,
    mapping,
    partial_resources,
    read_axis,
    refuse_doubles,
    refuse_overlap,
)
from orchestrator.grid.document import Items, Node, parse
from orchestrator.grid.drop import count
from orchestrator.grid.model import ExportSpec, FigureSpec, Name, Resources, Section
from orchestrator.grid.overrides import apply, words
from orchestrator.grid.parameters import Parameters
from orchestrator.grid.problems import read
from orchestrator.grid.resolve import Resolver, SubGrid
from orchestrator.grid.rules import bundle_names, skips, staged, whens
from orchestrator.grid.values import MAX_RUNS

KEYS = ("study", "experiment", "command", "set", "axes", "skip", "when", "also", "resources", "export", "figures")
ALSO_KEYS = ("base", "set", "axes", "skip", "when", "resources")
FIGURE_NAMES = ("step", "wall_time", "tag")
"""What a figure can have along x beside axes and parameters."""


class Header(Section):
    """The single values at the top of a grid."""

    study: Name
    experiment: str | None = None
    command: str | None = None


@dataclass(frozen=True)
class Grid:
    """A grid whose structure is sound.

    Parameters
    ----------
    study
        The study's name.
    experiment
        The experiment; :data:`orchestrator.experiment.COMMAND` for a grid with a ``command:``.
    resources, export, figures
        The sections of the file, with overrides applied.
    text
        The file as it was read.
    file
        The name that errors give it.
    overrides
        The words of the command line that changed it.
    """

    study: str
    experiment: Experiment
    resources: Resources
    export: ExportSpec
    figures: list[FigureSpec]
    text: str
    file: str
    overrides: tuple[str, ...]
    parameters: Parameters = field(repr=False)
    resolvers: tuple[Resolver, ...] = field(repr=False)

    def count(self) -> int:
        """Return the number of points, without expanding them."""
        return sum(count(resolver) for resolver in self.resolvers)


def load(
    path_or_text: Path | str, *, file: str | None = None, overrides: Sequence[str] = (), project: Path | None = None
) -> Grid:
    """Read a grid file and check its structure.

    Parameters
    ----------
    path_or_text
        A path, or the text itself.
    file
        The name that errors give; the path by default.
    overrides
        Words of the command line such as ``seed=0..3`` or ``l1.start=1e-9``.
    project
        The user's project, first on the path for ``experiment: my_pkg.params:EXP``; the current folder by default.

    Raises
    ------
    UserError
        With the file, line and column of every place that contributed.
    """
    text, file = _read(path_or_text, file)
    root = mapping(parse(text, file), "a grid")
    for key, place in root.keys.items():
        if key not in KEYS:
            raise UserError(f"a grid has no {key!r}.{nearest(key, KEYS)}", places=(place,))
    given = words(overrides)
    own = {key: node for key, node in root.entries.items() if key in Header.model_fields}
    header = read(Header, document.Mapping(root.place, root.size, own, root.keys), "a grid")
    experiment = _experiment(root, header, project)
    parameters = Parameters.of(experiment)
    subs = _subgrids(root, parameters)
    study, resources, subs = apply(given, root.entries.get("resources"), subs, parameters)
    for sub in subs:
        refuse_overlap(sub.axes)
    _refuse_too_many(subs, root)
    resolvers = tuple(Resolver(sub, parameters) for sub in subs)
    if experiment.form == "command":
        for resolver in resolvers:
            _check_template(resolver, root)
    export = root.entries.get("export")
    return Grid(
        study=study or header.study,
        experiment=experiment,
        resources=resources,
        export=read(ExportSpec, export, "export") if export else ExportSpec(),
        figures=_figures(root.entries.get("figures"), parameters, subs),
        text=text,
        file=file,
        overrides=tuple(overrides),
        parameters=parameters,
        resolvers=resolvers,
    )


def _read(path_or_text: Path | str, file: str | None) -> tuple[str, str]:
    if isinstance(path_or_text, str):
        return path_or_text, file or "grid"
    file = file or str(path_or_text)
    return document.read_text(path_or_text, file), file


def _experiment(root: document.Mapping, header: Header, project: Path | None) -> Experiment:
    if (header.experiment is None) == (header.command is None):
        places = tuple(root.keys[key] for key in ("experiment", "command") if key in root.keys) or (root.place,)
        raise UserError("a grid has either an experiment or a command", places=places)
    if header.experiment is None:
        return COMMAND
    try:
        return find(header.experiment, project or Path.cwd())
    except UserError as error:
        raise UserError(error.message, places=(root.entries["experiment"].place,)) from error


# --- sub-grids --------------------------------------------------------------------------------------------------------


def _subgrids(root: document.Mapping, parameters: Parameters) -> list[SubGrid]:
    entries = root.entries
    base: tuple[Assign, ...] = ()
    if "command" in entries:
        node = entries["command"]
        base = (Assign("command", node.plain, node.place, root.keys["command"], node),)
        for name in ("set", "axes"):
            if isinstance(part := entries.get(name), document.Mapping) and "command" in part.keys:
                raise UserError("'command' is the template, not a parameter", places=(part.keys["command"],))
    bodies: list[tuple[Mapping[str, Node], bool]] = [(entries, False)]
    for entry in _items(entries.get("also")):
        body = mapping(entry, "an entry of also")
        for key, place in body.keys.items():
            if key not in ALSO_KEYS:
                raise UserError(f"an entry of also has no {key!r}.{nearest(key, ALSO_KEYS)}", places=(place,))
        if "base" in body.entries and body.entries["base"].plain != "none":
            raise UserError(
                "'base: none' starts from nothing; there is no other base", places=(body.entries["base"].place,)
            )
        bodies.append((body.entries, "base" not in body.entries))

    built: list[SubGrid] = []
    for body_entries, inherits in bodies:
        parent = built[0] if inherits else SubGrid(base, ())
        axes = _axes(body_entries.get("axes"), parent.axes, parameters)
        assigns = _set(body_entries.get("set"), parameters)
        resources = partial_resources(body_entries["resources"]) if built and "resources" in body_entries else {}
        built.append(SubGrid((*parent.base, *assigns), axes, resources=resources))
    # Conditions may name the bundles of any sub-grid: they are read when all axes are known.
    bundles = bundle_names(axis for sub in built for axis in sub.axes)
    found: list[SubGrid] = []
    for (body_entries, inherits), sub in zip(bodies, built, strict=True):
        inherited = found[0].whens if inherits else ()
        own = whens(body_entries["when"], parameters, bundles) if "when" in body_entries else []
        skip = skips(body_entries["skip"], parameters, bundles) if "skip" in body_entries else []
        found.append(
            SubGrid(sub.base, sub.axes, tuple(staged([*inherited, *own])), tuple(skip), resources=sub.resources)
        )
    return found


def _items(node: Node | None) -> Sequence[Node]:
    if node is None:
        return ()
    return node.items if isinstance(node, Items) else (node,)


def _set(node: Node | None, parameters: Parameters) -> tuple[Assign, ...]:
    if node is None:
        return ()
    body = mapping(node, "set")
    return refuse_doubles(tuple(assignments(body, parameters, body.place)))


def _axes(node: Node | None, inherited: Sequence[Axis], parameters: Parameters) -> tuple[Axis, ...]:
    """Read axes; one of an inherited name replaces it in its place, ``null`` drops it."""
    axes = {axis.name: axis for axis in inherited}
    body = mapping(node, "axes") if node is not None else None
    for name, child in body.entries.items() if body else ():
        assert body is not None
        if child.plain is None and name in axes:
            del axes[name]
        elif child.plain is None:
            raise UserError(f"axis {name!r} has no values: give it some, or remove it", places=(child.place,))
        else:
            axes[name] = read_axis(name, child, body.keys[name], parameters)
    return tuple(axes.values())


def _refuse_too_many(subs: Sequence[SubGrid], root: document.Mapping) -> None:
    total = sum(sub.product() for sub in subs)
    if total > MAX_RUNS:
        largest = max(subs, key=SubGrid.product)
        sizes = " × ".join(f"{len(axis):,} {axis.name}" for axis in largest.axes)
        raise UserError(
            f"this grid has {total:,} points, and at most {MAX_RUNS:,} are accepted: {sizes}",
            places=tuple(axis.key for axis in largest.axes) or (root.place,),
        )


# --- commands and figures ---------------------------------------------------------------------------------------------


def _check_template(resolver: Resolver, root: document.Mapping) -> None:
    """Refuse a placeholder that some point has no value for."""
    node = root.entries["command"]
    sub = resolver.sub
    try:
        names = template.names(str(node.plain))
    except ValueError as error:
        raise UserError(str(error), places=(node.place,)) from error
    fixed = {assign.path for assign in (*sub.base, *sub.final) if assign.value is not None} | {"seed"}
    varied = {axis.name: [{a.path for a in axis.assigns(code)} for code in range(len(axis))]
              for axis in sub.axes if axis.bundles}  # fmt: skip
    fixed |= {axis.name for axis in sub.axes if not axis.bundles}
    known = fixed.union(*(paths for values in varied.values() for paths in values))
    for name in names:
        if name in template.RUN_NAMES or name in fixed or name in varied:
            continue
        if name not in known:
            hint = nearest(name, [*known - {"command"}, *varied, *template.RUN_NAMES])
            raise UserError(f"${{{name}}} in the command names no parameter of this grid.{hint}", places=(node.place,))
        for axis in sub.axes:
            for code, paths in enumerate(varied.get(axis.name, ())):
                if any(name in values for values in varied[axis.name]) and name not in paths:
                    raise UserError(
                        f"the command needs {name!r}; bundle {axis.label(code)!r} of {axis.name!r} does not set it",
                        places=(axis.place(code), node.place),
                    )


def _figures(node: Node | None, parameters: Parameters, subs: Sequence[SubGrid]) -> list[FigureSpec]:
    axes = dict.fromkeys(axis.name for sub in subs for axis in sub.axes)
    named = {assign.path for sub in subs for assign in sub.base}
    known = [*axes, *parameters.paths, *named, *FIGURE_NAMES]
    figures: dict[str, tuple[FigureSpec, Node]] = {}
    for entry in _items(node):
        figure = read(FigureSpec, entry, "a figure")
        assert isinstance(entry, document.Mapping)
        for key, value in (("x", figure.x), ("colour", figure.colour)):
            if value is not None and value not in known:
                place = entry.entries[key].place
                raise UserError(
                    f"{key} is {value!r}, neither an axis nor a parameter.{nearest(value, known)}", places=(place,)
                )
        if figure.name in figures:
            first = figures[figure.name][1]
            raise UserError(f"two figures are named {figure.name!r}", places=(entry.place, first.place))
        figures[figure.name] = (figure, entry)
    return [figure for figure, _ in figures.values()]
