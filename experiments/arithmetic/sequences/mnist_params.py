"""Parameters of sequential MNIST: *Neural Arithmetic Units* (arXiv 2001.05016), section 4.2. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from experiments.arithmetic.sequences.sequence_params import CellName, Count, Sequences, readable_cell
from orchestrator.experiment import Experiment

CELLS = Annotated[CellName | Literal["solved", "none"], BeforeValidator(readable_cell)]


class SequentialMnist(Sequences):
    """A convolutional network reads digits, and a recurrent cell reckons with what it reads.

    SVHN's photographs are read by a residual network of 18 layers. The targets are the running results after each
    image, and the loss is over all of them.
    """

    images: Literal["mnist", "svhn", "stand-in"] = Field(
        "mnist",
        description="the files of MNIST in the folder that the environment variable ORCH_MNIST names; those of SVHN in"
        " that of ORCH_SVHN; or a stand-in",
    )
    operation: Literal["sum", "product", "division", "count"] = Field(
        "sum", description="running sum, product, product of reciprocals, or how often each digit was shown"
    )
    digits: str = Field("0123456789", pattern="^[0-9]+$", description="digits that are shown; products want 123456789")
    length: Count = Field(10, description="images of a sequence in training and validation")
    test_lengths: tuple[Count, ...] = Field((1, 10, 100), min_length=1, description="images of the test sequences")
    cell: CELLS = Field("nau", description="what reckons; solved: the operation itself; none: there is only reading")
    outputs: Count = Field(1, description="numbers that are read from each image")
    epochs: Annotated[int, Field(ge=0)] = Field(1000, description="the last epoch, counted from 0")
    evaluate_every: Count = Field(5, description="epochs between two evaluations")
    log_interval: Count = Field(100, description="updates between two rows of losses")

    @model_validator(mode="after")
    def _check(self) -> SequentialMnist:
        self.check_cell(self.cell)
        if self.operation in ("product", "division") and "0" in self.digits:
            raise ValueError(f"a {self.operation} of digits with 0 among them is hardly meant: set digits: '123456789'")
        if self.cell in ("solved", "none") and (self.outputs > 1 or self.operation == "count"):
            raise ValueError(
                f"cell {self.cell} takes what is read for the digit itself: it has one output and no count"
            )
        return self


SEQUENTIAL_MNIST = Experiment(
    "arithmetic.sequential_mnist",
    params=SequentialMnist,
    train="experiments.arithmetic.sequences.mnist:train",
    form="run",
)
