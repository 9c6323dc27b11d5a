"""``orch experiments``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common

if TYPE_CHECKING:
    from orchestrator.experiment import Experiment


@click.command()
@click.argument("names", nargs=-1, metavar="[EXPERIMENT]...")
@common.json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """List the installed experiments, or the parameters of those that are named.

    An experiment of your own is named by where it is: my_package.params:EXPERIMENT.
    """
    from pathlib import Path

    from orchestrator.experiment import find, installed
    from orchestrator.view import table

    out = table.console()
    found = [find(name, Path.cwd()) for name in names or installed()]
    if as_json:
        common.print_json({"schema": 1, "experiments": {each.reference: describe(each) for each in found}})
    elif not names:
        rows = [[e.reference, str(e.version), str(len(describe(e)["parameters"])), summary(e)] for e in found]
        out.print(table.table(["experiment", "version", "parameters", ""], rows, right=[1, 2]))
    for each in found if names and not as_json else ():
        rows = [
            [
                name,
                known["type"],
                "per lane" if known["lane"] else "static",
                _shown(known["default"]),
                known["description"],
            ]
            for name, known in describe(each)["parameters"].items()
        ]
        out.print(f"{each.reference}, version {each.version}", style="bold")
        out.print(table.table(["parameter", "type", "", "default", ""], rows))


def summary(experiment: Experiment) -> str:
    """Return the first sentence of the parameter class's docstring."""
    return (experiment.params.__doc__ or "").strip().partition("\n")[0]


def _shown(default: Any) -> str:
    return "" if default is None else str(default)


def describe(experiment: Experiment) -> dict[str, Any]:
    """Return an experiment as data."""
    from pydantic_core import PydanticUndefined

    from orchestrator.experiment import fields, lane_paths

    lanes = lane_paths(experiment.params)
    return {
        "version": experiment.version,
        "train": experiment.train,
        "form": experiment.form,
        "parameters": {
            path: {
                "type": type_name(info.annotation),
                "default": None if info.default is PydanticUndefined else info.default,
                "required": info.is_required(),
                "lane": path in lanes,
                "description": info.description or "",
            }
            for path, info in fields(experiment.params)
        },
    }


def type_name(annotation: Any) -> str:
    """Write a parameter's type as a grid's author reads it."""
    from types import NoneType, UnionType
    from typing import Annotated, Literal, Union, get_args, get_origin

    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, UnionType):
        return " | ".join(type_name(argument) for argument in arguments)
    if annotation is NoneType:
        return "null"
    if origin is not None:
        inner = ", ".join("…" if argument is ... else type_name(argument) for argument in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return str(getattr(annotation, "__name__", annotation))
