"""Checkpoints of other programs: the same weights under other names.

A net's weights are told apart by what they are, not by their names, which the descriptions of the published nets do not
give: by shape, and by the order in which a net applies them. Of shapes that several layers have, the residual blocks'
convolutions are those of the part of the net (the name up to its first dot) that has most of them. So a file of the
published programs can be read; and weights of ours can be written under the names of such a file:

::

    python -m experiments.thinking.naming runs/STUDY/…/model_best.pth published/model_best.pth named/model_best.pth

writes the weights of the first under the names of the second, to the third.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from torch import Tensor

from orchestrator.errors import UserError

PARALLEL = "module."
"""What nets that were trained on several GPUs have before the names of their weights."""

Weights = Mapping[str, Tensor]


def bare(names: Weights) -> dict[str, Tensor]:
    """Return weights by their names without :data:`PARALLEL`."""
    return {name.removeprefix(PARALLEL): value for name, value in names.items()}


def shape(weight: Tensor) -> tuple[int, ...]:
    """Return the shape of a weight; of a string's convolution (o, i, width), as published; ours is of pictures."""
    found = tuple(weight.shape)
    return (*found[:2], *found[3:]) if weight.ndim == 4 and found[2] == 1 else found


def pairs(own: Weights, given: Weights) -> dict[str, str] | None:
    """Return which name of ``given`` stands for each name of ``own``; None if they are not of one net.

    Parameters
    ----------
    own, given
        Weights by name, in the order of the net's layers.
    """
    mine, theirs = _groups(own), _groups(given)
    if {kind: len(names) for kind, names in mine.items()} != {kind: len(names) for kind, names in theirs.items()}:
        return None
    return {one: other for kind in mine for one, other in zip(mine[kind], theirs[kind], strict=True)}


def _groups(weights: Weights) -> dict[tuple[object, ...], list[str]]:
    """Return names by what they are: shape, and whether they belong to the residual blocks."""
    square = Counter(_part(name) for name, weight in weights.items() if _square(weight))
    blocks = max(square, key=lambda part: square[part]) if square else None
    found: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, weight in weights.items():
        found[(*shape(weight), _square(weight) and _part(name) == blocks)].append(name)
    return found


def _part(name: str) -> str:
    return name.removeprefix(PARALLEL).split(".")[0]


def _square(weight: Tensor) -> bool:
    return weight.ndim > 2 and weight.shape[0] == weight.shape[1]


def translated(own: Weights, given: Weights) -> dict[str, Tensor] | None:
    """Return the values of ``given`` under the names and in the shapes of ``own``; None if they are not of one net."""
    if {name: tuple(value.shape) for name, value in own.items()} == {
        name: tuple(value.shape) for name, value in given.items()
    }:
        return dict(given)
    found = pairs(own, given)
    return None if found is None else {name: given[found[name]].reshape(own[name].shape) for name in own}


def difference(own: Weights, given: Weights) -> str:
    """Say what weights lack and have too many, in words."""
    wanted, there = ({name: shape(value) for name, value in weights.items()} for weights in (own, given))
    missing = [f"{name} {size}" for name, size in wanted.items() if there.get(name) != size]
    further = [f"{name} {size}" for name, size in there.items() if wanted.get(name) != size]
    return f"missing are {_some(missing)}; unexpected are {_some(further)}"


def _some(words: list[str]) -> str:
    more = f" and {len(words) - 4} more" if len(words) > 4 else ""
    return (", ".join(words[:4]) or "none") + more


def _renamed(ours: Path, like: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """Return the content of a checkpoint, and its weights under the names of another."""
    from experiments.thinking import computation

    given, template = computation.read(ours), computation.read(like)["net"]
    found = translated(template, given["net"])
    if found is None:
        raise UserError(f"{ours} and {like} hold different nets: {difference(template, given['net'])}")
    return given, found


@click.command()
@click.argument("ours", type=click.Path(path_type=Path))
@click.argument("like", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
def main(ours: Path, like: Path, out: Path) -> None:
    """Write the weights of checkpoint OURS under the names that checkpoint LIKE has, to OUT.

    LIKE is of the same net, trained or not, and its names may begin with "module.". The optimiser is left behind.
    """
    from experiments.thinking import computation

    try:
        given, found = _renamed(ours, like)
    except UserError as error:
        raise click.ClickException(str(error)) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    content = {"net": {name: value.contiguous() for name, value in found.items()}}
    computation.save(out, content | {"epoch": given.get("epoch", -1), "optimizer": {"state": {}, "param_groups": []}})


if __name__ == "__main__":
    main()
