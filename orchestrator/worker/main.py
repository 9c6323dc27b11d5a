"""The worker: one incarnation of one task, from ``begin`` to ``end``."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator import identity, policy, units
from orchestrator.errors import UserError
from orchestrator.experiment import COMMAND, Experiment, ExperimentParams, find, nest
from orchestrator.study import code as sources
from orchestrator.study.incarnation import Incarnation
from orchestrator.study.patience import patiently
from orchestrator.study.study import Study
from orchestrator.worker.failures import Failure, Unrecorded, of_disk, sentence
from orchestrator.worker.heartbeat import Heartbeat
from orchestrator.worker.log import LOG, to_stderr
from orchestrator.worker.pool import UNWRITTEN
from orchestrator.worker.recorder import TaskRecorder
from orchestrator.worker.signals import Signals
from orchestrator.worker.spent import spent
from orchestrator.worker.training import Work, complain, train

CADENCE = "60s"


def main(argv: Sequence[str]) -> int:
    """Train a task.

    Parameters
    ----------
    argv
        The study's folder, the task's name, the scheduler's id of the job, and, where this process must not outlive
        the one that started it, that one's process id.

    Returns
    -------
    int
        0 if the journal says how it ended; :data:`UNWRITTEN` if it does not because the study's files could not be
        written; else 1.
    """
    signals = Signals()  # before anything that takes time
    to_stderr()
    folder, name, job, *parent = argv
    if parent:
        signals.follow(int(parent[0]))
    study = Study(Path(folder))
    try:
        incarnation = study.begin(name)
    except (UserError, OSError) as error:
        LOG.error("task %s cannot begin: %s", name, error)
        return UNWRITTEN if isinstance(error, OSError) and of_disk(error) == "disk" else 1
    _redirect(incarnation)
    heartbeat = Heartbeat(study, incarnation, signals)
    try:
        packages = study.record_packages(sources.installed_packages())
        _journal_begin(incarnation, job, packages)
        heartbeat.look()
        heartbeat.start()
        reason = _work(study, incarnation, signals, heartbeat, packages)
        incarnation.write("end", reason=reason, **spent())
    except Unrecorded as error:
        return _end_if_possible(incarnation, complain(error).kind)
    except OSError as error:
        LOG.error("the study's files cannot be used: %s", error)
        return _end_if_possible(incarnation, of_disk(error))
    finally:
        heartbeat.end()
    _tidy(incarnation)
    return 0


def _tidy(incarnation: Incarnation) -> None:
    """Remove what nothing was printed to: with thousands of tasks, every file counts."""
    for stream, path in ((sys.stdout, incarnation.stdout), (sys.stderr, incarnation.stderr)):
        stream.flush()
        with contextlib.suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()


def _work(study: Study, incarnation: Incarnation, signals: Signals, heartbeat: Heartbeat, packages: str) -> str:
    """Restore, train, record; return the reason of the end."""
    resources = incarnation.task.submission.resources
    cadence = units.seconds(str(resources.get("checkpoint", CADENCE)))
    recorder = TaskRecorder(study, incarnation, signals, heartbeat, cadence, probe=incarnation.task.submission.probe)
    lanes = _unfinished(study, incarnation, recorder)
    refusal = _refusal(study, incarnation, packages)
    if refusal is not None:
        LOG.error(refusal.message)
        recorder.fail(recorder.left(lanes), refusal)
        return "environment"
    try:
        experiment, project = _experiment(study, incarnation)
        params = _parameters(study, incarnation, experiment, recorder, lanes)
        train(Work(study, incarnation, recorder, heartbeat, experiment, params, project))
    except Unrecorded:
        raise
    except Exception as error:  # noqa: BLE001  (finding an experiment runs user code)
        failure = complain(error)
        recorder.fail(recorder.left(lanes), failure)
        return failure.kind
    recorder.flush()
    if recorder.left(lanes):
        if signals.stop == "requeue":
            # A slice too short to get anywhere must use up the budget, or it would go on for ever.
            return "requeued" if recorder.progressed else "timeout"
        return "probed" if recorder.probed and not signals.stop else "interrupted"
    if not heartbeat.all_gone:
        return "finished"
    ordered = any(entry.kind == "cancel" and entry.n > incarnation.n for entry in study.chain())
    return "cancelled" if ordered else "superseded"


def _redirect(incarnation: Incarnation) -> None:
    """Write standard output and error into the incarnation's folder from now on, also those of child processes."""
    for stream, path in ((sys.stdout, incarnation.stdout), (sys.stderr, incarnation.stderr)):
        stream.flush()
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


