"""``orch doctor``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator import checks
from orchestrator.checks import Check
from orchestrator.cli import common, settings
from orchestrator.errors import ExitCode, UserError

if TYPE_CHECKING:
    from orchestrator.clusters.batch import SchedulerFacts
    from orchestrator.study.study import Study
    from orchestrator.view.audit import Audited

OF_ITS_OWN = ""
"""The name that ``--write-profile`` gives when none follows it: the cluster's own."""


@click.command()
@click.argument("study", required=False, shell_complete=common.complete_study)
@click.option("--cluster", metavar="NAME", help="Only this cluster: slurm, lsf, or a profile.")
@click.option("--job", is_flag=True, help="Send one small job through the cluster, and see what it finds there.")
@click.option("--gpus", type=click.IntRange(0), metavar="N", help="With --job: accelerators it asks for.")
@click.option(
    "--write-profile",
    "profile",
    metavar="[NAME]",
    is_flag=False,
    flag_value=OF_ITS_OWN,
    help="Write a cluster profile, filled from what the scheduler tells.",
)
@click.option("--force", is_flag=True, help="With --write-profile: replace the one that is there.")
@common.json_option
@common.root_option
def command(
    study: str | None,
    cluster: str | None,
    job: bool,
    gpus: int | None,
    profile: str | None,
    force: bool,
    as_json: bool,
    root: str | None,
) -> int:
    """Check what this machine and its schedulers offer: Python, torch, compiler, GPUs, R, space, queues, limits.

    Returns 2 if something is missing without which nothing can be trained, 3 if the cluster that was named cannot be
    reached. --job does the same from inside a job, and tests what only a compute node can tell.

    With STUDY, proves from the study's own records that no run was lost and none trained twice; returns 1 if they
    contradict each other.
    """
    if study is not None:
        if cluster is not None or job or profile is not None:
            raise click.UsageError("a STUDY is checked by itself, without --cluster, --job and --write-profile")
        return _audit(common.open_study(study, root), as_json=as_json)
    if profile is not None:
        click.echo(_write_profile(profile, cluster, force=force))
        return ExitCode.OK
    if job:
        return _trial(_cluster(cluster), gpus, settings.root(root), as_json=as_json)
    found, facts = list(checks.machine()), [*_facts(cluster)]
    found += [checks.experiments(), checks.r(), *checks.studies(settings.root(root)), _clusters()]
    from orchestrator.view import doctor

    for each in facts:
        found += doctor.scheduler(each, wanted=cluster is not None)
    _print(found, as_json=as_json, schedulers=[_plain(each) for each in facts])
    if cluster is not None and any(not each.reachable for each in facts):
        return ExitCode.SCHEDULER_UNREACHABLE
    return _code(found)


def _code(found: Iterable[Check]) -> int:
    return ExitCode.USAGE if any(check.verdict == "missing" for check in found) else ExitCode.OK


def _print(found: Iterable[Check], *, as_json: bool, **more: object) -> None:
    if as_json:
        common.print_json({"schema": 1, **more, "checks": [check._asdict() for check in found]})
        return
    from orchestrator.view import doctor, table

    doctor.print_checks(table.console(), found)


# --- a study ----------------------------------------------------------------------------------------------------------


def _audit(study: Study, *, as_json: bool) -> int:
    from orchestrator.view import audit, table

    found = _look(study)
    if found.findings:
        # Of a study at work, one record may have been written between two of our readings: what is wrong stays wrong.
        again = _look(study)
        stayed = set(found.findings) & set(again.findings)
        found = replace(again, findings=[finding for finding in again.findings if finding in stayed])
    if as_json:
        common.print_json(found.to_json())
    else:
        audit.print_audit(table.console(), found)
    return ExitCode.OK if found.holds else ExitCode.RUNS_FAILED


def _look(study: Study) -> Audited:
    from export.check import series
    from orchestrator.study.audit import inspect
    from orchestrator.view.audit import Audited

    fresh = type(study)(study.path)
    history = fresh.history()
    journals, events = inspect(fresh, history), series(fresh, history)
    return Audited(study.name, journals.runs, journals.attempts, events.rows, [*journals.findings, *events.findings])


# --- schedulers -------------------------------------------------------------------------------------------------------


def _facts(cluster: str | None) -> Iterator[SchedulerFacts]:
    """Ask the scheduler that was named, or all whose commands are here."""
    from orchestrator.clusters import batch

    for kind in [_kind(cluster)] if cluster is not None else batch.installed():
        if kind in batch.SUBMIT:
            yield batch.facts(kind)


def _kind(cluster: str) -> str:
    from orchestrator.clusters import get_cluster

    return get_cluster(cluster).kind


def _cluster(named: str | None) -> str:
    """Return the cluster that was named; or what the settings say; or the one scheduler that is here."""
    from orchestrator.clusters import batch
    from orchestrator.grid import Resources

    chosen = named or settings.resources(Resources()).cluster
    here = batch.installed()
    return here[0] if named is None and chosen == "local" and len(here) == 1 else chosen


def _clusters() -> Check:
    """List the clusters that can be named, and say which profiles are broken."""
    from orchestrator.clusters import batch, profiles

    broken: list[str] = []

    def described(name: str) -> str:
        try:
            return f"{name} ({profiles.kind_of(name)})"
        except UserError as error:
            broken.append(str(error))
            return f"{name} (broken)"

    known = ["local", *batch.installed(), *map(described, profiles.names())]
    return Check("clusters", "note" if broken else "ok", "\n".join([", ".join(known), *broken]))


def _plain(facts: SchedulerFacts) -> dict[str, object]:
    return {**facts._asdict(), "queues": [queue._asdict() for queue in facts.queues]}


def _write_profile(name: str, cluster: str | None, *, force: bool) -> Path:
    from orchestrator.clusters import KINDS, batch, profiles
    from orchestrator.view import doctor

    here = batch.installed()
    if cluster is None and len(here) != 1:
        raise UserError(
            f"there are {' and '.join(here)} here: name one with --cluster"
            if here
            else "there is no scheduler here to be asked: neither sbatch nor bsub is on the path"
        )
    facts = batch.facts(_kind(cluster) if cluster is not None else here[0])
    if not facts.reachable:
        raise UserError(facts.problem, exit_code=ExitCode.SCHEDULER_UNREACHABLE)
    name = name or facts.cluster or facts.kind
    if name in KINDS and name != facts.kind:
        raise UserError(f"the name {name!r} is that of another kind of cluster: give --write-profile another one")
    return profiles.write(name, doctor.profile(facts, sys.executable), force=force)


# --- a job ------------------------------------------------------------------------------------------------------------


def _trial(name: str, gpus: int | None, root: Path, *, as_json: bool) -> int:
    from orchestrator import trial
    from orchestrator.clusters import get_cluster
    from orchestrator.grid import Resources

    given = {"cluster": name} if gpus is None else {"cluster": name, "gpus": gpus}
    resources = settings.resources(Resources.model_validate(given), given)
    report = trial.send(get_cluster(name), resources, root, common.note)
    if not as_json:
        common.note(f"on {report.host or 'no machine'}, job {report.job}:")
    _print(report.checks, as_json=as_json, cluster=name, job=report.job, host=report.host)
    return _code(report.checks)
