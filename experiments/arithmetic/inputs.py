"""How uniform numbers become the inputs of many lanes: ranges and distributions, in float64 as in the papers' code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from experiments.arithmetic.distributions import BENFORD, TruncatedNormal, benford_scale
from experiments.arithmetic.ranges import Spans, read_range
from orchestrator.lanes.functions import normal_quantile
from orchestrator.lanes.lanes import Lanes


def kind_of(spans: Spans) -> str:
    """Return what a range draws: ``one`` array of numbers, two for the halves of the ``input``, or two and coins."""
    return "one" if len(spans.intervals) == 1 else spans.by


class Inputs:
    """The lanes' training ranges and distributions."""

    def __init__(self, lanes: Lanes) -> None:
        spans = [read_range(p.interpolation) for p in lanes.params]  # type: ignore[attr-defined]
        kinds = [kind_of(s) for s in spans]
        self.kinds = sorted(set(kinds))
        self.is_kind = {kind: lanes.tensor([k == kind for k in kinds]) for kind in self.kinds}
        self.distribution = lanes.static.distribution.kind
        ends = np.array([[s.intervals[0], s.intervals[-1]] for s in spans]).transpose(1, 2, 0)  # (part, end, L)
        match self.distribution:
            case "uniform":
                self.low, self.width = lanes.tensor(ends[:, 0]), lanes.tensor(ends[:, 1] - ends[:, 0])
            case "truncated-normal":
                self._cut(lanes, ends)
            case "exponential":
                self.scale = lanes.tensor(np.array([float(p.distribution.scale) for p in lanes.params]))  # type: ignore[attr-defined]
            case "benford":
                scales = [[benford_scale(*s.intervals[part]) for s in spans] for part in (0, -1)]
                self.first, self.last, self.weight = lanes.tensor(np.array(scales, np.float64).transpose(2, 0, 1))
                chances = np.cumsum(BENFORD)
                self.chances = (chances / chances[-1]).tolist()

    @property
    def numbers(self) -> int:
        """Uniform numbers that each input takes."""
        return 2 if self.distribution == "benford" else 1

    def draw(self, units: Sequence[Tensor], part: int) -> Tensor:
        """Map uniform numbers (I, B, L), :attr:`numbers` of them, to the first (0) or second (1) interval."""
        unit = units[0]
        match self.distribution:
            case "uniform":
                scaled: Tensor = unit * self.width[part] + self.low[part]
                return scaled
            case "truncated-normal":
                below = self.below[part] + unit * self.mass[part]
                above = self.above[part] + (1 - unit) * self.mass[part]
                return normal_quantile(below, above) * self.std + self.mean
            case "exponential":
                return -torch.log(1 - unit) * self.scale
            case _:
                digit = torch.zeros_like(unit)
                for chance in self.chances[:-1]:
                    digit = digit + (unit >= chance).double()
                rest = (units[1] * (self.last[part] - self.first[part])).floor() + self.first[part]
                number: Tensor = digit * self.weight[part] + rest
                return number

    def halves(self, first: Tensor, second: Tensor) -> Tensor:
        """Take the first half of the inputs from one array, the others from the other."""
        half = len(first) // 2
        return torch.cat([first[:half], second[half:]])

    def _cut(self, lanes: Lanes, ends: np.ndarray) -> None:
        """Keep the probability of lying below a range, within it, and above it."""
        from scipy.special import ndtr

        normals: list[TruncatedNormal] = [p.distribution for p in lanes.params]  # type: ignore[attr-defined]
        mean, std = (np.array([float(getattr(n, name)) for n in normals]) for name in ("mean", "std"))
        standard = (ends - mean) / std
        below, above = ndtr(standard[:, 0]), ndtr(-standard[:, 1])
        # The difference of two tails of one side loses no digits.
        mass = np.where(standard[:, 0] > 0, ndtr(-standard[:, 0]) - above, ndtr(standard[:, 1]) - below)
        self.mean, self.std = lanes.tensor(mean), lanes.tensor(std)
        self.below, self.above, self.mass = lanes.tensor(below), lanes.tensor(above), lanes.tensor(mass)