def _journal_begin(incarnation: Incarnation, job: str, packages: str) -> None:
    from orchestrator.clusters.local import start_time

    incarnation.write(
        "begin",
        host=socket.gethostname(),
        node=os.environ.get("ORCH_NODE", ""),
        pid=os.getpid(),
        start=start_time(os.getpid()),
        job=job,
        python=platform.python_version(),
        packages=packages,
    )


def _unfinished(study: Study, incarnation: Incarnation, recorder: TaskRecorder) -> list[int]:
    """Return the lanes that earlier owners left to do: one of them may have finished after this task was submitted."""
    runs = incarnation.task.runs
    finished = patiently(lambda: study.finished(runs))
    failed: dict[int, dict[str, Any]] = {}
    for log in study.incarnations(incarnation.task.name):
        if log.k >= incarnation.k:
            continue
        failed |= {lane: failure for lane, failure in enumerate(log.failures) if failure is not None}
    for lane, record in failed.items():
        kind = record["class"]
        if runs[lane] not in finished and kind in policy.RULES and policy.RULES[kind].action == "stop":
            # Said again, for what counts is what the last incarnation says.
            told = (record.get(name, "") for name in ("message", "signature", "traceback"))
            recorder.fail([lane], Failure(kind, *map(str, told)))
    return [lane for lane, run in enumerate(runs) if run not in finished and not recorder.closed[lane]]


def _refusal(study: Study, incarnation: Incarnation, packages: str) -> Failure | None:
    """Say why this machine's packages must not be used: they differ from those of the submission."""
    submission = incarnation.task.submission
    asked = submission.packages
    if not asked or asked == packages or "env-change" in submission.resources.get("allow", ()):
        return None
    wanted, here = study.packages(asked) or {}, study.packages(packages) or {}
    differing = [
        f"{name} {here.get(name, 'missing')} instead of {wanted.get(name, 'none')}"
        for name in sorted({*wanted, *here})
        if wanted.get(name) != here.get(name)
    ]
    return sentence(
        "engine",
        f"the packages installed on {socket.gethostname()} are not those of the submission: {', '.join(differing[:5])}"
        f"{', …' if len(differing) > 5 else ''}. Submit again to train with these, or with --allow-env-change "
        "if machines differ",
    )


def _experiment(study: Study, incarnation: Incarnation) -> tuple[Experiment, Path | None]:
    """Find the task's experiment among the frozen sources."""
    submission = incarnation.task.submission
    generation = study.generation(submission.generation)
    if generation is None:
        raise UserError(f"generation {submission.generation} of study {study.name!r} is not there")
    info = generation.info
    folder = study.code_dir(submission.code) / sources.PROJECT
    project = folder if submission.code and folder.is_dir() else None
    if info["form"] == "command":
        return COMMAND, project
    if project is not None:
        sys.path.insert(0, str(project))
    experiment = find(str(info["experiment"]), project)
    if experiment.version != info["version"]:
        raise UserError(
            f"experiment {experiment.name!r} has version {experiment.version} here and version {info['version']} in "
            "the submission: submit again"
        )
    return experiment, project


def _parameters(
    study: Study, incarnation: Incarnation, experiment: Experiment, recorder: TaskRecorder, lanes: Sequence[int]
) -> dict[int, ExperimentParams]:
    """Validate the lanes' parameters; those that are not valid fail."""
    task = incarnation.task
    generation = study.generation(task.generation)
    assert generation is not None
    params: dict[int, ExperimentParams] = {}
    for lane in recorder.left(lanes):
        try:
            params[lane] = experiment.params.model_validate(nest(generation.points.params(task.points[lane])))
        except ValidationError as error:  # noqa: PERF203  (each lane is judged by itself)
            said = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:5])
            run = identity.to_text(task.runs[lane])
            failure = sentence("user error", f"run {run} has parameters that {experiment.name!r} refuses: {said}")
            LOG.error(failure.message)
            recorder.fail([lane], failure)
    return params


def _end_if_possible(incarnation: Incarnation, reason: str) -> int:
    try:
        incarnation.write("end", reason=reason, **spent())
    except OSError:
        return UNWRITTEN
    return 0
