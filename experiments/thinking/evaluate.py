"""How nets are tested: iteration by iteration, whatever their number, with one thought and one readout in memory.

Every mode is a class that is shown the readouts of a batch, one after the other, and adds up what it needs (spec §4.2
to §4.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from experiments.thinking.data.problem import Problem, Split
from experiments.thinking.decoding import confidence, predict, right
from experiments.thinking.nets.net import Net

Result = dict[int, float] | dict[int, list[float]]
"""By iteration, counted from 1: percent of samples; with ``bit_wise``, for each bit."""

TOLERANCE = 1e-3
"""``convergence``: mean change of the probability of class 1 at which a net has made up its mind."""

CHESS_SKIPPED = 8
"""``max_conf_legacy``: first iterations that the legacy chess test does not trust."""


class Mode(Protocol):
    """A way to test. One object sees all batches of a split."""

    def wants(self, iteration: int) -> bool:
        """Whether it needs the readout of an iteration."""

    def begin(self, targets: Tensor, mask: Tensor | None) -> None:
        """Begin a batch with targets (b, *cells) and the cells that count."""

    def see(self, iteration: int, scores: Tensor) -> Tensor | None:
        """See a readout (b, 2, *cells); return which samples go on, bool (b,), or None: all."""

    def result(self) -> Result:
        """Return what was found."""


class Default:
    """The accuracy of every iteration that is asked for."""

    def __init__(self, problem: str, iterations: Sequence[int]) -> None:
        self.problem, self.iterations = problem, frozenset(iterations)
        self.count = 0
        self.hits: dict[int, Tensor] = {}

    def wants(self, iteration: int) -> bool:
        """See :class:`Mode`."""
        return iteration in self.iterations

    def begin(self, targets: Tensor, mask: Tensor | None) -> None:
        """See :class:`Mode`."""
        self.targets, self.mask = targets, mask
        self.count += len(targets)

    def note(self, iteration: int, hits: Tensor) -> None:
        """Add up samples that are right, or bits."""
        if iteration in self.iterations:
            total = hits.sum(0)
            self.hits[iteration] = self.hits[iteration] + total if iteration in self.hits else total

    def see(self, iteration: int, scores: Tensor) -> None:
        """See :class:`Mode`."""
        self.note(iteration, right(predict(self.problem, scores, self.mask), self.targets))

    def result(self) -> Result:
        """See :class:`Mode`."""
        return {iteration: 100 * float(self.hits[iteration]) / self.count for iteration in sorted(self.hits)}


class MaxConf(Default):
    """The accuracy of the most confident iteration so far; of equally confident ones the later counts."""

    def wants(self, iteration: int) -> bool:  # noqa: ARG002  (all of them, whatever is asked for)
        """See :class:`Mode`."""
        return True

    def begin(self, targets: Tensor, mask: Tensor | None) -> None:
        """See :class:`Mode`."""
        super().begin(targets, mask)
        self.most = torch.full((len(targets),), -1.0, device=targets.device)
        self.best = torch.zeros(len(targets), dtype=torch.bool, device=targets.device)

    def surer(self, iteration: int, scores: Tensor) -> Tensor:  # noqa: ARG002
        """Return which samples are no less sure than ever before; remember how sure."""
        sure = confidence(scores, self.mask)
        better = sure >= self.most
        self.most = torch.where(better, sure, self.most)
        return better

    def see(self, iteration: int, scores: Tensor) -> None:
        """See :class:`Mode`."""
        hits = right(predict(self.problem, scores, self.mask), self.targets)
        self.best = torch.where(self.surer(iteration, scores), hits, self.best)
        self.note(iteration, self.best)


class MaxConfLegacy(MaxConf):
    """The same, but of equally confident iterations the earlier counts, and chess trusts none of the first 8."""

    def surer(self, iteration: int, scores: Tensor) -> Tensor:
        """Return which samples are surer than ever before; remember how sure."""
        sure = confidence(scores, self.mask)
        if self.problem == "chess" and iteration <= CHESS_SKIPPED:
            sure = torch.zeros_like(sure)
        better = sure > self.most
        self.most = torch.where(better, sure, self.most)
        return better


class BitWise(Default):
    """Percent of samples in which each bit is right, after the last iteration that is asked for."""

    def __init__(self, problem: str, iterations: Sequence[int]) -> None:
        super().__init__(problem, iterations[-1:])

    def see(self, iteration: int, scores: Tensor) -> None:
        """See :class:`Mode`."""
        self.note(iteration, predict(self.problem, scores, self.mask) == self.targets.bool())

    def result(self) -> Result:
        """See :class:`Mode`."""
        return {i: (100 * self.hits[i].double() / self.count).tolist() for i in sorted(self.hits)}


class BitWisePerIter(BitWise):
    """The same after every iteration, from the first to the last that is asked for."""

    def __init__(self, problem: str, iterations: Sequence[int]) -> None:
        Default.__init__(self, problem, range(1, max(iterations) + 1))


class Convergence:
    """Think until the solution hardly changes; the accuracy then, by the largest number of iterations that took.

    Samples that go on changing to the end are wrong. A change needs two readouts: no sample stops at its first.
    """

    def __init__(self, problem: str, iterations: Sequence[int]) -> None:
        self.problem, self.most = problem, max(iterations)
        self.count, self.hits, self.used = 0, 0.0, 0

    def wants(self, iteration: int) -> bool:  # noqa: ARG002
        """See :class:`Mode`."""
        return True

    def begin(self, targets: Tensor, mask: Tensor | None) -> None:
        """See :class:`Mode`."""
        self.targets, self.mask = targets, mask
        self.before: Tensor | None = None
        self.count += len(targets)

    def see(self, iteration: int, scores: Tensor) -> Tensor | None:
        """See :class:`Mode`."""
        self.used = max(self.used, iteration)
        sure = scores.float().softmax(1)[:, 1]
        before, self.before = self.before, sure
        if before is None:
            return None
        change = (sure - before).abs().flatten(1)
        if self.mask is None:
            going = change.mean(1) > TOLERANCE
        else:
            counted = self.mask.flatten(1)
            going = (change * counted).sum(1) / counted.sum(1) > TOLERANCE
        hits = right(predict(self.problem, scores, self.mask), self.targets)
        self.hits += float((hits & ~going).sum())
        self.targets, self.before = self.targets[going], sure[going]
        self.mask = None if self.mask is None else self.mask[going]
        return going

    def result(self) -> Result:
        """See :class:`Mode`."""
        return {self.used: 100 * self.hits / self.count}


MODES: dict[str, Callable[[str, Sequence[int]], Mode]] = {
    "default": Default,
    "max_conf": MaxConf,
    "max_conf_legacy": MaxConfLegacy,
    "bit_wise": BitWise,
    "bit_wise_per_iter": BitWisePerIter,
    "convergence": Convergence,
}
"""By ``test_mode``."""


def batches(split: Split, problem: Problem, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield network inputs, targets and the cells that count, batch by batch, in order."""
    for inputs, targets in zip(torch.split(split.inputs, size), torch.split(split.targets, size), strict=True):
        yield problem.encode(inputs), targets, problem.mask(inputs) if problem.mask else None


