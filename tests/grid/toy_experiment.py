"""An experiment for tests: every kind of parameter, and checks within and across groups."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.experiment import Absent, Experiment, ExperimentParams, Group, Lane


class Ramp(Group):
    start: Lane[float] = 1e6
    end: Lane[float] = 2e6

    @model_validator(mode="after")
    def _check(self):
        if self.end <= self.start:
            raise ValueError(f"end ({self.end:g}) must be above start ({self.start:g})")
        return self


class Adam(Group):
    kind: Literal["adam"] = "adam"
    beta: float = 0.9


class Sgd(Group):
    kind: Literal["sgd"]
    momentum: float = 0.0


class Params(ExperimentParams):
    layer: Literal["nmru", "nru", "real-npu"] = "nmru"
    operation: Literal["add", "mul", "div"] = "mul"
    input_size: int = 2
    interpolation: Lane[tuple[float, float]] = (1, 2)
    learning_rate: Lane[Annotated[float, Field(gt=0)]] = 1e-3
    clip_norm: float | None = 1.0
    regulariser: Ramp | None = None
    l1: Ramp = Ramp()
    optimiser: Annotated[Adam | Sgd, Field(discriminator="kind")] = Adam()
    max_iterations: int = 50_000
    log_interval: int = 1000
    note: str = ""
    flag: bool = False
    added: Annotated[int, Absent(1)] = 1

    @model_validator(mode="after")
    def _check(self):
        if self.layer == "nru" and self.operation == "add":
            raise ValueError("layer nru has no operation add")
        if self.log_interval > self.max_iterations:
            raise ValueError("log_interval must not be above max_iterations")
        return self


EXP = Experiment("toy", params=Params, train="toy_train:train", cadence="log_interval", steps="max_iterations")


class Changing(ExperimentParams):
    """Breaks the rule: a value that depends on another, behind the grid's back."""

    width: int = 1

    @model_validator(mode="after")
    def _check(self):
        object.__setattr__(self, "width", self.seed + 1)
        return self


CHANGING = Experiment("changing", params=Changing, train="toy_train:train")
