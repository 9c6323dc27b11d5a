"""The data of the deep-thinking problems: made here, or read from the published files where a folder is given.

:func:`load` reads these parameters: ``problem``; ``train_data`` and ``test_data`` (a length, a size, an index);
``train_samples`` and ``test_samples`` (None: as many as were published); ``train_fraction`` (of the pool, for training);
``data`` (a folder with published files, or None); ``data_seed``; ``canvas`` (mazes: pixels of the canvas they are put on at
random, or None); ``chess_csv`` (a puzzle file, or None) and ``chess_orientation``; ``val_batches``, ``test_batches`` and
``test_batch_size`` (0 batches: all).
"""

from __future__ import annotations

from typing import Any

from experiments.thinking.data.problem import Problem, Split

__all__ = ["Problem", "Split", "load"]


def load(p: Any) -> Problem:
    """Return the data that parameters ask for.

    Raises
    ------
    UserError
        If files that are asked for are not there, or are not what they should be.
    """
    raise NotImplementedError
