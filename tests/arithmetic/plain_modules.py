"""Every module once more, one run at a time, as plainly as PyTorch allows: (B, I) to (B, O), with matrix products.

Nothing here is shared with ``experiments/arithmetic`` but the parameter class. A module's parameters are registered in
the order in which the original draws them.
"""

from __future__ import annotations

import math

import scipy.optimize
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS32 = 2.0**-23
EPS7 = 1e-7
PHI = (1 + 5**0.5) / 2


class Module(nn.Module):
    """A layer, its regularisers, its clamping, and the weights whose sparsity error is logged."""

    def __init__(self, p, inputs: int, outputs: int) -> None:
        super().__init__()
        self.p, self.inputs, self.outputs = p, inputs, outputs
        self.build()

    def shape(self, *sizes: int) -> nn.Parameter:
        return nn.Parameter(torch.empty(sizes))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def reset_parameters(self) -> None:
        raise NotImplementedError

    def regularisers(self, x: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        return {}

    def clamp(self) -> None:
        pass

    def sparse(self) -> list[Tensor]:
        """Weight tensors as the forward pass uses them."""
        return []

    @property
    def squared(self) -> bool:
        regulariser = getattr(self.p, "regulariser", None)
        return regulariser is not None and regulariser.shape == "squared"


def sparsity_error(weights: Tensor) -> float:
    return float(torch.minimum(weights.abs(), (1 - weights.abs()).abs()).detach().max())


def uniform(parameter: Tensor, bound: float) -> None:
    nn.init.uniform_(parameter, -bound, bound)


def nau_bound(inputs: int, outputs: int) -> float:
    return min(0.5, math.sqrt(3.0) * math.sqrt(2.0 / (inputs + outputs)))


def mnac(x: Tensor, w: Tensor) -> Tensor:
    """(B, I), (O, I) to (B, O)."""
    return (x[:, None, :] * w + 1 - w).prod(-1)


# --- linear, NAC ------------------------------------------------------------------------------------------------------


class Linear(Module):
    activation = "linear"

    def build(self) -> None:
        self.W, self.bias = self.shape(self.outputs, self.inputs), self.shape(self.outputs)

    def reset_parameters(self) -> None:
        match self.activation:
            case "relu" | "relu6" | "elu":
                nn.init.kaiming_uniform_(self.W, nonlinearity="relu")
            case "selu":
                uniform(self.W, math.sqrt(3 / self.inputs))
            case "tanh":
                nn.init.xavier_uniform_(self.W, gain=nn.init.calculate_gain("tanh"))
            case _:
                nn.init.xavier_uniform_(self.W)
        nn.init.zeros_(self.bias)

    def forward(self, x, noise=None):
        y = F.linear(x, self.W, self.bias)
        return y if self.activation == "linear" else getattr(F, self.activation)(y)

    def sparse(self):
        return [self.W]


def activation(name: str) -> type[Linear]:
    return type(name, (Linear,), {"activation": name})


class NAC(Module):
    def build(self) -> None:
        self.W_hat, self.M_hat = (self.shape(self.outputs, self.inputs) for _ in range(2))

    def reset_parameters(self) -> None:
        def variance(r: float) -> float:
            return 0 if r == 0 else (1 - math.tanh(r) / r) * (r - math.tanh(r / 2)) * (1 / (2 * r))

        fan = max(self.inputs + self.outputs, 5)
        r = scipy.optimize.bisect(lambda r: fan * variance(r) - 2, 0, 10)
        uniform(self.W_hat, r)
        uniform(self.M_hat, r)

    @property
    def W(self) -> Tensor:
        if self.p.nac.weights == "golden-ratio":
            tanh = (PHI ** (2 * self.W_hat) - 1) / (PHI ** (2 * self.W_hat) + 1)
            return tanh * (1 / (1 + PHI**-self.M_hat))
        return torch.tanh(self.W_hat) * torch.sigmoid(self.M_hat)

    def forward(self, x, noise=None):
        return F.linear(x, self.W)

    def regularisers(self, x, noise=None):
        return {"z": ((1 - self.W.abs()) * x.mean(0) ** 2).mean()}

    def sparse(self):
        return [self.W]


class _Independent(torch.autograd.Function):
    """tanh(Ŵ) σ(M̂), whose gradients leave out the other factor."""

    @staticmethod
    def forward(ctx, w_hat, m_hat):
        tanh, sigmoid = torch.tanh(w_hat), torch.sigmoid(m_hat)
        ctx.save_for_backward(tanh, sigmoid)
        return tanh * sigmoid

    @staticmethod
    def backward(ctx, grad):
        tanh, sigmoid = ctx.saved_tensors
        return grad * (1 - tanh**2), grad * sigmoid * (1 - sigmoid)


class IndependentNAC(NAC):
    @property
    def W(self) -> Tensor:
        return _Independent.apply(self.W_hat, self.M_hat)


class SoftmaxNAC(NAC):
    def build(self) -> None:
        self.W_hat = self.shape(self.outputs, self.inputs, 2)

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.W_hat, gain=math.sqrt(0.5))

    @property
    def W(self) -> Tensor:
        logits = torch.cat([self.W_hat, torch.zeros_like(self.W_hat[..., :1])], -1)
        return torch.softmax(logits, -1) @ logits.new_tensor([1, -1, 0])


