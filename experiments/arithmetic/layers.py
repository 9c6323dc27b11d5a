"""The modules' names and options, as grids spell them; no torch.

Every module also answers to the name that the papers' command line has for it (:data:`ALIASES`). A module's formulas
are in ``experiments/arithmetic/modules``, and side by side in ``docs/papers/arithmetic.md``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from experiments.arithmetic.penalties import NPURegulariser
from orchestrator.experiment import Group, Lane

NotNegative = Annotated[float, Field(ge=0)]

LayerName = Literal[
    "linear",
    "nac", "nac-mul", "nac-sigma", "nac-nmu",
    "nalu", "nalu-sigma", "nalu-nau", "inalu",
    "nau", "nmu", "sigma-nmu",
    "npu", "real-npu",
    "nru", "nmru", "nmru-unsigned", "nmru-gated",
    "mcfc", "mul-mcfc", "mul-mcfc-inalu", "mul-mcfc-real-npu",
]  # fmt: skip

ActivationName = Literal["relu", "relu6", "tanh", "sigmoid", "softsign", "selu", "elu"]
"""A linear layer with a bias, and an activation. Only for hidden layers: an output is never squashed."""

ALIASES = {
    "NAC": "nac",
    "MNAC": "nac-mul",
    "PosNAC": "nac-sigma",
    "ReRegualizedLinearPosNAC": "nac-nmu",
    "NALU": "nalu",
    "PosNALU": "nalu-sigma",
    "ReRegualizedLinearNALU": "nalu-nau",
    "iNALU": "inalu",
    "ReRegualizedLinearNAC": "nau",
    "ReRegualizedLinearMNAC": "nmu",
    "NPU": "npu",
    "RealNPU": "real-npu",
    "NRU": "nru",
    "NMRU": "nmru-unsigned",
    "SignNMRU": "nmru",
    "GatedSignNMRU": "nmru-gated",
    "MCFC": "mcfc",
    "MulMCFC": "mul-mcfc",
    "MulMCFCSignINALU": "mul-mcfc-inalu",
    "MulMCFCSignRealNPU": "mul-mcfc-real-npu",
    "ReLU": "relu",
    "ReLU6": "relu6",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softsign": "softsign",
    "SELU": "selu",
    "ELU": "elu",
}
"""The original command line's ``--layer-type``, and our name for it. Both name the same run."""

VARIANTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "IndependentNAC": ("nac", "nac", {"weights": "independent"}),
    "IndependentNALU": ("nalu", "nac", {"weights": "independent"}),
    "SoftmaxNAC": ("nac", "nac", {"weights": "softmax"}),
    "SoftmaxNALU": ("nalu", "nac", {"weights": "softmax"}),
    "LinearNAC": ("nac", "nac", {"weights": "linear"}),
    "LinearNALU": ("nalu", "nac", {"weights": "linear"}),
    "SillyReRegualizedLinearMNAC": ("nmu", "nmu", {"factor": "plain"}),
}
"""More of ``--layer-type``: our module, and the group of options and the option that make it that one."""


def readable(name: Any) -> Any:
    """Return our name of a module that is given by its original one."""
    return ALIASES.get(name, name) if isinstance(name, str) else name


_Spelling = Annotated[str, Field(json_schema_extra={"enum": [*ALIASES, *ALIASES.values(), "linear", "sigma-nmu"]})]
_READ = BeforeValidator(readable, json_schema_input_type=_Spelling)
Layer = Annotated[LayerName, _READ]
HiddenLayer = Annotated[LayerName | ActivationName, _READ]

SPARSE = frozenset(
    {"nau", "nmu", "nac-nmu", "nalu-nau", "nru", "nmru", "nmru-unsigned", "nmru-gated",
     "mcfc", "mul-mcfc", "mul-mcfc-inalu", "mul-mcfc-real-npu"}
)  # fmt: skip
"""Modules with a sparsity regulariser R(W): those that ``regulariser`` is for."""

IDENTITY = frozenset(
    {"nac", "nac-mul", "nac-nmu", "nalu", "nalu-nau", "nau", "nmu", "nru", "nmru", "nmru-unsigned", "nmru-gated"}
)
"""Modules with the regulariser R_z."""


# --- options ----------------------------------------------------------------------------------------------------------


