"""Decoding and the modes of testing, against all readouts at once."""

import pytest
import torch

from experiments.thinking.data.problem import Problem, Split
from experiments.thinking.decoding import confidence, predict, right
from experiments.thinking.evaluate import MODES, TOLERANCE, evaluate
from experiments.thinking.nets import create


def scores(*values):
    """Scores (1, 2, n) whose class 1 is ahead by these values."""
    ahead = torch.tensor([values], dtype=torch.float32)
    return torch.stack([torch.zeros_like(ahead), ahead], dim=1)


def test_decoding():
    assert predict("prefix_sums", scores(1, -1, 0), None).tolist() == [[True, False, False]]
    assert predict("mazes", scores(1, 1, -1), torch.tensor([[True, False, True]])).tolist() == [[True, False, False]]
    board = scores(5, 3, 4, 1)
    board[:, 0] = 100  # the other class does not matter
    assert predict("chess", board, None).tolist() == [[True, False, True, False]]
    assert predict("chess", scores(5, 3, 3, 1), None).tolist() == [[True, True, True, False]]
    assert right(torch.tensor([[True, False], [True, True]]), torch.tensor([[1, 0], [0, 1]])).tolist() == [True, False]


def test_confidence_is_the_sum_of_the_larger_probability():
    drawn = torch.randn(3, 2, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(confidence(drawn, None), drawn.softmax(1).amax(1).sum(1))
    mask = torch.tensor([[True] * 3 + [False] * 4] * 3)
    torch.testing.assert_close(confidence(drawn, mask), (drawn.softmax(1).amax(1) * mask).sum(1))


def seen(mode, problem, iterations, per_iteration, targets):
    judge = MODES[mode](problem, iterations)
    judge.begin(targets, None)
    for iteration, found in enumerate(per_iteration, start=1):
        if judge.wants(iteration):
            judge.see(iteration, found)
    return judge.result()


def test_max_conf_looks_back_and_of_equals_takes_the_later():
    targets = torch.tensor([[1, 1]])
    good, bad = scores(2, 2), scores(2, -2)
    sure_bad, unsure_good = scores(3, -3), scores(1, 1)
    assert seen("max_conf", "prefix_sums", [1, 2], [good, bad], targets) == {1: 100, 2: 0}
    assert seen("max_conf_legacy", "prefix_sums", [1, 2], [good, bad], targets) == {1: 100, 2: 100}
    assert seen("max_conf", "prefix_sums", [3], [unsure_good, sure_bad, good], targets) == {3: 0}
    assert seen("default", "prefix_sums", [1, 3], [unsure_good, sure_bad, good], targets) == {1: 100, 3: 100}
    assert seen("max_conf", "prefix_sums", [2, 3], [bad, scores(4, 4), bad], targets) == {2: 100, 3: 100}


def test_legacy_chess_does_not_trust_the_first_eight_iterations():
    targets = torch.tensor([[1, 1, 0]])
    good, bad = scores(9, 8, 1), scores(1, 2, 3)
    steps = [good] * 8 + [bad]
    assert seen("max_conf_legacy", "chess", [8, 9], steps, targets) == {8: 100, 9: 0}
    assert seen("max_conf", "chess", [9], steps, targets) == {9: 100}


def problem_of(name, count=7, cells=(9,), masked=False):
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randint(2, (count, 1, *cells), generator=generator, dtype=torch.uint8)
    targets = inputs[:, 0].roll(1, dims=1)
    split = Split(inputs, targets * inputs[:, 0] if masked else targets)
    mask = (lambda inputs: inputs.amax(1) > 0) if masked else None
    return Problem(split, split, split, lambda inputs: inputs.float() - 0.5, mask), split


def solved(net, problem, split):
    """Make thoughts come to rest, and train the head until some samples are right, and others not yet."""
    for weight in net.recur.parameters():
        weight.data *= 0.5
    optimiser = torch.optim.Adam(net.head.parameters(), lr=0.02)
    x, t = problem.encode(split.inputs), split.targets.long()
    for _ in range(40):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(net(x, 4)[0], t).backward()
        optimiser.step()
    net.eval()


@pytest.mark.parametrize("masked", [False, True])
def test_modes_against_all_readouts_at_once(masked):
    torch.manual_seed(0)
    net = create("dt_net_recall_1d", width=16)
    problem, split = problem_of("mazes" if masked else "prefix_sums", masked=masked)
    solved(net, problem, split)
    name = "mazes" if masked else "prefix_sums"
    outputs = net(problem.encode(split.inputs), 6).detach()  # (b, k, 2, n)
    mask = problem.mask(split.inputs) if masked else torch.ones(7, 9, dtype=torch.bool)
    predicted = outputs.argmax(2).bool() & mask[:, None]
    hits = (predicted == split.targets[:, None].bool()).all(2).double()  # (b, k)
    sure = (outputs.softmax(2).amax(2) * mask[:, None]).sum(2)

    for size in (2, 7):

        def found(mode, iterations, size=size):
            return evaluate(net, name, problem, split, mode, iterations, size)

        assert found("default", [2, 4, 6]) == pytest.approx({k: float(hits[:, k - 1].mean()) * 100 for k in (2, 4, 6)})
        expected = {}
        for k in (3, 6):
            last = k - 1 - sure[:, :k].flip(1).argmax(1)
            expected[k] = float(hits.gather(1, last[:, None]).mean()) * 100
        assert found("max_conf", [3, 6]) == pytest.approx(expected)
        if not masked:
            bits = (predicted == split.targets[:, None].bool()).double().mean(0) * 100
            assert found("bit_wise", [2, 5]) == {5: pytest.approx(bits[4].tolist())}
            per = found("bit_wise_per_iter", [3])
            assert per == {k: pytest.approx(bits[k - 1].tolist()) for k in (1, 2, 3)}
    assert 0 < float(hits.mean()) < 1


def test_convergence_stops_each_sample_when_it_hardly_changes():
    torch.manual_seed(0)
    net = create("dt_net_recall_1d", width=16)
    problem, split = problem_of("prefix_sums")
    solved(net, problem, split)
    outputs = net(problem.encode(split.inputs), 40).detach()
    sure = outputs.softmax(2)[:, :, 1]
    still = (sure[:, 1:] - sure[:, :-1]).abs().mean(2) <= TOLERANCE  # (b, k - 1)
    stops = torch.where(still.any(1), still.double().argmax(1) + 1, -1)
    right_there = [
        at >= 0 and bool((outputs[i, at].argmax(0).bool() == split.targets[i].bool()).all())
        for i, at in enumerate(stops.tolist())
    ]
    used = int(stops.max()) + 1 if bool((stops >= 0).all()) else 40
    for size in (3, 7):
        found = evaluate(net, "prefix_sums", problem, split, "convergence", [40], size)
        assert found == {used: pytest.approx(100 * sum(right_there) / 7)}
    assert used < 40
    assert len(set(stops.tolist())) > 1
    never = evaluate(net, "prefix_sums", problem, split, "convergence", [1], 7)
    assert never == {1: 0}


def test_memory_does_not_grow_with_iterations():
    net = create("dt_net_1d", width=4).eval()
    problem, split = problem_of("prefix_sums", count=2)
    looked = []
    read = net.readout

    def readout(thought):
        looked.append(thought.shape)
        return read(thought)

    net.readout = readout
    result = evaluate(net, "prefix_sums", problem, split, "default", list(range(300, 1001, 100)), 2)
    assert sorted(result) == list(range(300, 1001, 100))
    assert len(looked) == 8  # nothing is read that nobody asked for, and one thought is there at a time
