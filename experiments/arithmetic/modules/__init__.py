"""The modules, for many lanes: one file for each family; :func:`build` makes one by its name."""

from __future__ import annotations

from collections.abc import Callable

from experiments.arithmetic.modules.base import Module, Penalty, Size
from experiments.arithmetic.modules.inalu import INALU
from experiments.arithmetic.modules.linear import ACTIVATIONS, Linear
from experiments.arithmetic.modules.mcfc import MCFC, MulMCFC
from experiments.arithmetic.modules.nac import LinearNAC, Multiplicative, SigmoidNAC, additive
from experiments.arithmetic.modules.nalu import NALU
from experiments.arithmetic.modules.nau import NAU
from experiments.arithmetic.modules.nmru import NMRU
from experiments.arithmetic.modules.nmu import NMU, SigmoidNMU
from experiments.arithmetic.modules.npu import NPU, RealNPU
from experiments.arithmetic.modules.nru import NRU
from experiments.arithmetic.params import Options

__all__ = ["MODULES", "Module", "Penalty", "Size", "build"]

Unit = Callable[[Size], Module]


def _nalu(unit: Unit, multiplier: Unit) -> Unit:
    def make(size: Size) -> Module:
        options = size.options.nalu
        other = multiplier if options.multiplication == "nmu" else unit
        return NALU(size, unit(size), other(size) if options.weights == "separate" else None)

    return make


MODULES: dict[str, Unit] = {
    "nac": additive,
    "nac-mul": lambda size: Multiplicative(size, additive(size)),
    "nac-sigma": lambda size: Multiplicative(size, SigmoidNAC(size)),
    "nac-nmu": lambda size: Multiplicative(size, LinearNAC(size)),
    "nalu": _nalu(additive, SigmoidNMU),
    "nalu-sigma": _nalu(SigmoidNAC, SigmoidNMU),
    "nalu-nau": _nalu(NAU, NMU),
    "inalu": INALU,
    "nau": NAU,
    "nmu": NMU,
    "sigma-nmu": SigmoidNMU,
    "npu": NPU,
    "real-npu": RealNPU,
    "nru": NRU,
    "nmru": NMRU,
    "nmru-unsigned": lambda size: NMRU(size, signs="none"),
    "nmru-gated": lambda size: NMRU(size, signs="gated"),
    "mcfc": MCFC,
    "mul-mcfc": MulMCFC,
    "mul-mcfc-inalu": lambda size: MulMCFC(size, signs="inalu"),
    "mul-mcfc-real-npu": lambda size: MulMCFC(size, signs="real-npu"),
} | {name: lambda size, name=name: Linear(size, name) for name in ACTIVATIONS}


def build(layer: str, inputs: int, outputs: int, options: Options) -> Module:
    """Return the module of this name."""
    return MODULES[layer](Size(inputs, outputs, options))
