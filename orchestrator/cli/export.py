"""``orch export``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from export.manifest import Manifest
    from orchestrator.study.study import Study


@click.command()
@click.argument("study", required=False, shell_complete=common.complete_study)
@click.option("--logdir", metavar="DIR", type=click.Path(exists=True, file_okay=False), help="Any TensorBoard folder.")
@click.option("--layout", "layouts", multiple=True, metavar="NAME", help="long or wide.  [default: both]")
@click.option(
    "--format", "formats", multiple=True, metavar="NAME", help="csv, csv.gz or parquet.  [default: csv.gz, parquet]"
)
@click.option(
    "--tag", "tags", multiple=True, metavar="PATTERN", help="Only these tags, e.g. 'metric/*'.  [default: the grid's]"
)
@click.option("--every", type=click.IntRange(min=1), metavar="N", help="Every Nth row of a series.")
@click.option(
    "--out", metavar="DIR", type=click.Path(file_okay=False), help="Where to write.  [default: the study's tables/]"
)
@common.json_option
@common.root_option
def command(
    study: str | None,
    logdir: str | None,
    layouts: tuple[str, ...],
    formats: tuple[str, ...],
    tags: tuple[str, ...],
    every: int | None,
    out: str | None,
    as_json: bool,
    root: str | None,
) -> None:
    """Turn the event files of STUDY, or of any TensorBoard folder, into tables.

    May be repeated while runs train. Damaged files are salvaged, and what was lost of them is said.
    """
    from export.tables import export_logdir

    if (study is None) == (logdir is None):
        raise UserError("name either a study or a --logdir")
    given: dict[str, Any] = {
        "tags": tags or None,
        "every": every,
        "out": Path(out) if out else None,
        "progress": bar("reading") if sys.stderr.isatty() else None,
    }
    given |= {name: value for name, value in (("layouts", layouts), ("formats", formats)) if value}
    if logdir is not None:
        manifest = export_logdir(logdir, **given)
    else:
        assert study is not None
        manifest = fresh(common.open_study(study, root), **given)
    if as_json:
        common.print_json(manifest.to_json())
        return
    for line in said(manifest):
        common.note(line)
    for file in manifest.files:
        click.echo(manifest.folder / file.name)


def fresh(study: Study, **given: Any) -> Manifest:
    """Export a study; what its live writers wrote counts as well."""
    from export.tables import export_study
    from orchestrator.view.overview import living

    alive, _, _ = living(study, study.history())
    return export_study(study, alive=alive, **given)


def said(manifest: Manifest) -> Iterator[str]:
    """Yield what a person should know of an export."""
    yield (
        f"n = {manifest.read:,} of {manifest.expected:,} runs, {manifest.finished:,} of them finished; "
        f"{manifest.scalars:,} scalars from {manifest.files_read:,} files ({manifest.bytes_read / 2**20:.1f} MiB)"
    )
    if manifest.superseded:
        yield f"{manifest.superseded:,} scalars left out: a restarted attempt wrote them again"
    if manifest.uncovered:
        yield f"{manifest.uncovered:,} scalars left out: nothing vouches for them yet"
    for damage in manifest.damage[:5]:
        yield f"damaged: {damage['file']} at byte {damage['offset']}, {damage['bytes']} bytes: {damage['why']}"
    if len(manifest.damage) > 5:
        yield f"… and {len(manifest.damage) - 5} more damaged places: see {manifest.folder / 'manifest.json'}"


def bar(what: str) -> Callable[[int, int], None]:
    """Return a function that shows (done, total) on the terminal's last line."""

    def show(done: int, total: int) -> None:
        end = "\r\033[K" if done >= total else ""
        click.echo(f"\r{what} {done:,} of {total:,} files{end}", err=True, nl=False)

    return show
