"""Parameters of the two-layer arithmetic task: *Neural Arithmetic Units* (arXiv 2001.05016), section 4.1. No torch.

The first layer has to find which of many inputs belong to each of two sums, the second to combine the sums.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from experiments.arithmetic.layers import HiddenLayer, Layer
from experiments.arithmetic.params import Count, Training
from orchestrator.experiment import Experiment


class TwoLayer(Training):
    """Two modules learn y = op(Σ first subset of x, Σ second subset of x); the defaults are the paper's."""

    first_layer: HiddenLayer = Field("nau", description="the module that reads the inputs")
    second_layer: Layer = Field("nmu", description="the module that makes the output of what the first one found")
    hidden_size: Count = Field(2, description="outputs of the first module")
    simple: bool = Field(
        False, description="the smallest task: the sum of 4 inputs, and that of the first two; needs input_size: 4"
    )

    input_size: Count = Field(100, description="number of inputs, redundant ones included")
    subset_size: Count = Field(25, description="inputs that are summed in each subset")
    subset_overlap: Annotated[int, Field(ge=0)] = Field(12, description="inputs that neighbouring subsets share")
    max_iterations: Annotated[int, Field(ge=0)] = Field(
        5_000_000, description="the last iteration, counted from 0: there are max_iterations + 1 updates"
    )

    @property
    def layers(self) -> tuple[str, ...]:
        """The modules, from the inputs to the output."""
        return self.first_layer, self.second_layer

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs of each module, and the last one's outputs."""
        return self.input_size, self.hidden_size, 1

    def subset_ranges(self) -> list[tuple[int, int]]:
        """Return where each subset begins and ends, for the first place that the subsets may have."""
        return [(0, 4), (0, 2)] if self.simple else super().subset_ranges()

    @model_validator(mode="after")
    def _check_layers(self) -> TwoLayer:
        self.check_training(set(self.layers))
        if self.simple and self.input_size != 4:
            raise ValueError(f"the simple task has 4 inputs, but input_size is {self.input_size}")
        return self


TWO_LAYER = Experiment(
    "arithmetic.two_layer",
    params=TwoLayer,
    train="experiments.arithmetic.train:train",
    version=2,
    cadence="log_interval",
    steps="max_iterations",
)
