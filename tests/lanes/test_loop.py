"""What the loop tells the recorder, and when: log points, checkpoints, verdicts, orders, fewer lanes."""

import numpy as np
import pytest

from orchestrator.errors import UserError
from orchestrator.experiment import StopWhen
from orchestrator.lanes import loop, train
from orchestrator.lanes.testing import MemoryRecorder
from orchestrator.recorder import Orders, Snapshot
from tests.lanes.toy import TOY, Toy

EAGER = {"kind": "eager", "device": "cpu"}


def trained(params, orders=lambda _: Orders(), restored=None):
    recorder = MemoryRecorder(orders)
    train(TOY, params, recorder, engine=EAGER, restored=restored)
    return recorder


def rows(recorder, lane, tag):
    steps, values = recorder.series(lane)
    return list(zip(steps.tolist(), values[:, recorder.tags.index(tag)].tolist(), strict=True))


def test_metrics_come_before_the_update_of_their_step_and_the_last_step_is_made():
    recorder = trained([Toy(rate=1), Toy(rate=2)])
    assert rows(recorder, 0, "w") == [(0, 0), (5, 5), (10, 10)]
    assert rows(recorder, 1, "w") == [(0, 0), (5, 10), (10, 20)]
    assert rows(recorder, 1, "grown") == [(0, 2), (5, 12), (10, 22)]
    assert rows(recorder, 1, "drawn") == rows(recorder, 1, "step") == [(0, 0), (5, 5), (10, 10)]
    assert recorder.verdicts == {0: ("done", 10), 1: ("done", 10)}
    assert recorder.checkpoints == []


@pytest.mark.parametrize(("last", "logged"), [(4, [0]), (5, [0, 5]), (7, [0, 5]), (0, [0])])
def test_the_number_of_rows(last, logged):
    recorder = trained([Toy(max_iterations=last)])
    assert [step for step, _ in rows(recorder, 0, "w")] == logged
    assert recorder.verdicts == {0: ("done", last)}


def test_a_lane_that_diverges_is_reported_at_the_next_log_point_with_its_step():
    recorder = trained([Toy(), Toy(explodes_at=3), Toy(explodes_at=5), Toy(explodes_at=10), Toy(explodes_at=11)])
    assert recorder.verdicts == {
        0: ("done", 10),
        1: ("diverged", 3),
        2: ("diverged", 5),
        3: ("diverged", 10),
        4: ("done", 10),
    }
    assert [step for step, _ in rows(recorder, 1, "w")] == [0]
    assert [step for step, _ in rows(recorder, 2, "w")] == [0, 5]
    assert rows(recorder, 3, "w") == rows(recorder, 0, "w")


def test_a_checkpoint_holds_the_state_before_the_update_of_its_step():
    recorder = trained([Toy(), Toy(rate=2)], lambda n: Orders(checkpoint=n == 1))
    ((lanes, snapshot),) = recorder.checkpoints
    assert lanes.tolist() == [0, 1]
    assert snapshot.steps.tolist() == [5, 5]
    arrays = {name: array.tolist() for name, array in snapshot.arrays.items()}
    assert arrays == {"w": [5, 10], "drawn": [[5, 5], [5, 5]]}


def test_stop_writes_a_checkpoint_and_leaves():
    recorder = trained([Toy(), Toy(explodes_at=3)], lambda n: Orders(stop=n == 1))
    ((lanes, snapshot),) = recorder.checkpoints
    assert (lanes.tolist(), snapshot.steps.tolist()) == ([0], [5])
    assert recorder.verdicts == {1: ("diverged", 3)}
    assert [step for step, _ in rows(recorder, 0, "w")] == [0, 5]


def test_restored_lanes_go_on_beside_new_ones_and_do_not_log_twice():
    first = trained([Toy(rate=3), Toy(rate=2)], lambda n: Orders(stop=n == 1))
    ((_, snapshot),) = first.checkpoints
    recorder = trained([Toy(rate=1), Toy(rate=2)], restored=(np.array([1]), snapshot.select([1])))
    assert rows(recorder, 0, "w") == [(0, 0), (5, 5), (10, 10)]
    assert rows(recorder, 1, "w") == [(10, 20)]
    assert recorder.verdicts == {0: ("done", 10), 1: ("done", 10)}


