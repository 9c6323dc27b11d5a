"""Plain modules that hold others, or several matrices: NAC•, NALU, iNALU, MCFC; and the table of all of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.arithmetic import plain_modules as plain
from tests.arithmetic.plain_modules import EPS7, PHI, Module, mnac


class Multiplicative(Module):
    unit: type[Module]

    def build(self) -> None:
        self.inner = self.unit(self.p, self.inputs, self.outputs)

    def reset_parameters(self) -> None:
        self.inner.reset_parameters()

    def log(self, x: Tensor) -> Tensor:
        match self.p.nac.log:
            case "plain":
                return torch.log(x.abs() + EPS7)
            case "safe":
                return torch.log((x - 1).abs() + 1)
            case _:
                return torch.log(torch.relu(x - 1) + 1)

    def forward(self, x, noise=None):
        return torch.exp(self.inner(self.log(x)))

    def regularisers(self, x, noise=None):
        terms = self.inner.regularisers(self.log(x))
        if self.p.nac.log == "max-safe":
            terms["z"] = terms.get("z", 0) + torch.relu(1 - x).mean()
        return terms

    def clamp(self) -> None:
        self.inner.clamp()

    def sparse(self):
        return self.inner.sparse()


def multiplicative(unit: type[Module]) -> type[Module]:
    return type(f"Mul{unit.__name__}", (Multiplicative,), {"unit": staticmethod(unit)})


class NALU(Module):
    unit: type[Module]
    multiplier: type[Module]

    def build(self) -> None:
        o = self.p.nalu
        self.add = self.unit(self.p, self.inputs, self.outputs)
        if o.weights == "separate":
            self.mul = (self.multiplier if o.multiplication == "nmu" else self.unit)(self.p, self.inputs, self.outputs)
        self.G_add = self.shape(self.outputs, self.inputs)
        if o.gates == "two":
            self.G_mul = self.shape(self.outputs, self.inputs)
        if o.bias:
            self.bias_add = self.shape(self.outputs)
            if o.gates == "two":
                self.bias_mul = self.shape(self.outputs)

    def reset_parameters(self) -> None:
        self.add.reset_parameters()
        if self.p.nalu.weights == "separate":
            self.mul.reset_parameters()
        for name, parameter in self.named_parameters(recurse=False):
            if name.startswith("G"):
                nn.init.xavier_uniform_(parameter, gain=nn.init.calculate_gain("sigmoid"))
            else:
                nn.init.zeros_(parameter)

    def gates(self, x: Tensor, noise: Tensor | None) -> list[Tensor]:
        o, found = self.p.nalu, []
        names = ["add", "mul"] if o.gates == "two" else ["add"]
        parts = [None] * len(names) if noise is None else noise.chunk(len(names))
        for name, part in zip(names, parts, strict=True):
            u = F.linear(x, getattr(self, f"G_{name}"), getattr(self, f"bias_{name}", None))
            if part is not None:
                gumbel = -torch.log(1e-8 - torch.log(part + 1e-8))
                u = u + (gumbel if o.gate == "gumbel" else gumbel.reshape(len(x), self.outputs))
            found.append(1 / (1 + PHI**-u) if o.gate == "golden-ratio" else torch.sigmoid(u))
        return found

    def log(self, x: Tensor) -> Tensor:
        match self.p.nalu.multiplication:
            case "safe":
                return torch.log((x - 1).abs() + 1)
            case "trig":
                return torch.log(x + torch.sqrt(x**2 + 1) + EPS7)
            case "nmu":
                return x
            case _:
                return torch.log(x.abs() + EPS7)

    def forward(self, x, noise=None):
        gates = self.gates(x, noise)
        second = gates[1] if len(gates) == 2 else 1 - gates[0]
        m = (self.mul if self.p.nalu.weights == "separate" else self.add)(self.log(x))
        match self.p.nalu.multiplication:
            case "trig":
                m = torch.sinh(m)
            case "golden-ratio":
                m = PHI ** (m / math.log(PHI))
            case "log" | "safe":
                m = torch.exp(m)
        return gates[0] * self.add(x) + second * m

    def regularisers(self, x, noise=None):
        if self.p.nalu.weights == "shared":
            terms = self.add.regularisers(torch.cat([x, self.log(x)]))
        else:
            first, second = self.add.regularisers(x), self.mul.regularisers(self.log(x))
            terms = {key: first.get(key, 0) + second.get(key, 0) for key in first | second}
        if self.p.nalu.gate == "regularised":
            terms["g"] = sum((g**2 * (1 - g) ** 2).sum() for g in self.gates(x, noise))
        return terms

    def clamp(self) -> None:
        self.add.clamp()
        if self.p.nalu.weights == "separate":
            self.mul.clamp()

    def sparse(self):
        return self.add.sparse() + (self.mul.sparse() if self.p.nalu.weights == "separate" else [])


def nalu(unit: type[Module], multiplier: type[Module]) -> type[Module]:
    members = {"unit": staticmethod(unit), "multiplier": multiplier}
    return type(f"NALU{unit.__name__}", (NALU,), members)


class INALU(Module):
    def build(self) -> None:
        self.W_a, self.M_a, self.W_m, self.M_m = (self.shape(self.inputs, self.outputs) for _ in range(4))
        self.g = self.shape(self.outputs)

    def reset_parameters(self) -> None:
        for w, m in ((self.W_a, self.M_a), (self.W_m, self.M_m)):
            nn.init.normal_(w, 0.88, 0.2)
            nn.init.normal_(m, 0.5, 0.2)
        nn.init.normal_(self.g, 0.0, 0.2)

    def weights(self) -> tuple[Tensor, Tensor]:
        return torch.tanh(self.W_a) * torch.sigmoid(self.M_a), torch.tanh(self.W_m) * torch.sigmoid(self.M_m)

    def forward(self, x, noise=None):
        a, m = self.weights()
        g = torch.sigmoid(self.g)
        power = torch.log(torch.clamp(x.abs(), min=1e-7)) @ m
        sign = mnac(x.sign(), m.T.abs())
        return g * (x @ a) + (1 - g) * torch.exp(torch.clamp(power, max=20)) * sign

    def regularisers(self, x, noise=None):
        return {"inalu": sum(torch.clamp(20 - p.abs(), min=0).mean() for p in self.parameters())}

    def sparse(self):
        return list(self.weights())


class MCFC(Module):
    def build(self) -> None:
        self.out_gate = nn.Linear(1, self.outputs)
        nn.init.orthogonal_(self.out_gate.weight)
        self.r = self.shape(self.inputs, self.outputs)
        self.reset_junction()

    def reset_junction(self) -> None:
        (nn.init.eye_ if self.inputs == self.outputs else nn.init.orthogonal_)(self.r)

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.out_gate.weight)
        nn.init.zeros_(self.out_gate.bias)
        self.reset_junction()

    @property
    def junction(self) -> Tensor:
        return torch.softmax(self.r, dim=-1)

    def forward(self, x, noise=None):
        return torch.sigmoid(self.out_gate(x.new_ones(1))) * (x @ self.junction)

    def regularisers(self, x, noise=None):
        parts = (self.r, self.out_gate.weight, self.out_gate.bias)
        return {"W": -sum((part**2).mean() for part in parts)}

    def sparse(self):
        return [self.junction]

    def ordered(self) -> list[nn.Parameter]:
        return [self.out_gate.weight, self.out_gate.bias, self.r]


class MulMCFC(Module):
    signs = "none"

    def build(self) -> None:
        self.mcfc = MCFC(self.p, self.inputs, self.outputs)
        self.bias = self.shape(self.outputs)
        if self.signs == "real-npu":
            self.g = self.shape(self.inputs)

    def reset_parameters(self) -> None:
        self.mcfc.reset_parameters()
        nn.init.zeros_(self.bias)
        if self.signs == "real-npu":
            nn.init.constant_(self.g, 0.5)

    def forward(self, x, noise=None):
        y = torch.exp(self.mcfc(torch.log(x if self.signs == "none" else x.abs())) + self.bias)
        if self.signs == "inalu":
            return y * mnac(x.sign(), self.mcfc.junction.T.abs())
        if self.signs == "real-npu":
            k = torch.clamp(self.g, 0, 1) * math.pi * (x < 0).to(x.dtype)
            return y * torch.cos(k @ self.mcfc.junction)
        return y

    def regularisers(self, x, noise=None):
        terms = self.mcfc.regularisers(x)
        if self.signs == "real-npu":
            terms["g-NPU"] = torch.minimum(self.g.abs(), (1 - self.g).abs()).mean()
        return terms

    def sparse(self):
        return self.mcfc.sparse()

    def ordered(self) -> list[nn.Parameter]:
        return [*self.mcfc.ordered(), self.bias, *([self.g] if self.signs == "real-npu" else [])]


def mul_mcfc(signs: str) -> type[Module]:
    return type("MulMCFC", (MulMCFC,), {"signs": signs})


MODULES: dict[str, type[Module]] = {
    "linear": plain.Linear,
    "nac": plain.nac,
    "nac-mul": multiplicative(plain.nac),
    "nac-sigma": multiplicative(plain.SigmoidNAC),
    "nac-nmu": multiplicative(plain.LinearNAC),
    "nalu": nalu(plain.nac, plain.SigmoidNMU),
    "nalu-sigma": nalu(plain.SigmoidNAC, plain.SigmoidNMU),
    "nalu-nau": nalu(plain.NAU, plain.NMU),
    "inalu": INALU,
    "nau": plain.NAU,
    "nmu": plain.NMU,
    "sigma-nmu": plain.SigmoidNMU,
    "npu": plain.NPU,
    "real-npu": plain.RealNPU,
    "nru": plain.NRU,
    "nmru": plain.NMRU,
    "nmru-unsigned": plain.UnsignedNMRU,
    "nmru-gated": plain.GatedNMRU,
    "mcfc": MCFC,
    "mul-mcfc": mul_mcfc("none"),
    "mul-mcfc-inalu": mul_mcfc("inalu"),
    "mul-mcfc-real-npu": mul_mcfc("real-npu"),
} | {name: plain.activation(name) for name in ("relu", "relu6", "tanh", "sigmoid", "softsign", "selu", "elu")}


def ordered(module: nn.Module) -> list[nn.Parameter]:
    """Return a module's parameters in the order in which they are drawn and packed."""
    if hasattr(module, "ordered"):
        return module.ordered()
    own = list(module.parameters(recurse=False))
    inner = [parameter for child in module.children() for parameter in ordered(child)]
    return inner + own


def drawn(layer: str, p, inputs: int, outputs: int, seed: int) -> Module:
    """Return a module as the original makes it: reset twice, from torch's own generator."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    module = MODULES[layer](p, inputs, outputs)
    module.reset_parameters()
    module.reset_parameters()
    module.rng = torch.get_rng_state()  # where the generator goes on
    torch.set_rng_state(state)
    return module