class NACOptions(Group):
    """Options of NAC₊ and of its multiplicative forms, which work on logarithms."""

    weights: Literal["plain", "golden-ratio", "independent", "softmax", "linear"] = Field(
        "plain",
        description="W = tanh(Ŵ) σ(M̂), with the base e, or the golden ratio in place of it; independent: as plain, with"
        " gradients that leave out the other factor; softmax: the mean of 1, -1 and 0, weighted; linear: W itself",
    )
    log: Literal["plain", "safe", "max-safe"] = Field(
        "plain", description="exp(W log …) of |x| + 1e-7 (plain), |x - 1| + 1 (safe), or max(x - 1, 0) + 1 (max-safe)"
    )


class NALUOptions(Group):
    """Options of the NALU."""

    weights: Literal["shared", "separate"] = Field(
        "shared", description="whether sums and products have weights of their own"
    )
    multiplication: Literal["log", "safe", "trig", "nmu", "golden-ratio"] = Field(
        "log", description="exp(W log(|x| + 1e-7)); of |x - 1| + 1 (safe); sinh(W asinh x) (trig); an NMU; base φ"
    )
    gate: Literal["plain", "regularised", "gumbel", "gumbel-per-row", "golden-ratio"] = Field(
        "plain", description="the gate's form: σ(G x), with R = Σ g²(1-g)², with Gumbel noise, or with base φ"
    )
    gates: Literal["one", "two"] = Field("one", description="two: a gate for products in place of 1 - g")
    bias: bool = Field(False, description="whether gates have a bias")

    @model_validator(mode="after")
    def _check(self) -> NALUOptions:
        if self.multiplication == "nmu" and self.weights == "shared":
            raise ValueError("multiplication: nmu has weights of its own: set weights: separate as well")
        return self


class NAUOptions(Group):
    """Options of the NAU; ``init`` also holds for the NRU."""

    init: Literal["uniform", "beta"] = Field("uniform", description="initial weights: U[-r, r], or 2 Beta(7, 7) - 1")
    noise: bool = Field(False, description="add U[-a, a], a = 1/var(x), to each training input and take it off again")


class NMUOptions(Group):
    """Options of the NMU; ``noise`` also holds for the NMRU."""

    noise: tuple[float, float] | None = Field(
        None, description="range of the factors that training inputs are multiplied by (stochastic NMU), as [1, 5]"
    )
    factor: Literal["identity", "plain"] = Field("identity", description="factors W x + 1 - W, or W x")
    normalised: bool = Field(False, description="divide inputs by their standard deviation, and scale the output back")

    @model_validator(mode="after")
    def _check(self) -> NMUOptions:
        if self.noise is not None and not 0 < self.noise[0] < self.noise[1]:
            raise ValueError(f"noise is a range of positive factors such as [1, 5], not {list(self.noise)}")
        return self


class NPUOptions(Group):
    """Options of NPU and Real NPU; the defaults are the division paper's baseline."""

    init: Literal["xavier-uniform", "xavier-uniform-constrained"] = Field(
        "xavier-uniform",
        description="range of the initial weights: ±√(6/(inputs+outputs)), or at most ±0.5 (constrained)",
    )
    clip: Literal["none", "g", "w", "wg", "wig"] = Field(
        "none",
        description="after each update, clamp gates to [0, 1] (g), real weights to [-1, 1] (w), imaginary ones too (i)",
    )
    regulariser: NPURegulariser | None = Field(None, description="draws gates and weights to discrete values")


class NRUOptions(Group):
    """Options of the NRU."""

    signs: Literal["together", "separate"] = Field(
        "together", description="separate: the product of magnitudes times the product of signs"
    )
    trash: bool = Field(False, description="add a free number to the training output, and its size to the loss")


class Bounds(Group):
    """How weights are kept within [-1, 1] or [0, 1]."""

    mode: Literal["clip", "regularised"] = Field(
        "clip", description="clamp weights after each update; or use a clamped copy and penalise what is outside"
    )
    weight: Lane[NotNegative] = Field(1.0, description="factor of the penalty, where mode is regularised")
    lowest: NotNegative = Field(0.0, lt=0.5, description="lowest weight of an NMU or NMRU; -1 + lowest for an NRU")


OPTIONS: dict[str, frozenset[str]] = {
    "nac": frozenset({"nac", "nac-mul", "nac-sigma", "nac-nmu", "nalu"}),
    "nalu": frozenset({"nalu", "nalu-sigma", "nalu-nau"}),
    "nau": frozenset({"nau", "nru", "nalu-nau"}),
    "nmu": frozenset({"nmu", "nmru", "nmru-unsigned", "nmru-gated", "nalu-nau"}),
    "npu": frozenset({"npu", "real-npu", "nmru-gated", "mul-mcfc-real-npu"}),
    "nru": frozenset({"nru"}),
}
"""The groups of options, and the modules that read them."""