def test_a_snapshot_of_another_state_is_refused():
    first = trained([Toy()], lambda n: Orders(stop=n == 1))
    ((_, snapshot),) = first.checkpoints
    renamed = Snapshot(snapshot.steps, {"v": snapshot.arrays["w"]})
    with pytest.raises(ValueError, match="the snapshot holds"):
        trained([Toy()], restored=(np.array([0]), renamed))


def test_cancelled_lanes_say_nothing_more():
    recorder = trained([Toy(), Toy(), Toy()], lambda n: Orders(cancelled=frozenset({1})) if n == 1 else Orders())
    assert [step for step, _ in rows(recorder, 1, "w")] == [0, 5]
    assert set(recorder.verdicts) == {0, 2}


def test_lanes_that_are_cancelled_while_they_wait_never_start(monkeypatch):
    monkeypatch.setitem(loop.WIDEST, "eager", 64)
    params = [Toy() for _ in range(70)]
    recorder = trained(params, lambda n: Orders(cancelled=frozenset({3, 69})) if n == 0 else Orders())
    assert set(recorder.verdicts) == set(range(70)) - {3, 69}
    assert 69 not in recorder.rows


def test_when_all_are_cancelled_the_loop_ends():
    recorder = trained([Toy()], lambda n: Orders(cancelled=frozenset({0})))
    assert (recorder.verdicts, recorder.log_points) == ({}, 1)


def test_many_lanes_train_in_equal_stacks_one_after_another(monkeypatch):
    assert loop.pack(225, "compiled") == (75, 80)
    assert loop.pack(1000, "eager") == (250, 256)
    assert loop.pack(1, "compiled") == (1, 16)
    monkeypatch.setitem(loop.WIDEST, "eager", 64)
    first = trained([Toy(rate=lane) for lane in range(150)], lambda n: Orders(stop=n == 6))
    assert {lane: outcome for lane, (outcome, _) in first.verdicts.items()} == dict.fromkeys(range(50), "done")
    ((lanes, snapshot),) = first.checkpoints
    assert lanes.tolist() == list(range(50, 100))
    rest = trained([Toy(rate=lane) for lane in range(150)], restored=(lanes, snapshot))
    assert 60 not in rest.rows  # all its rows were there before
    assert rows(rest, 120, "w") == [(0, 0), (5, 600), (10, 1200)]
    assert len(rest.verdicts) == 150


def test_waiting_lanes_take_the_places_of_lost_ones(monkeypatch):
    monkeypatch.setitem(loop.WIDEST, "eager", 64)
    monkeypatch.setitem(loop.REPACKING_COST, "eager", 0)
    params = [Toy(rate=lane, explodes_at=3 if lane < 40 else -1) for lane in range(128)]
    recorder = trained(params)
    assert {lane for lane, (outcome, _) in recorder.verdicts.items() if outcome == "diverged"} == set(range(40))
    assert all(rows(recorder, lane, "w") == [(0, 0), (5, 5 * lane), (10, 10 * lane)] for lane in range(40, 128))
    assert recorder.log_points < 10  # 24 survivors and 40 of those that waited, then 24 more: not 64 and 64


def test_fewer_lanes_go_on_in_a_smaller_stack(monkeypatch):
    monkeypatch.setitem(loop.REPACKING_COST, "eager", 0)
    widths = []
    stack = loop.Stack
    monkeypatch.setattr(loop, "Stack", lambda *given: widths.append(given[1]) or stack(*given))
    explodes = {lane: 3 for lane in range(200) if lane % 7}
    params = [Toy(rate=lane, explodes_at=explodes.get(lane, -1)) for lane in range(200)]
    recorder = trained(params, lambda n: Orders(checkpoint=n == 2))
    assert widths == [256, 64]
    for lane in range(200):
        assert recorder.verdicts[lane] == (("diverged", 3) if lane in explodes else ("done", 10))
        assert rows(recorder, lane, "w")[-1] == ((0, 0) if lane in explodes else (10, 10 * lane))
    ((lanes, snapshot),) = recorder.checkpoints
    assert lanes.tolist() == [lane for lane in range(200) if lane not in explodes]
    assert set(snapshot.steps.tolist()) == {5}  # the second log point of the process is the same step, repacked


