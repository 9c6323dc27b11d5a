"""A residual network of 18 layers, as it is usually built for photographs.

K. He, X. Zhang, S. Ren, J. Sun, *Deep Residual Learning for Image Recognition* (arXiv 1512.03385), with the initial
weights of K. He et al. (arXiv 1502.01852).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages of two blocks each; all but the first halve height and width."""


class Block(nn.Module):
    """Two convolutions, whose result is added to what they were given."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = _conv(outputs, outputs, 3, 1), nn.BatchNorm2d(outputs)
        changes = stride > 1 or inputs != outputs
        self.short = nn.Sequential(*([_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)] if changes else []))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, height, width), the last two divided by the stride."""
        y = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(x)))))
        return functional.relu(y + self.short(x))


class Residual(nn.Module):
    """Reads numbers from photographs (n, 3, height, width), (n, outputs)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        blocks, inputs = [], WIDTHS[0]
        for stage, width in enumerate(WIDTHS):
            blocks += [Block(inputs, width, 2 if stage else 1), Block(width, width, 1)]
            inputs = width
        self.conv, self.norm = _conv(3, WIDTHS[0], 7, 2), nn.BatchNorm2d(WIDTHS[0])
        self.blocks, self.fc = nn.Sequential(*blocks), nn.Linear(WIDTHS[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is read."""
        x = functional.max_pool2d(functional.relu(self.norm(self.conv(x))), 3, stride=2, padding=1)
        read: Tensor = self.fc(self.blocks(x).mean((2, 3)))
        return read


def _conv(inputs: int, outputs: int, size: int, stride: int) -> nn.Conv2d:
    made = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made
