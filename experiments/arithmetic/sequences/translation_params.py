"""Parameters of number translation: *Neural Arithmetic Logic Units* (arXiv 1808.00508), section 4.2. No torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from experiments.arithmetic.sequences.sequence_params import CellName, Count, Sequences
from orchestrator.experiment import Experiment


class NumberTranslation(Sequences):
    """An LSTM reads a number in words, and a cell of the module adds up what it is."""

    cell: CellName = Field("nalu", description="what adds up")
    embedding: Count = Field(2, description="numbers that stand for a word")
    hidden: Count = Field(2, description="units of the LSTM")
    epochs: Annotated[int, Field(ge=0)] = Field(10_000, description="passes over the training numbers")
    evaluate_every: Count = Field(50, description="epochs between two evaluations")

    @model_validator(mode="after")
    def _check(self) -> NumberTranslation:
        self.check_cell(self.cell)
        return self


NUMBER_TRANSLATION = Experiment(
    "arithmetic.number_translation",
    params=NumberTranslation,
    train="experiments.arithmetic.sequences.translation:train",
    form="run",
)
