"""Initial weights: the original's, to the bit, and their distributions under the counter stream."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from experiments.arithmetic import networks, streams
from experiments.arithmetic.params import SingleLayer
from experiments.arithmetic.parts import Beta, Normal, Orthogonal, Uniform, drawn, unpack
from tests.arithmetic.cases import CASES
from tests.arithmetic.plain_compounds import drawn as plainly_drawn
from tests.arithmetic.plain_compounds import ordered


def make(**values):
    return SingleLayer.model_validate({"operation": "div", "stream": "legacy"} | values)


def weights(params, rounds=1):
    """Return the initial parameters of some lanes, (rounds, P, L), and the network's parts."""
    seeds = torch.tensor([p.seed for p in params])
    lanes = SimpleNamespace(
        params=params, static=params[0], seeds=seeds, tensor=lambda array: torch.as_tensor(np.ascontiguousarray(array))
    )
    network = networks.build(params[0])
    return streams.build(lanes, network).weights(rounds), network.parts


@pytest.mark.parametrize("inputs", [2, 10])
@pytest.mark.parametrize("case", CASES)
def test_trap_1_initial_weights_are_torchs_second_draw(case, inputs):
    params = [make(input_size=inputs, seed=seed, **CASES[case]) for seed in (0, 1, 2**31 + 5)]
    found, _ = weights(params)
    for lane, p in enumerate(params):
        module = plainly_drawn(p.layer, p, inputs, 1, p.seed)
        expected = torch.cat([parameter.detach().ravel() for parameter in ordered(module)])
        torch.testing.assert_close(found[0, :, lane], expected, rtol=0, atol=0)


@pytest.mark.parametrize("case", ["nru", "inalu", "nmru-gated", "nac", "mul-mcfc"])
def test_the_counter_stream_draws_from_the_distribution_of_each_part(case):
    params = [make(stream="counter", seed=seed, input_size=2, **CASES[case]) for seed in range(600)]
    found, parts = weights(params)
    legacy, _ = weights([p.model_copy(update={"stream": "legacy"}) for p in params])
    for part in parts:
        ours, theirs = (unpack(parts, values[0])[part.name].flatten() for values in (found, legacy))
        levels = torch.quantile(theirs, torch.linspace(0.1, 0.9, 5))
        for level in levels:
            assert float((ours < level).float().mean()) == pytest.approx(
                float((theirs < level).float().mean()), abs=0.06
            )
    assert len(torch.unique(found[0, 0])) > 590 or case == "mul-mcfc"


def test_lanes_draw_what_they_would_alone_and_later_resets_differ():
    params = [make(stream=s, seed=seed, **CASES["inalu"]) for s in ("counter", "legacy") for seed in (4, 9)]
    for first, second in (params[:2], params[2:]):
        together, _ = weights([first, second], rounds=3)
        for lane, p in enumerate((first, second)):
            alone, _ = weights([p], rounds=3)
            assert torch.equal(alone[..., 0], together[..., lane])
        assert len(torch.unique(together[:, 0, 0])) == 3


def uniforms(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda number, count: torch.rand(count, 500, dtype=torch.float64, generator=generator)


def test_distributions_by_their_quantiles():
    unit = uniforms(1)(0, 40)
    normal = Normal(0.88, 0.2).of(unit, (40,))
    assert (float(normal.mean()), float(normal.std())) == pytest.approx((0.88, 0.2), abs=0.01)
    beta = Beta(7.0).of(unit, (40,))
    assert (float(beta.mean()), float(beta.var())) == pytest.approx((0, 4 / 60), abs=0.01)
    uniform = Uniform(-2.0, 1.0).of(unit, (40,))
    assert (float(uniform.min()), float(uniform.max())) == pytest.approx((-2, 1), abs=0.01)
    for rows, columns in ((6, 3), (3, 6), (4, 4)):
        made = Orthogonal().of(uniforms(2)(0, rows * columns), (rows, columns)).unflatten(0, (rows, columns))
        q = made if rows >= columns else made.transpose(0, 1)
        gram = torch.einsum("ijl,ikl->jkl", q, q)
        torch.testing.assert_close(gram, torch.eye(min(rows, columns), dtype=gram.dtype)[..., None].expand_as(gram))
    assert torch.equal(Orthogonal(identity=True).of(uniforms(2)(0, 4), (2, 2))[:, 0], torch.eye(2).flatten().double())


def test_constants_take_no_random_numbers():
    p = make(layer="nmru-gated")
    parts = networks.build(p).parts
    asked = []

    def counting(number, count):
        asked.append(count)
        return torch.rand(count, 5, dtype=torch.float64)

    values = unpack(parts, drawn(parts, counting)[0])
    assert asked == [4]
    assert (values["layer_1.g"] == 0.5).all()
