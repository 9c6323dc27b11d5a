"""``Run``: what ordinary code, which trains one run at a time, is given.

::

    def train(run):
        state = run.restore() or {"step": 0, "weights": initial(run.params, run.seed)}
        while state["step"] < run.params.steps:
            loss = improve(state)
            run.log({"loss/train": loss}, state["step"])
            state["step"] += 1
            run.checkpoint(state)
            if run.should_stop:
                return

A function that returns without having been told to stop has finished. ``FloatingPointError`` says that its numbers went
bad: *diverged*, which is a result. Any other exception is a failure.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import identity
from orchestrator.experiment import ExperimentParams
from orchestrator.recorder import IntArray, Outcome, Recorder, Snapshot
from orchestrator.worker import chance

_STATE, _RANDOM = "pickle", "random"


class Run:
    """One run, as its own code sees it.

    Attributes
    ----------
    params
        Its validated parameters.
    seed
        ``params.seed``.
    id
        Its id, 16 characters.
    dir
        A folder of this attempt alone, for files of the run's own; nothing in it is read by us.
    """

    def __init__(
        self, params: ExperimentParams, run_id: bytes, folder: Path, recorder: Recorder, restored: Snapshot | None
    ) -> None:
        self.params: Any = params
        self.seed = params.seed
        self.id = identity.to_text(run_id)
        self._folder, self._recorder, self._restored = folder, recorder, restored
        self._lane: IntArray = np.zeros(1, np.int64)
        self._step = int(restored.steps[0]) if restored is not None else -1
        self.told_to_stop = False

    @property
    def dir(self) -> Path:
        """The folder; made when it is first asked for."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    @property
    def should_stop(self) -> bool:
        """Whether to return now: a signal came, the time slice ends, or the run was cancelled."""
        orders = self._recorder.orders()
        self.told_to_stop = orders.stop or 0 in orders.cancelled
        return self.told_to_stop

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Record values by tag at a step.

        Tags may count in steps of their own (iterations, epochs). What :meth:`checkpoint` covers is told by the highest
        step so far, so at least one tag should grow with every checkpoint.
        """
        self._step = max(self._step, int(step))
        column = np.array([[float(value)] for value in values.values()], np.float64).reshape(len(values), 1)
        self._recorder.log(self._lane, np.array([step], np.int64), list(values), column)

    def checkpoint(self, state: object) -> None:
        """Keep a state from which :meth:`restore` can go on. Call it as often as you like.

        It is pickled and written when the cadence of ``resources.checkpoint`` asks for it, and always before the run
        is told to stop; in between the call costs next to nothing. What was logged so far is part of it, and so are the
        global random generators of Python, NumPy and torch; generators of one's own belong into the state.
        """
        if self._recorder.orders().checkpoint:
            parts = {_STATE: pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL), _RANDOM: chance.capture()}
            arrays = {name: np.frombuffer(data, np.uint8).reshape(-1, 1) for name, data in parts.items()}
            self._recorder.checkpoint(self._lane, Snapshot(np.array([self._step], np.int64), arrays))

    def restore(self) -> Any:
        """Return the state of the last checkpoint, whole; None if the run begins anew.

        The global random generators go on from where they stood then.
        """
        if self._restored is None:
            return None
        arrays = self._restored.arrays
        if _RANDOM in arrays:
            chance.reinstate(arrays[_RANDOM].tobytes())
        return pickle.loads(arrays[_STATE].tobytes())  # noqa: S301  (we wrote it ourselves)

    def finish(self, outcome: Outcome) -> None:
        """Close the run. The worker calls it."""
        self._recorder.verdict(self._lane, outcome, np.array([self._step], np.int64))
