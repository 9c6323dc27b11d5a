"""Parameters of the deep-thinking experiments: prefix sums, mazes and chess puzzles, from easy to hard. No torch.

*Can You Learn an Algorithm? Generalizing from Easy to Hard Problems with Recurrent Networks* (NeurIPS 2021) is called
*legacy* here, *End-to-end Algorithm Synthesis with Recurrent Networks: Logical Extrapolation Without Overthinking*
(NeurIPS 2022) *DT*, and the delta-loss code that grew from it *delta*. One class has all parameters; each generation of
the code and each problem has defaults of its own, which are a table (:mod:`experiments.thinking.defaults`), and an
experiment per row of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator
from typing_extensions import Self

from orchestrator.experiment import ExperimentParams, Lane

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

ProblemName = Literal["prefix_sums", "mazes", "chess"]
ModelName = Literal[
    "dt_net_1d", "dt_net_recall_1d", "dt_net_gn_1d", "dt_net_recall_gn_1d",
    "dt_net_2d", "dt_net_recall_2d", "dt_net_gn_2d", "dt_net_recall_gn_2d",
    "feedforward_net_1d", "feedforward_net_recall_1d", "feedforward_net_gn_1d", "feedforward_net_recall_gn_1d",
    "feedforward_net_2d", "feedforward_net_recall_2d", "feedforward_net_gn_2d", "feedforward_net_recall_gn_2d",
    "recur_net", "ff_net", "recur_dilated_net", "recur_resnet", "ff_resnet",
]  # fmt: skip
TrainMode = Literal[
    "progressive", "delta", "deltarand", "xent", "xent_clipped",
    "random", "random_2", "every_iter", "weight_every_iter",
]  # fmt: skip
TestMode = Literal["default", "max_conf", "max_conf_legacy", "bit_wise", "bit_wise_per_iter", "convergence"]


class Shape(NamedTuple):
    """What a problem asks of its nets."""

    channels: int
    dimensions: int


SHAPES: dict[str, Shape] = {"prefix_sums": Shape(1, 1), "mazes": Shape(3, 2), "chess": Shape(12, 2)}

LEGACY: dict[str, tuple[str, ...]] = {
    "prefix_sums": ("recur_net", "ff_net", "recur_dilated_net"),
    "mazes": ("recur_resnet", "ff_resnet"),
    "chess": ("recur_net", "ff_net"),
}
"""The legacy nets of each problem; ``recur_net`` of chess is another net than that of prefix sums."""

LEGACY_DECAY = {"sgd": 2e-4, "adam": 2e-4, "adamw": 0.01, "adadelta": 0.0}
"""The weight decay that the legacy code gives each optimiser (spec 3.3)."""


def located(text: str) -> Path:
    """Return the whole path that a parameter names; a relative one begins at the study's folder, where workers run."""
    return Path(text).expanduser().absolute()


