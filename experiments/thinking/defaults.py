"""What each generation of the code sets for each problem, as a table; and an experiment for every row of it.

DT and delta: the effective values of their configuration files. Legacy: those of the command line; where it named a net
that does not exist, the recurrent net of the problem, and ``xent`` for what mazes and chess called ``default``.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from pydantic import create_model

from experiments.thinking.params import Thinking
from orchestrator.experiment import Experiment

_MAZES: dict[str, Any] = {
    "problem": "mazes",
    "model": "dt_net_recall_2d",
    "width": 128,
    "train_data": 9,
    "alpha": 0.01,
    "epochs": 50,
    "lr_schedule": (100,),
    "lr_throttle": True,
}
_CHESS: dict[str, Any] = {
    "problem": "chess",
    "model": "dt_net_recall_2d",
    "width": 512,
    "train_data": 600_000,
    "test_data": 700_000,
    "epochs": 130,
    "lr_schedule": (100, 115),
}
_DELTA: dict[str, Any] = {
    "seed": 42,
    "train_mode": "delta",
    "weight_decay": 0.0,
    "quick_test": True,
    "save_period": 1,
    "log_batches": True,
}
_DELTA_2D: dict[str, Any] = {
    "recall_relu": True,
    "test_iterations_low": 1,
    "test_iterations_high": 130,
    "val_period": 1,
}
_LEGACY: dict[str, Any] = {
    "train_mode": "xent",
    "epochs": 200,
    "lr": 0.1,
    "lr_schedule": (100, 150),
    "width": 4,
    "max_iters": 1,
    "train_batch_size": 128,
    "warmup_period": 5,
    "weight_decay": None,
    "which": "last",
    "test_iterations_low": None,
    "test_iterations_high": None,
    "save_period": 0,
}

VERSION = 2
"""1 summed the gradient of the delta loss in another order, which shows in last bits of nets without recall."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "dt_prefix_sums": {"clip": 1.0},
    "dt_mazes": _MAZES | {"test_data": 33, "train_batch_size": 50, "test_batch_size": 25},
    "dt_chess": _CHESS
    | {"alpha": 0.5, "optimizer": "sgd", "lr": 0.01, "train_batch_size": 300, "test_batch_size": 300},
    "delta_prefix_sums": _DELTA | {"clip": 0.1},
    "delta_mazes": _MAZES | _DELTA | _DELTA_2D | {"test_data": 59, "clip": 10.0, "test_batch_size": 16},
    "delta_chess": _CHESS
    | _DELTA
    | _DELTA_2D
    | {"alpha": 0.0, "lr_throttle": True, "train_batch_size": 250, "test_batch_size": 250},
    "legacy_prefix_sums": _LEGACY | {"model": "recur_net", "optimizer": "sgd", "train_data": 16, "test_data": 20},
    "legacy_mazes": _LEGACY
    | {
        "problem": "mazes",
        "model": "recur_resnet",
        "train_data": 9,
        "test_data": 13,
        "canvas": 32,
        "lr_throttle": True,
    },
    "legacy_chess": _LEGACY
    | {
        "problem": "chess",
        "model": "recur_net",
        "train_data": 600_000,
        "test_data": 700_000,
        "train_fraction": 5 / 6,
        "chess_orientation": "literal",
    },
}
"""By the name of the experiment, ``thinking.`` left out: what differs from :class:`Thinking`, DT's prefix sums."""


def experiment(name: str) -> Experiment:
    """Return the experiment of a row of :data:`DEFAULTS`."""
    fields: dict[str, Any] = {}
    for field, value in DEFAULTS[name].items():
        info = copy(Thinking.model_fields[field])
        info.default = value
        fields[field] = (info.annotation, info)
    title = "".join(word.capitalize() for word in name.split("_"))
    params = create_model(title, __base__=Thinking, __module__=__name__, __doc__=Thinking.__doc__, **fields)
    return Experiment(
        f"thinking.{name}",
        params=params,
        train="experiments.thinking.train:train",
        version=VERSION,
        form="run",
    )


DT_PREFIX_SUMS = experiment("dt_prefix_sums")
DT_MAZES = experiment("dt_mazes")
DT_CHESS = experiment("dt_chess")
DELTA_PREFIX_SUMS = experiment("delta_prefix_sums")
DELTA_MAZES = experiment("delta_mazes")
DELTA_CHESS = experiment("delta_chess")
LEGACY_PREFIX_SUMS = experiment("legacy_prefix_sums")
LEGACY_MAZES = experiment("legacy_mazes")
LEGACY_CHESS = experiment("legacy_chess")
