"""A net that thinks: a projection, modules applied to its thought again and again, and a head that reads it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.thinking.nets.blocks import GROUPS, Block, apply, conv
from orchestrator.errors import UserError


class Architecture(NamedTuple):
    """What a net is made of."""

    dimensions: int
    """1: strings; 2: pictures."""
    channels: int
    """Of the input."""
    width: int
    """Channels of a thought."""
    modules: int | None = None
    """None: one module, for all iterations; else the number of modules, one for each (feed-forward)."""
    recall: bool = False
    """Whether every iteration sees the input beside the thought."""
    recall_relu: bool = False
    """Whether a ReLU follows the convolution that brings the two together."""
    group_norm: bool = False
    dilation: int = 1
    """Of projection, head, and the second convolution of each block."""


class Recalled(NamedTuple):
    """The input as every iteration sees it: what does not change from one to the next is computed once."""

    weight: Tensor
    """The recall convolution's weights for the thought, (w, w, *kernel)."""
    term: Tensor
    """The recall convolution of the input, (b, w, h, w)."""


class Net(nn.Module):
    """A recurrent or feed-forward net.

    Thoughts are (b, width, h, w) with channels last in memory, h = 1 for strings; :meth:`forward` takes and returns
    them as (b, width, *cells). Parameters of the recurrent module, and no others, have ``recur`` in their names.

    Parameters
    ----------
    architecture
        What it is made of.

    Raises
    ------
    UserError
        If a group norm does not divide the width.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        if a.group_norm and a.width % GROUPS:
            raise UserError(
                f"a group norm has {GROUPS} groups of channels: width must be divisible by it, not {a.width}"
            )
        self.projection = conv(a.channels, a.width, a.dimensions, a.dilation)
        self.recall = conv(a.width + a.channels, a.width, a.dimensions) if a.recall and a.modules else None
        self.recur_recall = conv(a.width + a.channels, a.width, a.dimensions) if a.recall and not a.modules else None
        modules = nn.ModuleList(
            nn.Sequential(*(Block(a.width, a.dimensions, group_norm=a.group_norm, dilation=a.dilation) for _ in "ab"))
            for _ in range(a.modules or 1)
        )
        if a.modules:
            self.feed_forward = modules
        else:
            self.recur = modules[0]
        middle = (a.width, a.width // 2) if a.dimensions == 1 else (32, 8)
        self.head = nn.Sequential(
            conv(a.width, middle[0], a.dimensions, a.dilation),
            nn.ReLU(),
            conv(middle[0], middle[1], a.dimensions, a.dilation),
            nn.ReLU(),
            conv(middle[1], 2, a.dimensions, a.dilation),
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    # --- the parts of an iteration ------------------------------------------------------------------------------------

    def picture(self, x: Tensor) -> Tensor:
        """Return inputs or thoughts (b, c, *cells) as (b, c, h, w), with channels last in memory."""
        x = x.unsqueeze(2) if self.architecture.dimensions == 1 else x
        return x.contiguous(memory_format=torch.channels_last)

    def cells(self, x: Tensor) -> Tensor:
        """Undo :meth:`picture`."""
        return x.squeeze(2) if self.architecture.dimensions == 1 else x

    def project(self, x: Tensor) -> Tensor:
        """Return the first thought about a picture."""
        return apply(self.projection, self.picture(x), relu=True)

    def recalled(self, x: Tensor) -> Recalled | None:
        """Return what iterations see of inputs (b, c, *cells); None without recall.

        The convolution of a thought beside the input is the sum of two: that of the input is made here, once.
        """
        layer = self.recall or self.recur_recall
        if layer is None:
            return None
        weights = torch.split(layer.weight, [self.architecture.width, self.architecture.channels], dim=1)
        mine, its = (part.contiguous(memory_format=torch.channels_last) for part in weights)
        return Recalled(mine, functional.conv2d(self.picture(x), its, padding=layer.padding))

    def iterate(self, thought: Tensor, recalled: Recalled | None, index: int) -> Tensor:
        """Return the thought after one more iteration, the one with this index, counted from 0."""
        if recalled is not None:
            layer = self.recall or self.recur_recall
            assert layer is not None
            relu = self.architecture.recall_relu
            thought = apply(layer, thought, recalled.weight, recalled.term, relu=relu)
        module = self.feed_forward[index] if self.architecture.modules else self.recur
        following: Tensor = module(thought)
        return following

    def think(self, thought: Tensor, recalled: Recalled | None, first: int, count: int) -> Tensor:
        """Return the thought after ``count`` iterations, the first of which has the index ``first``."""
        self.check(first, count)
        for index in range(first, first + count):
            thought = self.iterate(thought, recalled, index)
        return thought

    def readout(self, thought: Tensor) -> Tensor:
        """Return what is read from a thought: scores (b, 2, *cells) of the two classes."""
        *hidden, last = (layer for layer in self.head if isinstance(layer, nn.Conv2d))
        for layer in hidden:
            thought = apply(layer, thought, relu=True)
        return self.cells(last(thought))

    def check(self, first: int, count: int) -> None:
        """Refuse iterations that the net does not have.

        Raises
        ------
        UserError
            It says how many there are.
        """
        modules = self.architecture.modules
        if modules and first + count > modules:
            raise UserError(
                f"iterations {first + 1} to {first + count} are asked of a feed-forward net that has {modules}:"
                " it cannot think any longer"
            )

    # --- as published -------------------------------------------------------------------------------------------------

    def forward(
        self, x: Tensor, iters_to_do: int, interim_thought: Tensor | None = None, iters_elapsed: int = 0
    ) -> tuple[Tensor, Tensor] | Tensor:
        """Think about inputs (DT, the nets' forward pass).

        Parameters
        ----------
        x
            float (b, c, *cells).
        iters_to_do
            Number of iterations, k.
        interim_thought
            A thought to go on from, (b, width, *cells).
        iters_elapsed
            Iterations that led to it; only feed-forward nets need to know.

        Returns
        -------
        tuple[Tensor, Tensor] | Tensor
            In training the last readout (b, 2, *cells) and the last thought (b, width, *cells); in evaluation the
            readouts of all iterations, (b, k, 2, *cells). :mod:`experiments.thinking.evaluate` looks at one at a time.

        Raises
        ------
        UserError
            If a feed-forward net has fewer iterations.
        """
        recalled = self.recalled(x)
        thought = self.project(x) if interim_thought is None else self.picture(interim_thought)
        if self.training:
            thought = self.think(thought, recalled, iters_elapsed, iters_to_do)
            return self.readout(thought), self.cells(thought)
        self.check(iters_elapsed, iters_to_do)
        outputs = []
        for index in range(iters_elapsed, iters_elapsed + iters_to_do):
            thought = self.iterate(thought, recalled, index)
            outputs.append(self.readout(thought))
        return torch.stack(outputs, dim=1)


def radius(architecture: Architecture, iterations: int) -> int:
    """Return how far a readout sees after some iterations, in cells (spec §1.8)."""
    a = architecture
    block = 2 * (1 + a.dilation)
    return 4 * a.dilation + (block + int(a.recall)) * iterations
