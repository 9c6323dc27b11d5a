"""What the tasks over sequences share: cells, penalties, the optimiser. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from experiments.arithmetic.layers import IDENTITY, SPARSE, LayerName, readable
from experiments.arithmetic.params import Options
from experiments.arithmetic.penalties import Identity, Regulariser

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
RnnName = Literal["lstm", "gru", "rnn-tanh", "rnn-relu"]

_OTHERS = {"LSTM": "lstm", "GRU": "gru", "RNN-tanh": "rnn-tanh", "RNN-ReLU": "rnn-relu", "RNN-linear": "linear"}


def readable_cell(name: object) -> object:
    """Return our name of a cell that is given by its original one."""
    return _OTHERS.get(name) or readable(name) if isinstance(name, str) else name


CellName = Annotated[LayerName | RnnName, BeforeValidator(readable_cell)]


class Sequences(Options):
    """How a network over sequences is trained; values are the same for all runs of a process."""

    learning_rate: Positive = Field(1e-3, description="step size of Adam")
    batch_size: Count = Field(64, description="sequences of a training batch")
    regulariser: Regulariser | None = Field(None, description="sparsity regulariser, of modules that have one")
    identity: Identity | None = Field(None, description="regulariser R_z of the inputs of a module, over all steps")

    def check_cell(self, cell: str) -> None:
        """Refuse options and penalties that the cell does not have.

        Raises
        ------
        ValueError
            A sentence that names the parameter.
        """
        self.check_options({cell})
        if self.regulariser is not None and cell not in SPARSE:
            raise ValueError(f"regulariser belongs to modules with discrete weights, and cell {cell} has none")
        if self.identity is not None and cell not in IDENTITY:
            raise ValueError(f"identity belongs to arithmetic modules, and cell {cell} has no R_z")
        if self.nau.noise or self.nmu.noise is not None:
            raise ValueError("cells have no noise: leave nau.noise and nmu.noise out")
