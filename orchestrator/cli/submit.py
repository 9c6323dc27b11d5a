"""``orch submit``, and what ``run`` and ``retry`` share with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode

if TYPE_CHECKING:
    from orchestrator.cli.grids import Forecast, Work
    from orchestrator.clusters.base import Cluster
    from orchestrator.plan import Plan
    from orchestrator.study.study import Study
    from orchestrator.submit import Desired, Request, Result


@click.command()
@common.grid_options
@common.dry_run_option
@common.yes_option
@common.json_option
def command(
    options: common.GridOptions,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Hand the runs of GRID that are missing to the cluster, and return at once.

    Repeat it at will: what is done or under way is left alone, what was lost is submitted again, and a grid that grew
    trains its new runs only. Trailing KEY=VALUE words override the grid: `seed=0..9 max_iterations=1000`.
    """
    from orchestrator.cli import grids

    work = grids.read(options)
    request = grids.request(options)
    if dry_run:
        show_plan(work, request, as_json=as_json)
        return ExitCode.OK
    done = bring(work, request, yes=yes, quiet=as_json)
    if as_json:
        common.print_json(to_json(work.name, done))
    return exit_code(done.result)


def show_plan(work: Work, request: Request, *, as_json: bool) -> None:
    """Print what would be done."""
    from orchestrator.cli import grids

    seen = grids.forecast(work.name, work.existing(), work.desired, work.cluster, request)
    if as_json:
        common.print_json(seen.to_json())
    else:
        seen.show()


@dataclass(frozen=True)
class Done:
    """What a command submitted, and what it had said of it before; None if nothing was planned."""

    result: Result
    forecast: Forecast | None


def bring(work: Work, request: Request, *, yes: bool, quiet: bool = False) -> Done:
    """Submit a grid, and tell on stderr what is done."""
    from orchestrator.study.study import Study
    from orchestrator.submit import prepare

    study = work.existing()
    if study is not None:
        return hand_over(study, work.desired, work.cluster, request, yes=yes, quiet=quiet)
    # Nothing of a new study is written before it is known that it will be submitted.
    first = ask(
        work.name,
        None,
        work.desired,
        work.cluster,
        request,
        prepare(None, work.desired, work.cluster, request),
        yes=yes,
        quiet=quiet,
    )
    study = Study.create(work.root, work.name)
    return hand_over(study, work.desired, work.cluster, request, yes=True, quiet=quiet, first=first)


def hand_over(
    study: Study,
    wanted: Desired,
    cluster: Cluster,
    request: Request,
    *,
    yes: bool,
    quiet: bool = False,
    first: Forecast | None = None,
) -> Done:
    """Submit what is desired: show what it comes to, ask where it is much, and tell what became of it.

    Parameters
    ----------
    study, wanted, cluster, request
        See :func:`orchestrator.submit.submit`.
    yes, quiet
        Whether to ask nothing, and to show nothing.
    first
        What was shown and agreed to already.
    """
    from orchestrator.submit import submit
    from orchestrator.view.steward import find_probe, probe_line

    seen = [first] if first is not None else []
    silent = silent_elsewhere(study)

    def confirm(planned: Plan) -> bool:
        if not seen:
            seen.append(ask(study.name, study, wanted, cluster, request, planned, yes=yes, quiet=quiet))
        return True

    result = submit(study, wanted, cluster, request, confirm=confirm, gone=silent)
    if not quiet:
        if not seen and (standing := find_probe(study, study.history())) is not None:
            common.note(probe_line(study.name, standing))
        tell(study, result)
    complain(result)
    return Done(result, seen[0] if seen else None)


