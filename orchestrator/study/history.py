"""The fold: from the chain and all journals to what is known of each run. Pure; nothing is read from the disk here.

What counts is decided by order alone. Submissions are folded in the order of the chain and incarnations in the order of
their numbers. A later attempt's ``restored`` record cuts everything before it: an earlier verdict, failure or
checkpoint beyond the restored step counts no more. Until a successor has recorded what it restored, what its
predecessor wrote still counts, for the successor will begin from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator import policy
from orchestrator.states import RUN_STATES, FailureClass, RunState, failure_of
from orchestrator.study.journal import IncarnationLog
from orchestrator.study.records import Damage, Submission
from orchestrator.study.spans import Span, from_spans

NEVER = -1
"""The step of a run that has none."""


@dataclass(slots=True)
class RunRecord:
    """What the study knows of one run.

    Parameters
    ----------
    n, task, k
        The owner: the highest submission that names the run, its task there, and that task's last incarnation
        (0: none began).
    lane, width
        The run's index in that task, and the number of the task's runs.
    outcome
        The verdict that counts, or None.
    failure, message, signature
        The class of the last failure that counts, and what was said; None where there is none.
    step
        The last step known; -1 for none.
    saved
        The step of the newest checkpoint that counts; -1 for none.
    begun
        The step that the last attempt began from; it got further if ``saved`` is beyond.
    charged
        Whether an end without a word of the owner's last incarnation counts against the run: not if that began other
        runs of the task and never came to this one.
    attempts
        How many incarnations began to train it.
    used
        Failures by class since the budget last started anew.
    code
        Digest of the experiment's sources of the last attempt, which is the verdict's where there is one.
    engine
        The engine's record of the last attempt.
    open
        Whether the owner began and has not said that it ended.
    cancelled
        Whether a cancel order stands.
    probed
        Whether the last attempt was a probe that has seen enough: a later submission goes on.
    ordered
        How a later submission is to train it again, whatever there is: ``"rerun"`` from nothing, ``"reset"`` with a
        new budget. None: nobody asked for that, or it has been submitted since.
    """

    n: int = 0
    task: str = ""
    k: int = 0
    lane: int = 0
    width: int = 0
    outcome: str | None = None
    failure: FailureClass | None = None
    message: str = ""
    signature: str = ""
    step: int = NEVER
    saved: int = NEVER
    begun: int = NEVER
    charged: bool = True
    attempts: int = 0
    used: dict[str, int] = field(default_factory=dict)
    code: str = ""
    engine: Mapping[str, Any] = field(default_factory=dict)
    open: bool = False
    cancelled: bool = False
    probed: bool = False
    ordered: Literal["rerun", "reset"] | None = None

    @property
    def unfinished(self) -> bool:
        """Whether there is anything to cancel: it has no verdict, or it is to be trained again."""
        return self.ordered is not None or not (self.outcome or self.cancelled)

    @property
    def owned(self) -> bool:
        """Whether its task is the one that has to train it."""
        return self.outcome is None and not self.cancelled and self.ordered is None

    def counting(self, failure: FailureClass) -> dict[str, int]:
        """Return ``used`` with one failure more; an attempt that got further clears the transient ones first."""
        got_further = self.saved > self.begun
        used = {name: times for name, times in self.used.items() if not (got_further and name in policy.TRANSIENT)}
        used[failure] = used.get(failure, 0) + 1
        return used


@dataclass
class History:
    """What the study knows, run by run.

    Parameters
    ----------
    runs
        Raw id to record, for every run that an entry of the chain names.
    damaged
        What could not be read.
    unread
        Journals among that of which not a line could be read although they are there: what they say is not known, and
        whoever plans as if they said nothing trains again what is done.
    last
        The highest number of the chain; the next entry is ``last + 1``.
    generation
        The newest complete generation of the grid (0: none).
    asked
        Raw ids of that generation's points, end to end.
    ended
        Names of the tasks whose last incarnation said that it ended for good.
    unhanded
        Names of the tasks that no scheduler has got yet: the next ``orch submit`` hands them over.
    bad_nodes
        Names of the machines that failed under a task, by the scheduler's word, and that later attempts keep away from
        (:func:`orchestrator.policy.avoided`); the last to fail is the last.
    """

    runs: dict[bytes, RunRecord] = field(default_factory=dict)
    damaged: list[Damage] = field(default_factory=list)
    unread: list[Damage] = field(default_factory=list)
    last: int = 0
    generation: int = 0
    asked: bytes = b""
    ended: set[str] = field(default_factory=set)
    unhanded: set[str] = field(default_factory=set)
    bad_nodes: list[str] = field(default_factory=list)

    def state(self, run: bytes, alive: Container[str], retries: int = 2) -> RunState:
        """Say what a run is.

        Parameters
        ----------
        run
            Raw id.
        alive
            Names of the tasks that a scheduler still lists (``orchestrator.submit.alive_tasks``).
        retries
            The budget that the grid's resources set.
        """
        record = self.runs.get(run)
        if record is None:
            return "waiting"
        if record.task in self.unhanded and record.outcome is None and not record.cancelled:
            return "waiting"
        return state_of(record, alive, retries)

    def counts(self, ids: Iterable[bytes], alive: Container[str], retries: int = 2) -> dict[RunState, int]:
        """Count distinct runs by state; the parts add up to the number of distinct ids."""
        counts: dict[RunState, int] = dict.fromkeys(RUN_STATES, 0)
        for run in set(ids):
            counts[self.state(run, alive, retries)] += 1
        return counts


def state_of(record: RunRecord, alive: Container[str], retries: int) -> RunState:
    """Say what a run with a record is; see :meth:`History.state`."""
    if record.ordered is not None:
        return "waiting"
    if record.outcome is not None:
        return "done"
    if record.cancelled or not record.n:
        return "cancelled" if record.cancelled else "waiting"
    if record.failure is not None:
        return "failed" if policy.decide(record.failure, record.used, retries).action == "stop" else "waiting"
    if record.task in alive:
        return "live"
    if record.probed:
        return "waiting"
    return "failed" if lost(record, retries).action == "stop" else "lost"


def lost(record: RunRecord, retries: int) -> policy.Decision:
    """Decide about a run whose task is gone without a word; this loss is not counted in its record yet.

    A run whose task never began only stood in a queue that went away: that costs nothing. Nor does a probe.
    """
    counts = record.k and record.charged and not record.probed
    return policy.decide("lost", record.counting("lost") if counts else record.used, retries)


def fold(
    chain: Iterable[Submission],
    ids_of: Callable[[int], Sequence[bytes]],
    logs_of: Callable[[str, int], Sequence[IncarnationLog]],
    unhanded: Container[str] = (),
) -> History:
    """Fold the chain and the journals.

    Parameters
    ----------
    chain
        Entries in the order of their numbers.
    ids_of
        From a generation to the raw ids of its points.
    logs_of
        From a task's name and its number of runs to its incarnations' logs, in order.
    unhanded
        Names of the tasks that no scheduler ever got.
    """
    history = History()
    runs = history.runs
    begun: set[int] = set()  # entries of which at least one task began
    failed: dict[str, int] = {}  # machines, and the last entry under which they failed
    finished: Counter[int] = Counter()  # tasks, by entry
    for entry in chain:
        history.last = entry.n
        if entry.kind == "cancel":
            _cancel(runs, entry, ids_of)
            continue
        points = ids_of(entry.generation)
        if entry.kind == "order":
            _order(runs, entry, points)
            continue
        rerun, reset = (frozenset(from_spans(spans)) for spans in (entry.rerun, entry.reset))
        for spec in entry.tasks:
            records = []
            for lane, position in enumerate(spec.indices()):
                run = points[position]
                record = runs.get(run)
                if record is None:
                    runs[run] = record = RunRecord()
                else:
                    queued = not record.k and (record.n in begun or record.task in unhanded)
                    _hand_over(record, queued=queued, fresh=position in rerun, reset=position in reset)
                record.n, record.task, record.lane, record.width = entry.n, spec.name, lane, spec.count
                records.append(record)
            logs = logs_of(spec.name, len(records))
            if logs:
                begun.add(entry.n)
            for at, log in enumerate(logs):
                heard = at == len(logs) - 1 or bool(logs[at + 1].begin.get("witness"))
                _attempt(records, log, entry.source, heard=heard)
                history.damaged.extend(log.damage)
                if log.unread is not None:
                    history.unread.extend(log.damage)
                node = log.begin.get("node")
                if node and log.begin.get("witness") and log.end == "node":
                    failed.pop(node, None)
                    failed[node] = entry.n
            if logs and logs[-1].end not in (None, "requeued"):
                history.ended.add(spec.name)
                finished[entry.n] += logs[-1].end == "finished"
    history.bad_nodes = policy.avoided(failed, finished)
    return history


def _order(runs: dict[bytes, RunRecord], entry: Submission, points: Sequence[bytes]) -> None:
    """Mark runs that are to be trained again."""
    orders: tuple[tuple[Literal["rerun", "reset"], list[Span]], ...] = (("rerun", entry.rerun), ("reset", entry.reset))
    for how, spans in orders:
        for position in from_spans(spans):
            record = runs.setdefault(points[position], RunRecord())
            record.ordered, record.cancelled = how, False


def _cancel(runs: dict[bytes, RunRecord], entry: Submission, ids_of: Callable[[int], Sequence[bytes]]) -> None:
    """Mark runs as cancelled. ``"all"`` takes in what was asked for and never submitted: later waves must not come."""
    named = {*runs, *ids_of(entry.generation)} if entry.cancel == "all" else entry.cancelled()
    for run in named:
        record = runs.get(run)
        if record is None:
            runs[run] = record = RunRecord()
        record.cancelled, record.ordered = record.outcome is None, None


def _hand_over(record: RunRecord, *, queued: bool, fresh: bool, reset: bool) -> None:
    """Note that a later submission names the run."""
    unfinished = record.n and record.outcome is None and record.failure is None and not record.cancelled
    if unfinished and record.charged and not queued and not record.probed:
        # Only a run whose owner is gone is named again; its silent end is counted here, for nobody else could. Where
        # nothing of a submission ever began, that counts too, or a job that dies at once would be submitted for ever.
        record.used = record.counting("lost")
    record.begun, record.charged = record.saved, True  # what was done before is not the next attempt's
    if fresh:
        record.outcome, record.step, record.saved, record.begun = None, NEVER, NEVER, NEVER
    if fresh or reset:
        record.used = {}
    if fresh or reset or record.failure is not None:
        record.failure, record.message, record.signature = None, "", ""
    record.cancelled, record.open, record.probed, record.k, record.ordered = False, False, False, 0, None


def _attempt(records: Sequence[RunRecord], log: IncarnationLog, source: str, *, heard: bool) -> None:
    """Fold one incarnation into the records of its task's runs.

    ``heard``: nothing can be said yet of its silence. It is the last and may still be at work, or a witness follows.
    """
    code = source or str(log.begin.get("code", ""))
    # One that has a successor and said nothing was lost.
    ended = log.end if log.end is not None or heard else "lost"
    failure = failure_of(ended) if ended is not None else None
    witness = bool(log.begin.get("witness"))
    nothing = all(step is None for step in log.restored)  # it died before it came to any run
    for record, begun, restored, progress, checkpoint, verdict, failed in zip(
        records, log.begun, log.restored, log.progress, log.saved, log.verdicts, log.failures, strict=True
    ):
        record.k, record.open, record.probed = log.k, log.end is None, log.end == "probed"
        if not witness:  # it speaks of its predecessor
            record.charged = nothing or restored is not None
        if begun is not None and restored is not None:
            record.outcome, record.failure, record.message, record.signature = None, None, "", ""
            record.step = record.saved = restored
            record.begun = begun
            record.attempts += 1
        elif not witness:
            record.begun = record.saved
        if record.outcome is not None and verdict is None:
            continue
        if checkpoint is not None:
            record.saved = checkpoint
            record.step = max(record.step, checkpoint)
        if progress is not None:
            record.step = max(record.step, progress)
        if restored is not None or verdict is not None or failed is not None:
            record.code, record.engine = code, log.engine
        if verdict is not None:
            record.outcome, record.step = verdict
            record.failure, record.message, record.signature = None, "", ""
        elif failed is not None:
            record.failure = failure_of(str(failed["class"])) or "lost"
            record.message, record.signature = str(failed.get("message", "")), str(failed.get("signature", ""))
            record.used = record.counting(record.failure)
        elif failure is not None and (restored is not None or not _settled(record)):
            record.failure, record.message = failure, log.why or f"the task ended: {ended}"
            if record.charged:
                record.used = record.counting(failure)


def _settled(record: RunRecord) -> bool:
    """Say whether an earlier incarnation said of the run what the end of a later one does not change."""
    return record.failure is not None and policy.RULES[record.failure].action == "stop"
