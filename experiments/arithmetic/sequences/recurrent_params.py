"""Parameters of the recurrent simple function task: *Neural Arithmetic Logic Units* (arXiv 1808.00508). No torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from experiments.arithmetic.params import Task
from experiments.arithmetic.ranges import read_range
from experiments.arithmetic.sequences.sequence_params import CellName, Count, Sequences
from orchestrator.experiment import Experiment


class Recurrent(Task, Sequences):
    """y = op(Σ first subset of x, Σ second subset of x), the sums going over all steps of a sequence."""

    cell: CellName = Field("nalu", description="the recurrent cell; the output layer is of the same module, or linear")
    hidden: Count = Field(2, description="units of the cell")
    input_size: Count = Field(10, description="numbers of each step")
    subset_size: Count = Field(2, description="numbers of each step that are summed in each subset")
    subset_overlap: Annotated[int, Field(ge=0)] = Field(1, description="numbers that neighbouring subsets share")
    batch_size: Count = Field(128, description="sequences of a training batch")
    evaluation_size: Count = Field(2048, description="sequences of the validation and test sets")
    length: Count = Field(10, description="steps of the sequences in training and validation")
    test_length: Count = Field(1000, description="steps of the test sequences")
    max_iterations: Annotated[int, Field(ge=0)] = Field(
        100_000, description="the last iteration, counted from 0: there are max_iterations + 1 updates"
    )
    log_interval: Count = Field(1000, description="iterations between two evaluations")

    @model_validator(mode="after")
    def _check_cell(self) -> Recurrent:
        self.check_cell(self.cell)
        if self.distribution.kind != "uniform" or len(read_range(self.interpolation).intervals) > 1:
            raise ValueError("the recurrent task draws from one interval, uniformly")
        return self


RECURRENT = Experiment(
    "arithmetic.recurrent",
    params=Recurrent,
    train="experiments.arithmetic.sequences.recurrent:train",
    form="run",
    steps="max_iterations",
)
