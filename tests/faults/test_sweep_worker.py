"""A worker killed at any of its calls on the study's files: nothing is lost, nothing twice, the same numbers."""

from __future__ import annotations

import pytest

from tests.faults.forked import ForkCluster, copy, noisy, repair, sample, stacked, train
from tests.faults.inject import Mortal
from tests.faults.proof import proven, rows

KINDS = {"ordinary code": noisy, "lanes": stacked}
HOWS = ["before", "after", "torn", "lost"]


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory):
    """A study that was submitted, the series it should have, and the number of calls that takes."""
    import orchestrator.lanes.lanes  # noqa: F401  (once, for all workers that are forked from here)

    publish, folder = KINDS[request.param], tmp_path_factory.mktemp("whole")
    study = publish(folder, tasks=[[0, 1]] if request.param == "ordinary code" else None)
    calm = copy(study, folder / "calm")
    ForkCluster("fake").adopt(calm)
    ended = train(calm, "1-0", fault=Mortal(calm.path, 0, "before"))
    assert ended.status == 0
    proven(calm)
    return study, rows(calm), ended.calls


@pytest.mark.parametrize("how", HOWS)
def test_killed_at_any_call_it_goes_on_to_the_same_numbers(whole, tmp_path, how):
    study, expected, calls = whole
    assert calls > 50
    for k in sample(calls, 12):
        hurt, cluster = copy(study, tmp_path / str(k)), ForkCluster("fake")
        job = cluster.adopt(hurt)
        train(hurt, "1-0", fault=Mortal(hurt.path, k, how))
        cluster.states[job] = "gone"
        repair(hurt, cluster)
        proven(hurt, expected)


def test_killed_again_and_again_it_still_arrives(whole, tmp_path):
    """Each incarnation dies a little later than it takes to get a little further."""
    study, expected, calls = whole
    hurt = copy(study, tmp_path)
    ForkCluster("fake").adopt(hurt)
    for k in range(60):
        if train(hurt, "1-0", fault=Mortal(hurt.path, calls // 3 + 13 * (k % 5), "before")).status == 0:
            break
    assert len(hurt.incarnations("1-0")) > 2
    proven(hurt, expected)


def test_repacked_while_it_goes_on(whole, tmp_path):
    """Its runs go on apart, and then together again with others."""
    study, expected, calls = whole
    hurt, cluster = copy(study, tmp_path), ForkCluster("fake")
    job = cluster.adopt(hurt)
    train(hurt, "1-0", fault=Mortal(hurt.path, calls // 2, "after"))
    cluster.states[job] = "gone"
    generation = hurt.generation()
    info = dict(generation.info, resources={**generation.info["resources"], "lanes": 1})
    del info["points"]
    hurt.publish_generation("study: toy # apart\n", info, generation.points)
    repair(hurt, cluster)
    proven(hurt, expected)
    assert [spec.count for spec in hurt.submission(2).tasks] == [1] * len(hurt.submission(2).tasks)