class FreeNAC(NAC):
    def build(self) -> None:
        self.free = self.shape(self.outputs, self.inputs)

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.free)

    @property
    def W(self) -> Tensor:
        return self.free


def nac(p, inputs: int, outputs: int) -> Module:
    forms = {"independent": IndependentNAC, "softmax": SoftmaxNAC, "linear": FreeNAC}
    return forms.get(p.nac.weights, NAC)(p, inputs, outputs)


class SigmoidNAC(Module):
    def build(self) -> None:
        self.W_hat = self.shape(self.outputs, self.inputs)

    def reset_parameters(self) -> None:
        nn.init.xavier_normal_(self.W_hat)

    @property
    def W(self) -> Tensor:
        return torch.sigmoid(self.W_hat)

    def forward(self, x, noise=None):
        return F.linear(x, self.W)

    def sparse(self):
        return [self.W]


# --- bounded weights --------------------------------------------------------------------------------------------------


class NAU(Module):
    low = -1.0

    def build(self) -> None:
        self.W = self.shape(self.outputs, self.inputs)

    def reset_parameters(self) -> None:
        if self.p.nau.init == "beta":
            beta = torch.distributions.Beta(torch.tensor([7.0]), torch.tensor([7.0]))
            self.W.data = beta.sample(self.W.shape).squeeze(-1) * 2 - 1
        else:
            uniform(self.W, nau_bound(self.inputs, self.outputs))

    def noise(self, x: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            return torch.zeros_like(x)
        a = 1 / x.var()
        return noise.reshape(x.shape) * 2 * a - a

    def forward(self, x, noise=None):
        w = torch.clamp(self.W, -1, 1)
        added = self.noise(x, noise)
        return F.linear(x + added, w) - F.linear(added, w)

    def regularisers(self, x, noise=None):
        w = self.W.abs()
        bias = w**2 * (1 - w) ** 2 if self.squared else torch.minimum(w, (1 - w).abs())
        seen = (x + self.noise(x, noise)).mean(0)
        terms = {"W": bias.mean(), "z": ((1 - w) * seen**2).mean()}
        return terms | self.outside(w - 1)

    def outside(self, excess: Tensor) -> dict[str, Tensor]:
        if self.p.bounds.mode == "clip":
            return {}
        return {"W-OOB": (torch.relu(excess) ** (2 if self.squared else 1)).mean()}

    def clamp(self) -> None:
        if self.p.bounds.mode == "clip":
            self.W.data.clamp_(self.low, 1)

    def sparse(self):
        return [self.W.clamp(-1, 1)]


class NMU(NAU):
    def build(self) -> None:
        self.low = self.p.bounds.lowest
        super().build()

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.W, 0.25, 0.75)

    @property
    def effective(self) -> Tensor:
        return self.W if self.p.bounds.mode == "clip" else self.W.clamp(self.low, 1)

    def factors(self, noise: Tensor, x: Tensor) -> Tensor:
        low, high = self.p.nmu.noise
        return low + (high - low) * noise.reshape(x.shape)

    def product(self, x: Tensor) -> Tensor:
        w = self.effective
        if self.p.nmu.factor == "plain":
            return (x[:, None, :] * w).prod(-1)
        return mnac(x, w)

    def forward(self, x, noise=None):
        given = x
        if noise is not None:
            x = x * self.factors(noise, x)
        y = self.product(x)
        if self.p.nmu.normalised:
            c = x.std()
            y = self.product(x / c) * c ** self.effective.sum(1)
        return y if noise is None else y / self.product(self.factors(noise, given))

    def regularisers(self, x, noise=None):
        w = self.W
        if noise is not None:
            x = x * self.factors(noise, x)
        bias = w**2 * (1 - w) ** 2 if self.squared else torch.minimum(w.abs(), (1 - w).abs())
        terms = {"W": bias.mean(), "z": ((1 - w) * (1 - x.mean(0)) ** 2).mean()}
        return terms | self.outside((w - 0.5).abs() - 0.5)

    def sparse(self):
        return [self.effective]


class LinearNAC(NMU):
    def forward(self, x, noise=None):
        return F.linear(x, self.effective)


class SigmoidNMU(SigmoidNAC):
    def reset_parameters(self) -> None:
        uniform(self.W_hat, math.sqrt(3) * math.sqrt(0.25))

    def forward(self, x, noise=None):
        return mnac(x, self.W)