class Thinking(ExperimentParams):
    """A net that thinks for T iterations while it learns, and for as many as it likes when it is tested."""

    seed: Lane[Seed] = Field(0, description="seed of the initial weights, of the order of batches, of drawn iterations")
    problem: ProblemName = Field("prefix_sums", description="what is learned")

    # Data
    train_data: Count = Field(32, description="easy: length of strings, size of mazes, number of the easiest puzzles")
    test_data: Count = Field(512, description="hard: length of strings, size of mazes, index after the last puzzle")
    train_samples: Count | None = Field(None, description="samples of training and validation; null: as published")
    test_samples: Count | None = Field(None, description="hard samples; null: as published")
    train_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.8, description="of the easy samples that are for training; the others are for validation"
    )
    data: str | None = Field(
        None,
        description="folder with published or prepared files, relative to the study's folder; null: make them",
    )
    data_seed: Seed = Field(0, description="seed of data that is made")
    canvas: Count | None = Field(
        None, description="mazes: pixels of a black canvas on which each maze lies at random, as in the legacy code"
    )
    chess_csv: str | None = Field(
        None, description="chess: a puzzle file of Lichess, relative to the study's folder; null: surrogate puzzles"
    )
    chess_orientation: Literal["aligned", "literal"] = Field(
        "aligned",
        description="chess: targets lie as the inputs do; literal: mirrored, as the published loader has them",
    )
    train_batches: NotNegative = Field(0, description="training batches of an epoch; 0: all")
    val_batches: NotNegative = Field(0, description="validation batches that are looked at; 0: all")
    test_batches: NotNegative = Field(0, description="hard batches that are looked at; 0: all")
    shuffle: bool = Field(True, description="whether every epoch has an order of its own")

    # Net
    model: ModelName = Field("dt_net_recall_1d", description="the net, by its published name")
    width: Count = Field(400, description="channels; legacy nets of mazes and chess have 64 times as many")
    max_iters: Count = Field(30, description="T: iterations in training; legacy: depth = 4 + 4 T")
    recall_relu: bool = Field(False, description="2D recall nets: a ReLU after the recall convolution, as in delta")

    # Training
    train_mode: TrainMode = Field("progressive", description="the loss")
    alpha: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="weight of the progressive loss; others ignore it"
    )
    clip: Annotated[float, Field(gt=0)] | None = Field(None, description="largest norm of the gradient")
    epochs: NotNegative = Field(150, description="epochs; 0: evaluate only")
    optimizer: Literal["sgd", "adam", "adamw", "adadelta"] = Field("adam", description="how weights are updated")
    lr: Annotated[float, Field(gt=0)] = Field(1e-3, description="step size after the warm-up")
    lr_decay: Literal["step", "cosine"] = Field("step", description="how the step size falls, by epochs")
    lr_factor: Annotated[float, Field(gt=0)] = Field(0.1, description="step: factor at every epoch of lr_schedule")
    lr_schedule: tuple[Count, ...] = Field((60, 100), description="step: epochs at which the step size falls")
    lr_throttle: bool = Field(False, description="divide the step size of the recurrent module by T")
    weight_decay: Annotated[float, Field(ge=0)] | None = Field(
        2e-4, description="L2 penalty; decoupled in adamw; null: by the optimiser, as in the legacy code"
    )
    warmup_period: NotNegative = Field(10, description="epochs of exponential warm-up; 0: none")
    train_batch_size: Count = Field(100, description="samples of a training batch; what is left of an epoch is dropped")
    zero_gradients: bool = Field(
        False, description="weights without a gradient are updated with zeros, as torch did before 2.0"
    )
    log_batches: bool = Field(False, description="record loss and gradient of every batch, as delta does")
    model_path: str | None = Field(
        None, description="checkpoint file to begin from, relative to the study's folder; its epoch counts"
    )

    # Testing
    test_mode: TestMode = Field("default", description="which readouts are held against the targets, and how")
    which: Literal["best", "last"] = Field("best", description="weights of the final test: best in validation, or last")
    test_iterations_low: Count | None = Field(
        30, description="fewest iterations that are tested; null: T; feed-forward nets: T only"
    )
    test_iterations_high: Count | None = Field(40, description="most iterations that are tested; null: T")
    test_iterations_step: Count = Field(1, description="step from the one to the other")
    test_batch_size: Count = Field(500, description="samples of a batch in validation and testing")
    quick_test: bool = Field(False, description="test hard samples only, not those of training and validation")
    val_period: Count = Field(20, description="epochs between two tests; the last epoch is always followed by one")
    save_period: Annotated[int, Field(ge=-1)] = Field(
        -1, description="epochs between two saves of model_.pth; -1: every epoch, as published; 0: at the end only"
    )

    # Computation
    precision: Literal["float32", "tf32", "bf16"] = Field(
        "float32", description="tf32: matrix products on GPUs; bf16: autocast; weights are float32 always"
    )
    engine: Literal["eager", "compiled"] = Field(
        "eager", description="compiled: the iteration goes through torch.compile; last bits differ"
    )

    @property
    def shape(self) -> Shape:
        """Input channels and dimensions of the problem."""
        return SHAPES[self.problem]

    @property
    def legacy(self) -> bool:
        """Whether the net is one of the legacy code."""
        return self.model in LEGACY[self.problem]

    @property
    def feed_forward(self) -> bool:
        """Whether the net has a module of its own for each iteration."""
        return self.model.startswith(("feedforward", "ff_"))

    @property
    def depth(self) -> int:
        """Layers as the legacy code counts them."""
        return 4 + 4 * self.max_iters

    @property
    def surrogate(self) -> bool:
        """Whether the data are made in place of published ones and compare with no published number."""
        return self.problem == "chess" and self.data is None and self.chess_csv is None

    @property
    def decay(self) -> float:
        """The weight decay, also where it is the optimiser's."""
        return LEGACY_DECAY[self.optimizer] if self.weight_decay is None else self.weight_decay

    @property
    def test_range(self) -> tuple[int, int]:
        """The fewest and the most iterations that are tested."""
        return self.test_iterations_low or self.max_iters, self.test_iterations_high or self.max_iters

    @property
    def test_iterations(self) -> list[int]:
        """Iterations that are tested, counted from 1."""
        if self.feed_forward:
            return [self.max_iters]
        low, high = self.test_range
        return list(range(low, high + 1, self.test_iterations_step))

    @model_validator(mode="after")
    def _check_data(self) -> Self:
        if self.chess_csv is not None and self.problem != "chess":
            raise ValueError(f"chess_csv is for chess, and problem is {self.problem}: leave it out")
        if self.chess_csv is not None and self.data is not None:
            raise ValueError("data and chess_csv both say where puzzles are: leave one of them out")
        return self

    @model_validator(mode="after")
    def _check_net(self) -> Self:
        dimensions = self.shape.dimensions
        if not self.legacy and not self.model.endswith(f"_{dimensions}d"):
            known = ", ".join(LEGACY[self.problem])
            raise ValueError(
                f"model {self.model} is not for {self.problem}: take one whose name ends in _{dimensions}d, or {known}"
            )
        if dimensions == 1 and self.width < 2:
            raise ValueError(f"model {self.model} ends in half of its channels: width must be 2 at least")
        if "_gn_" in self.model and self.width % 4:
            raise ValueError(
                f"model {self.model} normalises 4 groups of channels, so width must be divisible by 4, not {self.width}"
            )
        if self.recall_relu and ("recall" not in self.model or self.feed_forward or dimensions == 1):
            raise ValueError(
                f"recall_relu is for dt_net_recall_2d and its gn variant; for {self.model}, write recall_relu: false"
            )
        return self

    @model_validator(mode="after")
    def _check_training(self) -> Self:
        if self.train_mode in ("delta", "deltarand"):
            if self.feed_forward:
                raise ValueError(
                    f"train_mode {self.train_mode} repeats one module, and {self.model} has one for each iteration:"
                    " take a recurrent model, or train_mode progressive"
                )
            if self.max_iters < 2:
                raise ValueError(f"train_mode {self.train_mode} compares iterations: max_iters must be 2 at least")
        if self.train_mode == "xent" and self.clip is not None:
            raise ValueError("train_mode xent does not clip: write train_mode xent_clipped, or clip: null")
        if self.train_mode == "xent_clipped" and self.clip is None:
            raise ValueError("train_mode xent_clipped needs a clip, such as clip: 1.0")
        if list(self.lr_schedule) != sorted(set(self.lr_schedule)):
            raise ValueError(f"lr_schedule must grow from epoch to epoch; it is {list(self.lr_schedule)}")
        return self

    @model_validator(mode="after")
    def _check_testing(self) -> Self:
        low, high = self.test_range
        if low > high:
            raise ValueError(
                f"test_iterations_low ({low}) must not be more than test_iterations_high ({high}); null is max_iters"
            )
        if self.test_mode.startswith("bit_wise") and self.problem != "prefix_sums":
            raise ValueError(f"test_mode {self.test_mode} is for bits of prefix sums, and problem is {self.problem}")
        if self.test_mode == "convergence" and self.feed_forward:
            raise ValueError("test_mode convergence thinks until nothing changes, and feed-forward nets cannot go on")
        if self.test_mode == "convergence" and max(self.test_iterations) < 2:
            raise ValueError("test_mode convergence compares iterations: test_iterations_high must be 2 at least")
        if self.problem != "mazes" and self.canvas is not None:
            raise ValueError(f"canvas is for mazes, and problem is {self.problem}: leave it out")
        return self
