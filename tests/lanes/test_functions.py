"""The cosine: accurate, differentiable, and blind to its neighbours."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from orchestrator.lanes.functions import cos, normal_quantile


def test_it_is_the_cosine():
    angle = torch.cat([torch.linspace(-1000, 1000, 20001), torch.tensor([0.0, math.pi, -math.pi, 2 * math.pi])])
    torch.testing.assert_close(cos(angle).double(), torch.cos(angle.double()), rtol=0, atol=2e-7)
    small = angle[angle.abs() <= 3.14]
    assert torch.equal(cos(small), torch.cos(small))


def test_its_gradient_is_minus_the_sine():
    angle = torch.linspace(-50, 50, 1001, dtype=torch.float64, requires_grad=True)
    cos(angle).sum().backward()
    torch.testing.assert_close(angle.grad, -torch.sin(angle.detach()))


@pytest.mark.parametrize("intruder", [math.nan, math.inf, -math.inf, 1e3, 1e9, 3e38])
def test_a_neighbour_changes_nothing(intruder):
    angle = torch.from_numpy(np.random.default_rng(0).uniform(-9, 9, 4096).astype(np.float32))
    alone, grads = {}, {}
    for name, planted in {"clean": 0.0, "beside": intruder}.items():
        given = angle.clone()
        given[::7] = planted
        given.requires_grad_()
        made = cos(given)
        made.sum().backward()
        others = torch.arange(4096) % 7 != 0
        alone[name], grads[name] = made.detach()[others], given.grad[others]
        assert math.isfinite(planted) or made[0].isnan()
    assert torch.equal(alone["clean"], alone["beside"])
    assert torch.equal(grads["clean"], grads["beside"])


def test_quantiles_of_the_normal_distribution():
    rng = np.random.default_rng(0)
    below = np.concatenate([rng.uniform(size=100_000), 10.0 ** -rng.uniform(0.3, 300, size=10_000)])
    found = normal_quantile(torch.from_numpy(below), torch.from_numpy(1 - below)).numpy()
    np.testing.assert_allclose(found, ndtri(below), rtol=3e-15, atol=3e-16)
    np.testing.assert_allclose(normal_quantile(torch.from_numpy(1 - below), torch.from_numpy(below)), -found)


def test_quantiles_far_above_the_middle_keep_their_digits():
    above = torch.tensor([1e-20, 1e-100], dtype=torch.float64)
    torch.testing.assert_close(normal_quantile(1 - above, above), -torch.from_numpy(ndtri(above.numpy())))
