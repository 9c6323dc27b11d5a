"""The global random generators of Python, NumPy and torch: their states, so that ordinary code resumes exactly."""

from __future__ import annotations

import importlib
import pickle
import random
import sys
from typing import Any


def capture() -> bytes:
    """Return the states of the generators that this process has loaded so far."""
    states: dict[str, Any] = {"python": random.getstate()}
    if (numpy := sys.modules.get("numpy")) is not None:
        states["numpy"] = numpy.random.get_state()
    if (torch := sys.modules.get("torch")) is not None:
        states["torch"] = torch.get_rng_state().numpy()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states["cuda"] = [state.cpu().numpy() for state in torch.cuda.get_rng_state_all()]
    return pickle.dumps(states, protocol=pickle.HIGHEST_PROTOCOL)


def reinstate(data: bytes) -> None:
    """Put the generators back to where :func:`capture` found them."""
    states = pickle.loads(data)  # noqa: S301  (we wrote it ourselves)
    random.setstate(states["python"])
    if "numpy" in states:
        importlib.import_module("numpy").random.set_state(states["numpy"])
    if "torch" in states:
        torch = importlib.import_module("torch")
        torch.set_rng_state(torch.from_numpy(states["torch"]))
        if "cuda" in states and torch.cuda.device_count() == len(states["cuda"]):
            torch.cuda.set_rng_state_all([torch.from_numpy(state) for state in states["cuda"]])