def test_what_is_logged_can_be_noted_before_the_update_and_across_a_restart():
    def grown(recorder):
        return rows(recorder, 0, "grown")

    whole = trained([Toy(notes=True), Toy(notes=True, rate=2)])
    assert grown(whole) == [(0, 1), (5, 506), (10, 1011)]
    assert rows(whole, 1, "grown") == [(0, 2), (5, 1012), (10, 2022)]
    first = trained([Toy(notes=True)], lambda n: Orders(stop=n == 1))
    ((_, snapshot),) = first.checkpoints
    assert snapshot.arrays["noted"].tolist() == [500]
    rest = trained([Toy(notes=True)], restored=(np.array([0]), snapshot))
    assert grown(first) + grown(rest) == grown(whole)


def stopping(tag="w", **bounds):
    return StopWhen(tag=tag, **bounds)


def test_a_lane_that_meets_its_stop_when_ends_with_that_row_and_the_others_go_on():
    rules = [
        (1, stopping(above=9.5)),
        (2, stopping(above=9.5)),
        (1, stopping(above=4.5, after=6)),
        (1, stopping(below=-1)),
        (-3, stopping(below=-1, above=100)),
        (1, stopping(above=5)),
    ]
    recorder = trained([Toy(rate=rate, stop_when=rule) for rate, rule in rules])
    outcomes = [recorder.verdicts[lane] for lane in range(6)]
    assert [step for outcome, step in outcomes if outcome == "stopped"] == [10, 5, 10, 5, 10]
    assert outcomes[3] == ("done", 10)
    assert rows(recorder, 1, "w") == [(0, 0), (5, 10)]
    assert rows(recorder, 3, "w") == [(0, 0), (5, 5), (10, 10)]


def test_a_value_that_is_no_number_stops_nothing_and_divergence_comes_first():
    nan = [Toy(rate=1.0, explodes_at=3, stop_when=stopping("grown", above=5)), Toy(stop_when=stopping(above=5e9))]
    assert trained(nan).verdicts == {0: ("diverged", 3), 1: ("done", 10)}


@pytest.mark.parametrize("interrupted", [0, 1, 2])
def test_a_run_stops_at_the_same_step_however_it_was_interrupted(interrupted):
    params = [Toy(rate=rate, max_iterations=20, stop_when=stopping(above=11)) for rate in (1, 2, 0.1)]
    whole = trained(params)
    first = trained(params, lambda n: Orders(stop=n == interrupted))
    ((lanes, snapshot),) = first.checkpoints
    rest = trained([params[lane] for lane in lanes], restored=(np.arange(len(lanes)), snapshot))
    left = dict(enumerate(lanes.tolist()))
    assert first.verdicts | {left[lane]: verdict for lane, verdict in rest.verdicts.items()} == whole.verdicts
    assert whole.verdicts == {0: ("stopped", 15), 1: ("stopped", 10), 2: ("done", 20)}
    ends = {left[lane]: rows(rest, lane, "w") for lane in rest.rows}
    for lane in range(3):
        assert rows(first, lane, "w") + ends.get(lane, []) == rows(whole, lane, "w")


def test_a_tag_that_nobody_logs_is_named():
    with pytest.raises(UserError, match=r"stop_when.tag is 'grow', .* the tags are w, drawn, step, grown\. .*'grown'"):
        trained([Toy(stop_when=stopping("grow", below=1))])


def test_a_bound_is_needed():
    with pytest.raises(ValueError, match="no bound"):
        stopping()
