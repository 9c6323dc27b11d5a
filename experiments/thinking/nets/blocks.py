"""Convolutions that keep the size of a picture, and the residual block that all nets are made of.

Strings are pictures of one row: a convolution of pictures with the channels last in memory is from 1.3 to 1.7 times as
fast on CPUs as one of strings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

GROUPS = 4
"""Of channels, which are normalised together."""

FUSED = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")  # type: ignore[no-untyped-call]
"""Whether this torch has the operation that convolves, adds and cuts at once; it is one of its compiler's."""


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


def apply(
    layer: nn.Conv2d, x: Tensor, weight: Tensor | None = None, plus: Tensor | None = None, *, relu: bool
) -> Tensor:
    """Convolve, add, and cut off what is negative.

    Without a gradient a CPU does all of it in one pass over memory, and comes to the same bits: that makes iterations
    from 1.2 to 2 times as fast.

    Parameters
    ----------
    layer
        The convolution.
    x
        float (b, channels, h, w), channels last in memory.
    weight
        Used in place of the layer's.
    plus
        Added to the outcome; of its shape.
    relu
        Whether what is negative becomes 0.
    """
    weight = layer.weight if weight is None else weight
    if _fusible(x):
        geometry = (list(layer.padding), [1, 1], list(layer.dilation), 1)
        then = "relu" if relu else None
        if plus is None:
            once: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, None, *geometry, then or "none", [], None)
        else:
            once = torch.ops.mkldnn._convolution_pointwise.binary(
                x, plus, weight, None, *geometry, "add", 1.0, then, [], None
            )
        return once
    y = functional.conv2d(x, weight, padding=layer.padding, dilation=layer.dilation)
    if plus is not None:
        y = y + plus
    return functional.relu(y, inplace=True) if relu else y


def _fusible(x: Tensor) -> bool:
    return (
        FUSED
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


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
        if isinstance(self.norm, nn.Identity):
            return apply(self.conv_b, apply(self.conv_a, x, relu=True), plus=x, relu=True)
        y = functional.relu(self.norm(self.conv_a(x)), inplace=True)
        return functional.relu(self.norm(self.conv_b(y)) + x, inplace=True)
