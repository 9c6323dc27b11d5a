"""The nets by their published names."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

from experiments.thinking.nets.net import Architecture, Net
from experiments.thinking.params import LEGACY, SHAPES, Thinking
from orchestrator.errors import UserError, nearest


class Kind(NamedTuple):
    """What a published name says of a net."""

    dimensions: int
    feed_forward: bool
    recall: bool
    group_norm: bool


MODELS: dict[str, Kind] = {
    "_".join(
        [
            "feedforward_net" if feed_forward else "dt_net",
            *(["recall"] if recall else []),
            *(["gn"] if group_norm else []),
            f"{dimensions}d",
        ]
    ): Kind(dimensions, feed_forward, recall, group_norm)
    for dimensions, feed_forward, recall, group_norm in product((1, 2), (False, True), (False, True), (False, True))
}
"""``dt_net_recall_gn_1d`` and its like."""


def create(name: str, *, width: int, in_channels: int = 1, max_iters: int = 30, recall_relu: bool = False) -> Net:
    """Make a DT or feed-forward net.

    Parameters
    ----------
    name
        One of :data:`MODELS`.
    width
        Channels of a thought.
    in_channels
        Channels of the input: 1 prefix sums, 3 mazes, 12 chess.
    max_iters
        Modules of a feed-forward net; recurrent nets do not know it.
    recall_relu
        Whether a ReLU follows the recall convolution of a recurrent net in 2D. In 1D it always does, in feed-forward
        nets never: so it is in the published code, DT having none in 2D and delta one.

    Raises
    ------
    UserError
        If there is no such net, or its group norm does not divide the width.
    """
    kind = MODELS.get(name)
    if kind is None:
        raise UserError(f"there is no net {name!r}; there are {', '.join(MODELS)}.{nearest(name, MODELS)}")
    return Net(
        Architecture(
            dimensions=kind.dimensions,
            channels=in_channels,
            width=width,
            modules=max_iters if kind.feed_forward else None,
            recall=kind.recall,
            recall_relu=kind.recall and not kind.feed_forward and (kind.dimensions == 1 or recall_relu),
            group_norm=kind.group_norm,
        )
    )


def legacy(problem: str, name: str, *, width: int, depth: int) -> Net:
    """Make a legacy net. A depth is 4 layers, and 4 more for each iteration.

    Parameters
    ----------
    problem, name
        Of :data:`~experiments.thinking.params.LEGACY`. ``recur_dilated_net`` alone is dilated; the published file of a
        dilated feed-forward net is not, and is ``ff_net``.
    width
        Channels of a thought; for mazes and chess, their 64th part.
    depth
        Decides the modules of a feed-forward net. Mazes round (depth − 4) / 4 down; the others want it whole.

    Raises
    ------
    UserError
        If there is no such net, or none of that depth.
    """
    known = LEGACY.get(problem, ())
    if name not in known:
        raise UserError(f"there is no legacy net {name!r} for {problem}; there are {', '.join(known) or 'none'}.")
    iterations, rest = divmod(depth - 4, 4)
    if iterations < 1 or (rest and problem != "mazes"):
        raise UserError(f"depth {depth} is not that of a legacy net: it must be 4 + 4 × the number of iterations")
    shape = SHAPES[problem]
    return Net(
        Architecture(
            dimensions=shape.dimensions,
            channels=shape.channels,
            width=width if problem == "prefix_sums" else 64 * width,
            modules=iterations if name.startswith("ff_") else None,
            dilation=2 if name == "recur_dilated_net" else 1,
        )
    )


def build(p: Thinking) -> Net:
    """Make the net that parameters describe."""
    if p.legacy:
        return legacy(p.problem, p.model, width=p.width, depth=p.depth)
    return create(
        p.model, width=p.width, in_channels=p.shape.channels, max_iters=p.max_iters, recall_relu=p.recall_relu
    )
