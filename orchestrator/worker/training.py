"""The three forms of an experiment: stacked lanes, one run at a time, and somebody else's program."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import identity
from orchestrator.errors import UserError
from orchestrator.experiment import Experiment, ExperimentParams, flatten
from orchestrator.recorder import Snapshot
from orchestrator.study.incarnation import Incarnation
from orchestrator.study.study import Study
from orchestrator.worker import command, snapshots
from orchestrator.worker.failures import Failure, Unrecorded, classify, sentence, unfinished
from orchestrator.worker.halving import train_in_halves
from orchestrator.worker.handle import Run
from orchestrator.worker.heartbeat import Heartbeat
from orchestrator.worker.log import LOG
from orchestrator.worker.pool import oom_kills
from orchestrator.worker.recorder import Part, TaskRecorder


@dataclass(frozen=True)
class Work:
    """What one incarnation has to do.

    Parameters
    ----------
    study, incarnation, recorder, heartbeat
        Where it happens.
    experiment
        What is trained.
    params
        Validated parameters by lane.
    project
        The frozen sources of the user's own project, if there is one.
    """

    study: Study
    incarnation: Incarnation
    recorder: TaskRecorder
    heartbeat: Heartbeat
    experiment: Experiment
    params: Mapping[int, ExperimentParams]
    project: Path | None

    @property
    def runs(self) -> Sequence[bytes]:
        """Raw ids by lane."""
        return self.incarnation.task.runs

    @property
    def resources(self) -> Mapping[str, Any]:
        """What the submission asks for."""
        return self.incarnation.task.submission.resources

    def folder(self, lane: int) -> Path:
        """Return the folder of this attempt's own files; made by who needs it."""
        return self.incarnation.path / f"run-{lane}"

    def begin(self, lanes: Sequence[int]) -> dict[int, Snapshot]:
        """Find the lanes' newest snapshots, and record that they go on from there."""
        source = self.incarnation.task.submission.source
        restored = snapshots.restore(self.study, {lane: self.runs[lane] for lane in lanes}, source)
        self.recorder.begin(lanes, restored)
        return restored


def train(work: Work) -> None:
    """Train all lanes of a task, as its experiment's form demands."""
    FORMS[work.experiment.form](work, work.recorder.left(sorted(work.params)))


# --- lanes ------------------------------------------------------------------------------------------------------------


def _train_lanes(work: Work, lanes: list[int]) -> None:
    engine = pin_engine(work.study, work.resources)
    if isinstance(engine, Failure):
        work.recorder.fail(lanes, engine)
        return
    work.incarnation.write("engine", **engine)

    def attempt(some: list[int]) -> Failure | None:
        some = work.recorder.left(some)
        if not some or work.recorder.stopping:
            return None
        return _attempt(work, some, engine)

    train_in_halves(lanes, attempt, work.recorder.left, work.recorder.fail)


def _attempt(work: Work, lanes: list[int], engine: Mapping[str, Any]) -> Failure | None:
    from orchestrator.lanes import train as train_stack

    joined = snapshots.join(work.begin(lanes), lanes)
    restored = (np.asarray(joined[0], np.int64), joined[1]) if joined is not None else None
    params, part = [work.params[lane] for lane in lanes], Part(work.recorder, lanes)
    try:
        train_stack(work.experiment, params, part, engine=engine, restored=restored)
    except Unrecorded:
        raise
    except Exception as error:  # noqa: BLE001  (whatever user code does is a result of ours)
        failure: Failure | None = complain(error)
    else:
        missing = work.recorder.left(lanes)
        failure = unfinished(missing) if missing and not work.recorder.stopping else None
    gc.collect()  # the stack that failed must not stand in the way of its halves
    return failure


