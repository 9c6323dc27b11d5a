"""A worker killed at any of its calls on the study's files: nothing is lost, nothing twice, the same numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator import submit
from orchestrator.study.study import Study
from tests.faults.forked import ForkCluster, copy, noisy, repair, sample, stacked, train
from tests.faults.inject import Mortal
from tests.faults.proof import curves, proven, rows, written
from tests.worker.helpers import work

KINDS = {"ordinary code": noisy, "lanes": stacked}
HOWS = ["before", "after", "torn", "lost"]


@pytest.fixture(scope="module", params=KINDS)
def whole(request, tmp_path_factory):
    """A study that was submitted; its series, how many calls they take, its curves and the number of its events."""
    import orchestrator.lanes.lanes  # noqa: F401  (once, for all workers that are forked from here)

    publish, folder = KINDS[request.param], tmp_path_factory.mktemp("whole")
    study = publish(folder, tasks=[[0, 1]] if request.param == "ordinary code" else None)
    calm = copy(study, folder / "calm")
    ForkCluster("fake").adopt(calm)
    ended = train(calm, "1-0", fault=Mortal(calm.path, 0, "before"))
    assert ended.status == 0
    proven(calm)
    return study, rows(calm), ended.calls, curves(calm), written(calm)


def repacked(study, cluster, lanes):
    """Submit again, with so many lanes in a task."""
    fresh = Study(study.path)
    wanted = submit.again(fresh, frozen=True)
    info = {**wanted.info, "resources": {**wanted.info["resources"], "lanes": lanes}}
    submit.submit(fresh, replace(wanted, info=info), cluster, clusters=cluster, argv=())


@pytest.mark.parametrize("how", HOWS)
def test_killed_at_any_call_it_goes_on_to_the_same_numbers(whole, tmp_path, how):
    study, expected, calls, shown, count = whole
    orphans = 0
    assert calls > 50
    for k in sample(calls, 12):
        hurt, cluster = copy(study, tmp_path / str(k)), ForkCluster("fake")
        job = cluster.adopt(hurt)
        train(hurt, "1-0", fault=Mortal(hurt.path, k, how))
        cluster.states[job] = "gone"
        repair(hurt, cluster)
        proven(hurt, expected)
        assert curves(hurt) == shown  # one clean curve in TensorBoard, too
        orphans += written(hurt) - count
    assert orphans > 0  # although steps were written that nothing covers


def test_killed_again_and_again_it_still_arrives(whole, tmp_path):
    """Each incarnation dies a little later than it takes to get a little further."""
    study, expected, calls, *_ = whole
    hurt = copy(study, tmp_path)
    ForkCluster("fake").adopt(hurt)
    for k in range(60):
        if train(hurt, "1-0", fault=Mortal(hurt.path, calls // 3 + 13 * (k % 5), "before")).status == 0:
            break
    assert len(hurt.incarnations("1-0")) > 2
    proven(hurt, expected)


def test_repacked_while_it_goes_on(whole, tmp_path):
    """Its runs go on apart, in smaller tasks."""
    study, expected, calls, *_ = whole
    hurt, cluster = copy(study, tmp_path), ForkCluster("fake")
    job = cluster.adopt(hurt)
    train(hurt, "1-0", fault=Mortal(hurt.path, calls // 2, "after"))
    cluster.states[job] = "gone"
    repacked(hurt, cluster, 1)
    repair(hurt, cluster)
    proven(hurt, expected)
    assert [spec.count for spec in hurt.submission(2).tasks] == [1] * len(hurt.submission(2).tasks)


@pytest.mark.parametrize("kind", KINDS)
def test_begun_apart_they_go_on_together(kind, tmp_path, tmp_path_factory):
    """Each was killed somewhere else, and one never began: in one larger task all arrive where each alone would."""
    calm = KINDS[kind](tmp_path_factory.mktemp("calm"), 4, tasks=[[0], [1], [2], [3]])
    hurt, cluster = copy(calm, tmp_path), ForkCluster("fake")
    ForkCluster("fake").adopt(calm)
    assert [train(calm, f"1-{index}").status for index in range(4)] == [0] * 4
    proven(calm)
    job = cluster.adopt(hurt)
    for index, k in enumerate((60, 120, 160)):
        assert train(hurt, f"1-{index}", fault=Mortal(hurt.path, k, "before")).status < 0
    cluster.states[job] = "gone"
    repacked(hurt, cluster, 8)
    repair(hurt, cluster)
    proven(hurt, rows(calm))
    assert [spec.count for spec in hurt.submission(2).tasks] == [4]
    begun = hurt.incarnations("2-0")[0].begun
    assert len(set(begun)) > 2  # at other steps, every one


def test_another_process_with_more_threads_goes_on(tmp_path):
    """An interpreter of its own, on a machine that lets it use more cores."""
    calm = stacked(tmp_path / "calm", 3)
    hurt = copy(calm, tmp_path)
    assert calm.take(1, 0, "job")
    assert hurt.take(1, 0, "job")
    assert train(calm, "1-0", "job").status == 0
    train(hurt, "1-0", "job", Mortal(hurt.path, 170, "after"))
    assert work(hurt, "1-0", OMP_NUM_THREADS="4", MKL_NUM_THREADS="4") == 0
    assert hurt.incarnations("1-0")[1].begun[0] > 0
    proven(hurt, rows(calm))