class NRU(NAU):
    def build(self) -> None:
        super().build()
        self.low = -1 + self.p.bounds.lowest
        if self.p.nru.trash:
            self.trash = self.shape(1)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.p.nru.trash:
            nn.init.zeros_(self.trash)

    def forward(self, x, noise=None):
        w = self.W if self.p.bounds.mode == "clip" else self.W.clamp(self.low, 1)
        x = x[:, None, :]
        gate = torch.tanh(1000 * w) ** 2 if self.training else w.abs()
        power = x.abs() ** w
        if self.p.nru.signs == "together":
            y = (x.sign() * power * gate + 1 - gate).prod(-1)
        else:
            y = (power * gate + 1 - gate).prod(-1) * (x.sign() ** torch.round(w)).prod(-1)
        return y + self.trash if self.p.nru.trash and self.training else y

    def regularisers(self, x, noise=None):
        terms = super().regularisers(x)
        return terms | ({"trash": self.trash.abs().sum()} if self.p.nru.trash else {})

    def sparse(self):
        return [self.W if self.p.bounds.mode == "clip" else self.W.clamp(self.low, 1)]


class NMRU(NMU):
    signed, gated = True, False

    def build(self) -> None:
        self.low = self.p.bounds.lowest
        self.W = self.shape(self.outputs, 2 * self.inputs)
        if self.gated:
            self.g = self.shape(2 * self.inputs)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.gated:
            nn.init.constant_(self.g, 0.5)

    def extended(self, x: Tensor) -> Tensor:
        x = torch.cat([x, 1 / (x + EPS32 if self.training else x)], dim=-1)
        return x * self.g if self.gated else x

    def forward(self, x, noise=None):
        x = self.extended(x)
        if not self.signed:
            return super().forward(x, noise)
        k = math.pi * (x < 0).to(x.dtype)
        return super().forward(x.abs(), noise) * torch.cos(k @ self.W.T)

    def regularisers(self, x, noise=None):
        x = self.extended(x)
        terms = super().regularisers(x.abs() if self.signed else x, noise)
        if self.gated:
            terms["g-NPU"] = torch.minimum(self.g.abs(), (1 - self.g).abs()).mean()
        return terms

    def clamp(self) -> None:
        super().clamp()
        if self.gated:
            self.g.data.clamp_(0, 1)


class UnsignedNMRU(NMRU):
    signed = False


class GatedNMRU(NMRU):
    gated = True


# --- powers -----------------------------------------------------------------------------------------------------------


class RealNPU(Module):
    def build(self) -> None:
        self.W_real, self.g = self.shape(self.inputs, self.outputs), self.shape(self.inputs)

    def reset_parameters(self) -> None:
        if self.p.npu.init == "xavier-uniform":
            nn.init.xavier_uniform_(self.W_real)
        else:
            uniform(self.W_real, nau_bound(self.inputs, self.outputs))
        nn.init.constant_(self.g, 0.5)

    def polar(self, x: Tensor) -> tuple[Tensor, Tensor]:
        g = torch.clamp(self.g, 0, 1)
        return torch.log(g * (x.abs() + EPS32) + (1 - g)), g * math.pi * (x < 0).to(x.dtype)

    def forward(self, x, noise=None):
        r, k = self.polar(x)
        return torch.exp(r @ self.W_real) * torch.cos(k @ self.W_real)

    def regularisers(self, x, noise=None):
        w, r = self.W_real.abs(), self.p.npu.regulariser
        to_zero = r is not None and r.values == "-1,0,1"
        return {
            "W-NPU": (torch.minimum(w, (1 - w).abs()) if to_zero else (1 - w).abs()).mean(),
            "g-NPU": torch.minimum(self.g.abs(), (1 - self.g).abs()).mean(),
        }

    def clamp(self) -> None:
        clip = self.p.npu.clip
        if clip in ("w", "wg", "wig"):
            self.W_real.data.clamp_(-1, 1)
        if clip in ("g", "wg", "wig"):
            self.g.data.clamp_(0, 1)

    def sparse(self):
        return [self.W_real]


class NPU(RealNPU):
    def build(self) -> None:
        self.W_real, self.W_im = (self.shape(self.inputs, self.outputs) for _ in range(2))
        self.g = self.shape(self.inputs)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.zeros_(self.W_im)

    def forward(self, x, noise=None):
        r, k = self.polar(x)
        return torch.exp(r @ self.W_real - k @ self.W_im) * torch.cos(k @ self.W_real + r @ self.W_im)

    def regularisers(self, x, noise=None):
        terms = super().regularisers(x)
        terms["W-NPU"] = (1 - self.W_real.abs()).abs().mean()
        if self.p.npu.clip == "wig":
            terms["W-NPU"] = terms["W-NPU"] + self.W_im.abs().sum()
        return terms

    def clamp(self) -> None:
        super().clamp()
        if self.p.npu.clip == "wig":
            self.W_im.data.clamp_(-1, 1)

    def sparse(self):
        return [self.W_real, self.W_im]