def pin_engine(study: Study, resources: Mapping[str, Any]) -> dict[str, Any] | Failure:
    """Resolve the engine, and pin it for the study if this is the first worker.

    Where the grid allows mixed engines, every machine takes its own; the journal has it for each attempt.

    Returns
    -------
    dict[str, Any] | Failure
        The engine; or why this machine must not be used, if another one is pinned already.
    """
    from orchestrator.lanes.engine import resolve

    pinned = study.engine()
    kind, device = resources.get("engine", "auto"), resources.get("device", "auto")
    mixed = "mixed-engines" in resources.get("allow", ())
    if pinned is not None and not mixed:
        kind = pinned["kind"] if kind == "auto" else kind
        device = pinned["device"] if device == "auto" else device
    try:
        here: dict[str, Any] = json.loads(json.dumps(resolve(kind, device)))
    except UserError as error:
        return sentence("engine" if pinned else "user error", str(error))
    pinned = study.pin_engine(here)
    if here == pinned or mixed:
        return here
    differing = [
        f"{name} {here.get(name)} instead of {pinned.get(name)}"
        for name in sorted({*here, *pinned})
        if here.get(name) != pinned.get(name)
    ]
    return sentence(
        "engine",
        f"this machine's engine is not the one that the study began with: {', '.join(differing)}. "
        "To train on both kinds of machine, submit with --allow-mixed-engines",
    )


# --- one run at a time ------------------------------------------------------------------------------------------------


def _train_runs(work: Work, lanes: list[int]) -> None:
    try:
        function = work.experiment.load()
    except Exception as error:  # noqa: BLE001  (the import runs user code)
        work.recorder.fail(lanes, complain(error))
        return
    for lane in lanes:
        if work.recorder.stopping:
            return
        if work.recorder.left([lane]):
            _train_run(work, lane, function)


def _train_run(work: Work, lane: int, function: Callable[[Any], None]) -> None:
    snapshot = work.begin([lane]).get(lane)
    run = Run(work.params[lane], work.runs[lane], work.folder(lane), Part(work.recorder, [lane]), snapshot)
    try:
        try:
            function(run)
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"the train function exited with status {end.code}") from end
    except Unrecorded:
        raise
    except FloatingPointError as error:
        LOG.info("run %s diverged: %s", run.id, error)
        run.finish("diverged")
    except Exception as error:  # noqa: BLE001  (whatever user code does is a result of ours)
        work.recorder.fail([lane], complain(error))
    else:
        if not run.told_to_stop:
            run.finish("done")


# --- programs ---------------------------------------------------------------------------------------------------------


def _train_commands(work: Work, lanes: list[int]) -> None:
    for lane in lanes:
        if work.recorder.stopping:
            return
        if work.recorder.left([lane]):
            try:
                _train_command(work, lane)
            except (UserError, OSError) as error:
                work.recorder.fail([lane], complain(error))


def _train_command(work: Work, lane: int) -> None:
    task, k = work.incarnation.task, work.incarnation.k
    params, run = work.params[lane], identity.to_text(work.runs[lane])
    folder = work.folder(lane)
    folder.mkdir(parents=True, exist_ok=True)
    first = work.study.event_file(work.runs[lane], task.n, task.name, k)

    def link(below: Path, number: int) -> Path:
        return first.parent / below / (f"{first.name}.{number}" if number else first.name)

    words = command.words(getattr(params, "command"), flatten(params), run, folder)  # noqa: B009  (CommandParams)
    work.recorder.begin([lane], {})
    start = work.incarnation.stderr.stat().st_size
    variables = {"ORCH_RUN_DIR": str(folder), "ORCH_RUN_ID": run, "ORCH_SEED": str(params.seed)}
    kills = oom_kills()
    program = command.Program(words, folder, work.project, link, variables)
    ended_by_us = False

    def attend() -> None:
        nonlocal ended_by_us
        if work.recorder.stopping or lane in work.heartbeat.gone:
            ended_by_us = program.ask_to_end()
        program.collect()

    with work.heartbeat.attending(attend):
        status = program.wait()
    files = program.collect()
    if ended_by_us:
        return  # whatever it says of itself, it was broken off
    if status == 0:
        steps = np.array([command.last_step(files)], np.int64)
        work.recorder.verdict(np.array([lane], np.int64), "done", steps)
    else:
        starved = oom_kills() > kills
        work.recorder.fail([lane], command.failure(status, work.incarnation.stderr, start, starved=starved))


FORMS: Mapping[str, Callable[[Work, list[int]], None]] = {
    "lanes": _train_lanes,
    "run": _train_runs,
    "command": _train_commands,
}


def complain(error: BaseException) -> Failure:
    """Describe an exception, and print it: a sentence for what is one, a traceback for everything else."""
    failure = classify(error)
    if failure.traceback:
        LOG.error(failure.message, exc_info=error)
    else:
        LOG.error(failure.message)
    return failure
