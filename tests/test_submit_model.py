"""A study against a model: any order of planning, submitting, growing, cancelling, retrying, working and crashing."""

from __future__ import annotations

import contextlib
import shutil
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.cancel import cancel
from orchestrator.states import RUN_STATES
from orchestrator.study import atomic
from orchestrator.study.study import Study
from orchestrator.submit import Request, prepare, submit
from tests.study.studies import ids, make_points, make_wanted, save, start
from tests.test_submit import Crash, Mortal, MortalCluster

MOST = 12
RETRIES = 10**6


class StudyMachine(RuleBasedStateMachine):
    """The model knows three sets: runs with a verdict that counts, runs that failed for good, runs that are cancelled.

    What is in none of them is somebody's after each submission, and is never lost in between.
    """

    @initialize()
    def begin(self):
        self.folder = tempfile.mkdtemp()
        self.real = atomic.os
        self.heal()
        self.study = Study.create(self.folder, "s")
        self.seeds = 0
        self.done, self.failed, self.cancelled = set(), set(), set()
        self.at_work = []  # incarnations that were begun and did not end: some of them are copies cut off

    def teardown(self):
        if hasattr(self, "folder"):
            atomic.os = self.real
            shutil.rmtree(self.folder)

    def heal(self):
        atomic.os = Mortal(0, after=False)
        if not hasattr(self, "cluster"):
            self.cluster = MortalCluster(max_array=2)
        self.cluster.mortal = atomic.os

    def wanted(self):
        return make_wanted(
            make_points(self.seeds), text=f"x: {self.seeds}", resources={"lanes": 3, "retries": RETRIES, "memory": "1G"}
        )

    def go(self, **request):
        submit(self.study, self.wanted(), self.cluster, Request(**request), clusters=self.cluster, argv=())
        if request.get("uncancel", True):
            self.failed -= self.cancelled & self.desired()  # they are taken up again
            self.cancelled -= self.desired()
        if request.get("retry"):
            self.failed &= self.cancelled
        left = {run: state for run, state in self.states().items() if state not in ("done", "failed", "cancelled")}
        assert set(left.values()) <= {"live"}  # somebody has every run that is to be trained

    def desired(self):
        return set(ids(make_points(self.seeds)))

    def states(self):
        """Observe: the state of each run, as every command sees it."""
        history = self.study.history()
        alive = self.study.alive(history, self.cluster.poll(self.study.jobs()))
        return {run: history.state(run, alive, RETRIES) for run in self.desired()}

    def entitled(self, work):
        """Return the lanes that a process at work goes on with once it has looked at the chain."""
        gone = self.study.superseded(work, work.task.runs)
        failed = {lane for lane, log in enumerate(self.study.incarnations(work.task.name)[-1].failures) if log}
        return sorted(set(range(len(work.task.runs))) - gone - failed)

    # --- what people do ---

    @rule(more=st.integers(1, 4))
    def grow(self, more):
        self.seeds = min(MOST, self.seeds + more)
        self.go()

    @precondition(lambda self: self.seeds > 1)
    @rule()
    def prune(self):
        self.seeds -= 1
        self.go(shrink="prune")

    @precondition(lambda self: self.seeds)
    @rule(at=st.integers(1, 60), after=st.booleans(), more=st.integers(0, 2))
    def submit_is_killed(self, at, after, more):
        self.seeds = min(MOST, self.seeds + more)
        self.cluster.mortal = atomic.os = Mortal(at, after=after)
        with contextlib.suppress(Crash):
            self.go()
        self.heal()
        self.study = Study.open(self.study.path)
        self.go()

    @precondition(lambda self: self.seeds)
    @rule()
    def plan(self):
        """A plan writes nothing, and puts every run where the model has it."""
        before = sorted(self.study.path.rglob("*"))
        planned = prepare(self.study, self.wanted(), self.cluster, Request(uncancel=False), self.cluster)
        assert sorted(self.study.path.rglob("*")) == before
        runs = ids(make_points(self.seeds))
        kept = {runs[position] for position in planned.keep}
        assert {runs[position] for position in planned.cancelled} == (self.cancelled & set(runs)) - kept
        assert {runs[position] for position in planned.failed} == (self.failed & set(runs)) - self.cancelled - kept
        assert planned.total == len(runs)

    @precondition(lambda self: self.failed)
    @rule()
    def retry(self):
        self.go(retry="all", uncancel=False)

    @precondition(lambda self: self.seeds)
    @rule(which=st.one_of(st.just("all"), st.sets(st.integers(0, MOST - 1), min_size=1)))
    def cancel(self, which):
        runs = ids(make_points(MOST))
        chosen = which if which == "all" else [runs[i] for i in which]
        cancel(self.study, chosen, self.cluster, ())
        known = self.study.history().runs.keys() | self.desired()
        self.cancelled |= {run for run in (known if which == "all" else chosen) if run not in self.verdicts()}

    def verdicts(self):
        return {run for run, record in self.study.history().runs.items() if record.outcome is not None}

    # --- what jobs do ---

    def waiting_jobs(self):
        return [job for job, state in self.cluster.states.items() if state == "pending"]

    @precondition(lambda self: self.waiting_jobs())
    @rule(data=st.data())
    def a_job_begins(self, data):
        job_id = data.draw(st.sampled_from(self.waiting_jobs()))
        n, array = self.cluster.jobs[job_id]
        if not self.study.take(n, array, job_id):
            self.cluster.states[job_id] = "gone"
            return
        self.cluster.states[job_id] = "running"
        entry = self.study.submission(n)
        for spec in entry.tasks[slice(*entry.arrays[array])]:
            self.at_work.append((job_id, start(self.study, spec.name)))

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), step=st.integers(1, 99))
    def a_task_saves(self, data, step):
        _, work = data.draw(st.sampled_from(self.at_work))
        lanes = self.entitled(work)
        if lanes:
            save(work, step, lanes)

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def a_run_fails(self, data):
        """Its own code is wrong: nothing is done about it until somebody asks."""
        _, work = data.draw(st.sampled_from(self.at_work))
        lanes = [lane for lane in self.entitled(work) if work.task.runs[lane] not in self.verdicts()]
        if lanes:
            lane = data.draw(st.sampled_from(lanes))
            work.write("failed", lanes=[lane], message="no", signature="no", **{"class": "user error"})
            self.failed.add(work.task.runs[lane])

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), blind=st.booleans())
    def a_task_ends(self, data, blind):
        """A blind one does not look at the chain: a copy on a node that was cut off."""
        job_id, work = data.draw(st.sampled_from(self.at_work))
        self.at_work.remove((job_id, work))
        entitled = self.entitled(work)
        own = {lane for lane, log in enumerate(self.study.incarnations(work.task.name)[-1].failures) if log}
        lanes = [lane for lane in range(len(work.task.runs)) if lane in entitled or (blind and lane not in own)]
        work.write("verdict", lanes=lanes, outcome="done", steps=100)
        work.write("end", reason="finished")

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), reason=st.sampled_from([None, "timeout", "interrupted"]))
    def a_job_dies(self, data, reason):
        """Its processes are gone, or one of them lives on unseen."""
        job_id, work = data.draw(st.sampled_from(self.at_work))
        self.cluster.states[job_id] = "gone"
        if reason is not None:
            work.write("end", reason=reason)
            self.at_work.remove((job_id, work))

    # --- what must hold ---

    @invariant()
    def the_parts_add_up_to_the_model(self):
        if not hasattr(self, "study"):
            return
        history = self.study.history()
        assert not history.damaged
        states = self.states()
        assert set(states.values()) <= set(RUN_STATES)
        done = {run for run, state in states.items() if state == "done"}
        assert done == self.verdicts() & self.desired()
        for name, model in (("cancelled", self.cancelled), ("failed", self.failed - self.cancelled)):
            assert {run for run, state in states.items() if state == name} == (model & self.desired()) - done

    @invariant()
    def what_is_done_stays_done(self):
        if not hasattr(self, "study"):
            return
        now = {run for run, record in self.study.history().runs.items() if record.outcome is not None}
        assert self.done <= now
        self.done = now

    @invariant()
    def a_run_has_one_owner(self):
        """Among the processes at work, at most one would go on with a run after it looked at the chain."""
        if not hasattr(self, "study"):
            return
        would: dict[bytes, str] = {}
        for _, work in self.at_work:
            gone = self.study.superseded(work, work.task.runs)
            for lane, run in enumerate(work.task.runs):
                if lane not in gone:
                    assert would.setdefault(run, work.task.name) == work.task.name

    @precondition(lambda self: self.seeds)
    @rule()
    def in_the_end_all_is_done(self):
        self.retry()
        for _ in range(100):
            self.go()
            for job_id in [job for job, state in self.cluster.states.items() if state != "gone"]:
                if self.cluster.states[job_id] == "running":
                    self.cluster.states[job_id] = "gone"
                else:
                    self.cluster.work(self.study, job_id)
            self.at_work = []
            runs = ids(make_points(self.seeds))
            if self.study.history().counts(runs, ())["done"] == len(runs):
                return
        raise AssertionError("it never ends")


StudyMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestStudy = StudyMachine.TestCase
