"""Convolutions that keep the size of a picture, and the residual block that all nets are made of.

Strings are pictures of one row: a convolution of pictures with the channels last in memory is from 1.3 to 1.7 times as
fast on CPUs as one of strings.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

GROUPS = 4
"""Of channels, which are normalised together."""


def conv(channels: int, outputs: int, dimensions: int, dilation: int = 1) -> nn.Conv2d:
    """Return a convolution of width 3 without bias, (b, channels, h, w) to (b, outputs, h, w).

    Parameters
    ----------
    channels, outputs
        Numbers of channels.
    dimensions
        2; or 1 for strings, which are pictures of one row.
    dilation
        Distance of the cells that a kernel looks at.
    """
    kernel, padding = ((1, 3), (0, dilation)) if dimensions == 1 else ((3, 3), (dilation, dilation))
    return nn.Conv2d(channels, outputs, kernel, padding=padding, dilation=dilation, bias=False)


class Block(nn.Module):
    """y = relu(N(conv_b(relu(N(conv_a(x))))) + x), N a group norm without weights, or nothing (DT).

    Parameters
    ----------
    width
        Channels.
    dimensions
        1 or 2.
    group_norm
        Whether there is a norm after each convolution.
    dilation
        Of the second convolution; the dilated legacy net has 2 there.
    """

    def __init__(self, width: int, dimensions: int, *, group_norm: bool, dilation: int) -> None:
        super().__init__()
        self.conv_a = conv(width, width, dimensions)
        self.conv_b = conv(width, width, dimensions, dilation)
        self.norm = nn.GroupNorm(GROUPS, width, affine=False) if group_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, (b, width, h, w)."""
        y = functional.relu(self.norm(self.conv_a(x)))
        return functional.relu(self.norm(self.conv_b(y)) + x)
