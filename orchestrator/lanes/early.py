"""Early stopping: which lanes have met their ``stop_when``. It is asked at log points, about what was just logged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from orchestrator.errors import UserError, nearest
from orchestrator.experiment import ExperimentParams, StopWhen
from orchestrator.recorder import IntArray

Met = Callable[[IntArray, IntArray, Sequence[str], npt.NDArray[np.float32]], npt.NDArray[np.bool_]]
"""Takes slots (n,), steps (n,), tags and their values (tags, n); returns whether each of these lanes stops (n,)."""


def condition(params: Sequence[ExperimentParams]) -> Met | None:
    """Return the condition of some lanes; None if they have none.

    It reads nothing but a lane's own row, so that a run stops at the same step however it was interrupted.

    Parameters
    ----------
    params
        Parameters by slot. Lanes of one program all have a ``stop_when``, of one tag, or none.
    """
    rules = [rule for p in params if (rule := getattr(p, "stop_when", None)) is not None]
    if not rules:
        return None
    below, above = _bounds(rules, "below"), _bounds(rules, "above")
    after = np.array([rule.after for rule in rules], np.int64)
    tag = rules[0].tag

    def met(
        slots: IntArray, steps: IntArray, tags: Sequence[str], rows: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        if tag not in tags:
            raise UserError(
                f"stop_when.tag is {tag!r}, and nothing is logged under that; the tags are {', '.join(tags)}."
                f"{nearest(tag, tags)}"
            )
        values = rows[list(tags).index(tag)].astype(np.float64)
        beyond: npt.NDArray[np.bool_] = (values < below[slots]) | (values > above[slots])
        return beyond & (steps >= after[slots])

    return met


def _bounds(rules: Sequence[StopWhen], name: str) -> npt.NDArray[np.float64]:
    """Return a bound of every lane; NaN, which no value is beyond, where there is none."""
    return np.array([np.nan if (bound := getattr(rule, name)) is None else bound for rule in rules], np.float64)