def keep(thought: Tensor, going: Tensor) -> Tensor:
    """Return the samples of a thought that go on."""
    return thought[going].contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def evaluate(
    net: Net, name: str, problem: Problem, split: Split, mode: str, iterations: Sequence[int], batch_size: int
) -> Result:
    """Test a net on a split.

    Parameters
    ----------
    net
        On the device of the split.
    name
        Of the problem.
    problem, split
        Its encoding and mask; the samples.
    mode
        One of :data:`MODES`.
    iterations
        Which are asked for, counted from 1, in growing order.
    batch_size
        Samples at a time. Of each, one thought and one readout are in memory, however many iterations there are.

    Returns
    -------
    Result
        Percent, by iteration.
    """
    judge = MODES[mode](name, iterations)
    for x, targets, mask in batches(split, problem, batch_size):
        judge.begin(targets, mask)
        thought, recalled = net.project(x), net.recalled(x)
        for index in range(max(iterations)):
            thought = net.iterate(thought, recalled, index)
            if judge.wants(index + 1):
                going = judge.see(index + 1, net.readout(thought))
                if going is not None and not going.all():
                    if not going.any():
                        break
                    thought = keep(thought, going)
                    recalled = recalled._replace(term=keep(recalled.term, going)) if recalled else None
    return judge.result()
