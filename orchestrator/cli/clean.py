"""``orch clean``."""

from __future__ import annotations

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode

KINDS = {
    "checkpoint": ("checkpoint", "that no run can go on from"),
    "events": ("event file", "of attempts that were begun anew"),
}


@click.command()
@common.study_argument
@common.dry_run_option
@common.yes_option
@common.json_option
@common.root_option
def command(study: str, dry_run: bool, yes: bool, as_json: bool, root: str | None) -> int:
    """Remove what nobody reads any more: checkpoints that no run can go on from, events of attempts begun anew.

    Processes remove their own checkpoints as they go on; those that died could not. Results, journals, frozen sources
    and what your own code wrote stay, and tables and figures come out the same.
    """
    from orchestrator.clusters import clusters_of
    from orchestrator.liveness import look
    from orchestrator.study import waste

    opened = common.open_study(study, root)
    found = waste.find(opened, look(opened, clusters_of(opened)).living)
    said = "; ".join(
        f"{len(sizes)} {noun}{'s' * (len(sizes) != 1)} {why} ({sum(sizes) / 1e6:.1f} MB)"
        for kind, (noun, why) in KINDS.items()
        if (sizes := [one.size for one in found if one.kind == kind])
    )
    if found and not dry_run:
        if not common.agreed(f"Remove {said} of study {opened.name!r}?", yes=yes):
            raise click.Abort
        waste.remove(found)
    if as_json:
        files = [{"kind": one.kind, "path": str(one.path), "bytes": one.size} for one in found]
        common.print_json({"schema": 1, "study": opened.name, "removed": not dry_run, "files": files})
    else:
        common.note(f"{'would remove' if dry_run else 'removed'} {said}" if found else "nothing to remove")
    return ExitCode.OK
