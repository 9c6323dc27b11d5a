"""From scores of two classes to a solution, and how sure of it a net is (spec §4.1 and §4.3)."""

from __future__ import annotations

from torch import Tensor


def predict(problem: str, scores: Tensor, mask: Tensor | None) -> Tensor:
    """Decode readouts.

    Parameters
    ----------
    problem
        Prefix sums: the class of the higher score, the first on equal scores. Mazes: the same, and walls are never on
        the path. Chess: the squares whose score of class 1 is at least the second highest: two, more on equal scores.
    scores
        float (b, 2, *cells).
    mask
        bool (b, *cells): cells that count; mazes have one.

    Returns
    -------
    Tensor
        bool (b, *cells).
    """
    if problem == "chess":
        moves = scores[:, 1].flatten(1)
        return (moves >= moves.topk(2, dim=1).values[:, 1:]).view_as(scores[:, 1])
    chosen = scores[:, 1] > scores[:, 0]
    return chosen if mask is None else chosen & mask


def right(predicted: Tensor, targets: Tensor) -> Tensor:
    """Return which samples are right in every cell, bool (b,)."""
    return (predicted == targets.bool()).flatten(1).all(1)


def confidence(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return how sure readouts are: the sum over cells of the larger softmax probability, (b,), float32."""
    sure = (scores[:, 1] - scores[:, 0]).abs().float().sigmoid()  # the larger one of two classes
    return (sure if mask is None else sure * mask).flatten(1).sum(1)
