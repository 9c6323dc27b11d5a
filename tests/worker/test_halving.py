"""Culprits are found, and nobody else is blamed."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.worker.failures import Failure, sentence
from orchestrator.worker.halving import train_in_halves


class Stack:
    """Trains in memory: a group fails if it holds a culprit, or more lanes than fit."""

    def __init__(self, culprits=(), room=None, kind="user error", messages=None):
        self.culprits, self.room, self.kind = set(culprits), room, kind
        self.messages = messages or {}
        self.trained, self.blamed, self.tried = set(), {}, []

    def attempt(self, lanes):
        self.tried.append(list(lanes))
        if self.room is not None and len(lanes) > self.room:
            return sentence("oom", f"{len(lanes)} lanes do not fit")
        bad = sorted(self.culprits.intersection(lanes))
        if bad:
            return Failure(self.kind, self.messages.get(bad[0], "bad"), self.messages.get(bad[0], "bad"))
        self.trained.update(lanes)
        return None

    def left(self, lanes):
        return [lane for lane in lanes if lane not in self.trained and lane not in self.blamed]

    def blame(self, lanes, failure):
        for lane in lanes:
            assert lane not in self.blamed
            self.blamed[lane] = failure

    def run(self, count):
        train_in_halves(list(range(count)), self.attempt, self.left, self.blame)
        assert self.trained | self.blamed.keys() == set(range(count))
        assert not self.trained & self.blamed.keys()


@given(st.integers(1, 60), st.data())
def test_one_culprit_stands_alone(count, data):
    culprit = data.draw(st.integers(0, count - 1))
    stack = Stack({culprit})
    stack.run(count)
    assert set(stack.blamed) == {culprit}
    assert len(stack.tried) <= 1 + 2 * count.bit_length()


@given(st.integers(1, 40), st.sets(st.integers(0, 39)))
def test_culprits_with_mistakes_of_their_own_are_all_found(count, culprits):
    culprits = {lane for lane in culprits if lane < count}
    stack = Stack(culprits, messages={lane: f"mistake {chr(97 + lane)}" for lane in culprits})
    stack.run(count)
    assert set(stack.blamed) == culprits


@given(st.integers(2, 100))
def test_what_all_have_is_one_mistake_and_found_soon(count):
    stack = Stack(range(count))
    stack.run(count)
    assert len(stack.tried) == 3
    assert {failure.kind for failure in stack.blamed.values()} == {"user error"}


@given(st.integers(1, 100), st.integers(0, 20))
def test_where_memory_runs_out_smaller_groups_are_tried(count, room):
    stack = Stack(room=room)
    stack.run(count)
    assert set(stack.blamed) == (set(range(count)) if room == 0 else set())


def test_a_machine_without_an_engine_is_nobodys_fault():
    stack = Stack({3}, kind="engine")
    stack.run(10)
    assert set(stack.blamed) == set(range(10))
    assert len(stack.tried) == 1


def test_numbers_do_not_tell_mistakes_apart():
    one = sentence("user error", "shapes [112, 3] and [113, 3.5e-4] at 0x7f12 differ")
    other = sentence("user error", "shapes [56, 3] and [57, 2.25] at 0xffff differ")
    assert one.alike(other)
    assert not one.alike(sentence("user error", "something else"))
