"""The deep-thinking nets and losses as one would write them first: the other side of ``bench_thinking.py``.

Contiguous tensors, the input put beside the thought in every iteration, a readout after every iteration, and with the
progressive loss all T iterations with their graph whatever its weight is, since training accuracy is taken of the last.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """A residual block."""

    def __init__(self, conv: Any, width: int) -> None:
        super().__init__()
        self.a = conv(width, width, 3, padding=1, bias=False)
        self.b = conv(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return its output."""
        return functional.relu(self.b(functional.relu(self.a(x))) + x)


class PlainNet(nn.Module):
    """A recurrent net with recall, in one dimension or two; its parameters come in the order of ours."""

    def __init__(self, dimensions: int, channels: int, width: int) -> None:
        super().__init__()
        conv: Any = nn.Conv1d if dimensions == 1 else nn.Conv2d
        first, second = (width, width // 2) if dimensions == 1 else (32, 8)

        def layer(inputs: int, outputs: int) -> nn.Module:
            made: nn.Module = conv(inputs, outputs, 3, padding=1, bias=False)
            return made

        self.projection = nn.Sequential(layer(channels, width), nn.ReLU())
        recall = [layer(width + channels, width), *([nn.ReLU()] if dimensions == 1 else [])]
        self.recur = nn.Sequential(*recall, Block(conv, width), Block(conv, width))
        self.head = nn.Sequential(layer(width, first), nn.ReLU(), layer(first, second), nn.ReLU(), layer(second, 2))

    def forward(self, x: Tensor, iterations: int, thought: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Return the readouts of all iterations, and the last thought."""
        first = self.projection(x)
        h = first if thought is None else thought
        outputs = []
        for _ in range(iterations):
            h = self.recur(torch.cat([h, x], 1))
            outputs.append(self.head(h))
        return outputs, h


def entropy(out: Tensor, t: Tensor, mask: Tensor | None) -> Tensor:
    found = functional.cross_entropy(out, t, reduction="none")
    return found.mean() if mask is None else found[mask].mean()


def progressive(
    net: PlainNet, x: Tensor, t: Tensor, mask: Tensor | None, iterations: int, alpha: float, n: int, k: int
) -> Tensor:
    outputs, _ = net(x, iterations)
    whole = entropy(outputs[-1], t, mask)
    thought = None
    if n:
        _, thought = net(x, n)
        thought = thought.detach()
    partial = entropy(net(x, k, thought)[0][-1], t, mask)
    return (1 - alpha) * whole + alpha * partial if alpha < 1 else partial


def delta(net: PlainNet, x: Tensor, t: Tensor, mask: Tensor | None, iterations: int) -> Tensor:
    losses = torch.stack([entropy(out, t, mask) for out in net(x, iterations)[0]])
    return losses[-1] - losses[0] + losses.max()
