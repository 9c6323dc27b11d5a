"""Training that looks back at its own validation error: the iNALU's regulariser, and its weights drawn anew.

D. Schlör et al., *iNALU* (arXiv 2003.07629), as the code of the Primer (JMLR 2022) has it. At every iteration the
last logged validation error goes into a list. Every ``every`` iterations, once the list is longer than ``history``, its
halves are compared: if the later one is not better by more than its own deviation, and its mean is above
``threshold``, all parameters are drawn anew and the list is emptied. The optimiser's state stays.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from experiments.arithmetic.params import Training
from orchestrator.lanes.lanes import Lanes

LARGEST = 3e38
"""Stands for an error that is not a finite number: only finite state goes on."""


class Progress(NamedTuple):
    """What a lane knows of its own progress."""

    errors: Tensor
    """float32 (rows, L): the validation error of each log point."""
    since: Tensor
    """int64 (L,): the iteration at which the list began."""
    resets: Tensor
    """int64 (L,): how often the weights were drawn anew."""


def needed(params: Training) -> bool:
    """Whether training looks back at all."""
    return params.reinit is not None or "inalu" in params.layers


def rounds(params: Training) -> int:
    """Return how many sets of initial weights a run can need."""
    return 1 if params.reinit is None else 1 + params.max_iterations // params.reinit.history


class Watch:
    """Keeps the validation errors of some lanes, and draws weights anew where the parameters say so."""

    def __init__(self, lanes: Lanes, fresh: Tensor) -> None:
        self.lanes, self.fresh = lanes, fresh
        self.interval = int(lanes.static.log_interval)
        self.rows = int(lanes.static.max_iterations) // self.interval + 1

    def start(self) -> Progress:
        """Return what is known before the first step."""
        none = torch.zeros_like(self.lanes.seeds)
        return Progress(torch.zeros(self.rows, self.lanes.width, device=self.lanes.device), none, none)

    def note(self, progress: Progress, step: Tensor, error: Tensor) -> Progress:
        """Take in the validation error of a log point."""
        row = (step // self.interval).clamp(max=self.rows - 1)
        here = torch.arange(self.rows, device=row.device)[:, None] == row
        kept = torch.nan_to_num(error.float(), nan=LARGEST, posinf=LARGEST)
        return progress._replace(errors=torch.where(here, kept, progress.errors))

    def error(self, progress: Progress, step: Tensor) -> Tensor:
        """Return the last validation error that was logged, (L,)."""
        row = (step // self.interval).clamp(max=self.rows - 1)
        return progress.errors.gather(0, row[None])[0]

    def resets(self, progress: Progress) -> Tensor:
        """Return how often weights were drawn anew, (L,)."""
        return progress.resets

    def check(self, w: Tensor, progress: Progress, step: Tensor) -> tuple[Tensor, Progress]:
        """Return the parameters (P, L) that go on after the update of this step, and what is known then."""
        r = self.lanes.static.reinit
        if r is None:
            return w, progress
        count = step - progress.since + 1
        middle = progress.since + count // 2
        first, _ = self._moments(progress, progress.since, middle)
        later, deviation = self._moments(progress, middle, step + 1)
        due = (step % r.every == 0) & (step > 0) & (count > r.history)
        again = due & (first <= later + deviation) & (later > self.lanes.values.reinit.threshold)
        resets = torch.where(again, progress.resets + 1, progress.resets)
        drawn = self.fresh.gather(0, resets.clamp(max=len(self.fresh) - 1).expand(1, *w.shape))[0]
        since = torch.where(again, step + 1, progress.since)
        return torch.where(again, drawn, w), Progress(progress.errors, since, resets)

    def _moments(self, progress: Progress, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the listed errors of the iterations [start, stop), float64 (L,)."""
        begin = torch.arange(self.rows, device=start.device)[:, None] * self.interval
        weight = (torch.minimum(stop, begin + self.interval) - torch.maximum(start, begin)).clamp(min=0).double()
        errors = progress.errors.double()
        number = weight.sum(0)
        mean = (weight * errors).sum(0) / number
        return mean, ((weight * (errors - mean).square()).sum(0) / number).sqrt()