def silent_elsewhere(study: Study) -> frozenset[str]:
    """Return the tasks of machines that cannot be asked from here and whose heartbeats stand still.

    It takes minutes to say so of a machine that is dead, and a few seconds to see that one lives.
    """
    import socket
    import time

    here = socket.gethostname()
    local = {entry.n for entry in study.chain() if entry.scheduler == "local"}
    if not any(job.n in local and (job.host or job.job_id.partition(":")[0]) != here for job in study.jobs()):
        return frozenset()  # nearly always
    from orchestrator.clusters import clusters_of
    from orchestrator.liveness import elsewhere, look
    from orchestrator.study.watch import HeartbeatWatch
    from orchestrator.view.table import duration
    from orchestrator.worker.heartbeat import INTERVAL

    seen = look(study, clusters_of(study))
    others = {process: other for process, other in elsewhere(study, seen.history, seen.states).items() if other.tasks}
    watch, told, silent = HeartbeatWatch(study, INTERVAL), False, frozenset[str]()
    while others:
        pulses = watch.look({process: other.tasks for process, other in others.items()})
        for process, pulse in pulses.items():
            if pulse == "unsure":
                continue
            other = others.pop(process)
            count = f"{len(other.tasks)} task{'s' * (len(other.tasks) != 1)}"
            if pulse == "beats":
                common.note(f"{other.host} is at work on {count}")
            else:
                common.note(f"{other.host} gave no sign of life for {duration(watch.patience)}: {count} taken over")
                silent |= other.tasks
        if not others:
            break
        if not told:
            told = True
            hosts = ", ".join(sorted({other.host for other in others.values()}))
            common.note(
                f"{hosts} has tasks of study {study.name!r} in hand and cannot be asked from here: watching their "
                f"heartbeats, for {duration(watch.patience)} at most; Ctrl-C leaves everything as it is"
            )
        time.sleep(min(INTERVAL, watch.patience / 10))
    return silent


def ask(
    name: str,
    study: Study | None,
    wanted: Desired,
    cluster: Cluster,
    request: Request,
    planned: Plan,
    *,
    yes: bool,
    quiet: bool,
) -> Forecast:
    """Show what a plan comes to, and ask about it.

    Raises
    ------
    click.Abort
        If the answer is no.
    """
    from orchestrator.cli import grids

    seen = grids.forecast(name, study, wanted, cluster, request, planned)
    if not quiet:
        seen.show(stderr=True)
    if not grids.confirm(planned, yes=yes):
        raise click.Abort
    return seen


def tell(study: Study, result: Result) -> None:
    """Say on stderr what was handed over, and who goes on."""
    from orchestrator.study.records import Job
    from orchestrator.view.table import number

    by_cluster: dict[str, list[Job]] = {}
    for job in result.jobs:
        by_cluster.setdefault(job.cluster, []).append(job)
    for name, jobs in by_cluster.items():
        entries = [study.submission(job.n) for job in jobs]
        if entries[0].scheduler == "local":
            continue  # one steward has them all, and nobody needs its number
        count = sum(entry.elements(job.array) for entry, job in zip(entries, jobs, strict=True))
        named = ", ".join(job.job_id for job in jobs[:3]) + (f" and {len(jobs) - 3} more" if len(jobs) > 3 else "")
        what = f"job{'s' * (len(jobs) > 1)} {named}"
        common.note(f"{what} on {name}: {number(count)} element{'s' * (count != 1)}")
    if isinstance(result.steward, Job):
        common.note(f"steward: job {result.steward.job_id} submits what is left, tries again, exports and draws")


def complain(result: Result) -> None:
    """Say on stderr what a scheduler refused."""
    for entry, array, error in result.errors:
        common.note(f"orch: submission {entry.n}, array {array} was not handed over: {error}")
    if result.errors:
        common.note("orch: the next `orch submit` hands it over")
    if isinstance(result.steward, Exception):
        common.note(f"orch: no steward could be left: {result.steward}")
        common.note("orch: when the study's jobs have ended, the next `orch submit` goes on with what is left")


def to_json(name: str, done: Done) -> dict[str, object]:
    """Return what a submission did as data."""
    from orchestrator.study.records import Job

    result = done.result
    return {
        "schema": 1,
        "study": name,
        "plan": done.forecast.to_json() if done.forecast is not None else None,
        "submissions": [entry.n for entry in result.published],
        "jobs": [job.to_json() for job in result.jobs],
        "steward": result.steward.to_json() if isinstance(result.steward, Job) else None,
        "errors": [{"n": entry.n, "array": array, "error": str(error)} for entry, array, error in result.errors],
    }


def exit_code(result: Result) -> int:
    """Return 0 if everything was handed over or will be, 4 if something was, else what the scheduler's refusal says."""
    if not result.errors:
        forsaken = isinstance(result.steward, Exception) and result.plan is not None and result.plan.waiting
        return ExitCode.PARTLY_SUBMITTED if forsaken else ExitCode.OK
    return ExitCode.PARTLY_SUBMITTED if result.jobs else result.errors[0][2].exit_code
