"""Functions whose vector code looks at several lanes at once, made to look at one.

A vectorised cosine takes a slower and slightly different way for all numbers of a vector when one of them is large,
infinite or NaN: a lane that diverges would change the last bits of its neighbours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TURN = (6.28125, 2 * math.pi - 6.28125)
"""2π in two parts; whole multiples of the first are exact."""


def cos(angle: Tensor) -> Tensor:
    """Return the cosine, lane by lane; NaN where the angle is not finite.

    Angles within [-π, π] go to the cosine as they are, others less whole turns. Those that are so large (10⁵) that
    single precision cannot tell where on the circle they are may come out as 1.
    """
    turns = torch.round(angle.detach() * (1 / (2 * math.pi)))
    reduced = angle - turns * _TURN[0] - turns * _TURN[1]
    safe = torch.where(reduced.abs() <= 4, reduced, 0.0)
    return torch.where(angle.isfinite(), torch.cos(safe), torch.nan)


# M. J. Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988): coefficients of rational approximations, from
# the constant upwards, in the middle, in the tails, and far out in them.
_MIDDLE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)  # fmt: skip
_TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)  # fmt: skip
_FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)  # fmt: skip


def normal_quantile(below: Tensor, above: Tensor) -> Tensor:
    """Return where a standard normal variable has the probability ``below`` of being less, and ``above`` of being more.

    Both are float64 in (0, 1) and add up to 1; both are given, because far out one of them cannot be told from 1.
    Made of elementwise operations that every engine has.
    """
    near = below - 0.5
    middle = near * _ratio(_MIDDLE, 0.180625 - near * near)
    depth = torch.log(torch.minimum(below, above)).neg().sqrt()
    size = torch.where(depth <= 5, _ratio(_TAIL, depth - 1.6), _ratio(_FAR, depth - 5))
    return torch.where(near.abs() <= 0.425, middle, torch.where(below < above, -size, size))


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: Tensor) -> Tensor:
    above, below = (_polynomial(coefficients, x) for coefficients in polynomials)
    return above / below


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value
