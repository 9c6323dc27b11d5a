"""``orch export``."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import common
from orchestrator.errors import ExitCode, UserError

if TYPE_CHECKING:
    from export.manifest import Manifest
    from export.scalars import Progress
    from orchestrator.study.study import Study

LEAN = {"OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
"""What NumPy and Arrow look up when they are imported: no threads for linear algebra, of which there is none here, and
no second heap beside the one that :mod:`export.reader` tunes."""

RARELY = 100_000
"""New objects between two searches for cycles; thousands of files make many objects and no cycles."""

MOST_DAMAGE = 5
"""So many damaged places are listed; the manifest has them all."""


@click.command()
@click.argument("study", required=False, shell_complete=common.complete_study)
@click.option("--logdir", metavar="DIR", type=click.Path(exists=True, file_okay=False), help="Any TensorBoard folder.")
@click.option("--layout", "layouts", multiple=True, metavar="NAME", help="long or wide.  [default: both]")
@click.option(
    "--format", "formats", multiple=True, metavar="NAME", help="csv, csv.gz or parquet.  [default: csv.gz, parquet]"
)
@click.option(
    "--tags", "--tag", "tags", multiple=True, metavar="PATTERN",
    help="Only these tags, e.g. 'metric/*'.  [default: the grid's]",
)  # fmt: skip
@click.option(
    "--where", multiple=True, metavar="KEY=VALUE", help="Only these runs, e.g. seed=0..3; of a folder: run=PATTERN."
)
@click.option("--every", type=click.IntRange(min=1), metavar="N", help="Every Nth row of a series.")
@click.option("--last", is_flag=True, help="Only the last row of each series.")
@click.option(
    "--duplicates", metavar="POLICY",
    help="Of several values at one step of a run: last or all.  [default: last; of a folder: all]",
)  # fmt: skip
@click.option("--text", is_flag=True, help="Also a table of the texts that were logged.")
@click.option("--hparams", is_flag=True, help="Also a table of the hparams that were logged.")
@click.option(
    "-o", "--out", metavar="DIR", help="Where to write; - for one table to stdout.  [default: the study's tables/]"
)
@click.option("--fresh", "anew", is_flag=True, help="Read every file again, from its beginning.")
@click.option("--strict", is_flag=True, help="Exit with 1 if anything is damaged.")
@common.json_option
@common.root_option
def command(
    study: str | None,
    logdir: str | None,
    layouts: tuple[str, ...],
    formats: tuple[str, ...],
    text: bool,
    hparams: bool,
    out: str | None,
    strict: bool,
    as_json: bool,
    root: str | None,
    anew: bool,
    **selection: Any,
) -> int:
    """Turn the event files of STUDY, or of any TensorBoard folder, into tables.

    May be repeated while runs train: only what is new is read. Damaged files are salvaged, and what was lost of them is
    said. docs/export.md describes the tables.
    """
    if (study is None) == (logdir is None):
        raise UserError("name either a study or a --logdir")
    _lean()
    piped = out == "-"
    if piped and (as_json or text or hparams):
        raise UserError("stdout takes the table alone: leave --json, --text and --hparams out, or write to a folder")
    given: dict[str, Any] = {name: value or None for name, value in selection.items()}
    given |= {"where": selection["where"], "last": selection["last"]}
    given["anew"] = anew
    given["out"] = sys.stdout.buffer if piped else Path(out) if out else None
    given["layouts"] = layouts or (("long",) if piped else ("long", "wide"))
    given["formats"] = formats or (("csv",) if piped else ("csv.gz", "parquet"))
    with bar("reading") as watch:
        manifest = _export(study, logdir, root, **given, progress=watch)
    files = [manifest.folder / file.name for file in manifest.files]
    if text or hparams:
        files += _notes(study, logdir, root, manifest.folder, text=text, hparams=hparams, where=selection["where"])
    if as_json:
        common.print_json(manifest.to_json())
    else:
        for line in said(manifest):
            common.note(line)
        if not piped:
            for file in files:
                click.echo(file)
        if study is not None and out is None:
            tell_stale(common.open_study(study, root))
    return int(ExitCode.RUNS_FAILED) if strict and manifest.damage else 0


def _lean() -> None:
    """Spare a fresh process what it would not use: half of a small export's time are its start and its end."""
    if "numpy" not in sys.modules:
        for name, value in LEAN.items():
            os.environ.setdefault(name, value)
        gc.set_threshold(RARELY)
        atexit.register(gc.freeze)  # the system takes the memory back at once; Python would look through it twice


def _export(study: str | None, logdir: str | None, root: str | None, **given: Any) -> Manifest:
    from export.tables import export_logdir

    if logdir is not None:
        return export_logdir(logdir, **given)
    assert study is not None
    return fresh(common.open_study(study, root), **given)


def stale_figures(study: Study) -> list[str]:
    """Return the figures that would come out otherwise now."""
    if not study.figures.is_dir():
        return []
    from export.stale import stale

    return stale(study)


def tell_stale(study: Study) -> None:
    """Say which figures would come out otherwise now."""
    from orchestrator.view.table import stale_line

    line = stale_line(study.name, stale_figures(study))
    if line:
        common.note(line)


def _notes(study: str | None, logdir: str | None, root: str | None, out: Path, **given: Any) -> list[Path]:
    from export.notes import notes_of_folder, notes_of_study

    if logdir is not None:
        return notes_of_folder(Path(logdir), out, **given)
    assert study is not None
    return notes_of_study(common.open_study(study, root), out, **given)


def fresh(study: Study, **given: Any) -> Manifest:
    """Export a study; what its live writers wrote counts as well."""
    from export.tables import export_study
    from orchestrator.view.overview import living

    alive, _, _ = living(study, study.history())
    return export_study(study, alive=alive, **given)


def said(manifest: Manifest) -> Iterator[str]:
    """Yield what a person should know of an export."""
    new = f"{_size(manifest.bytes_new)} of them new" if manifest.files_new else "none of them new"
    finished = f", {manifest.finished:,} of them finished" if manifest.generation else ""  # nobody knows it of a folder
    yield (
        f"n = {manifest.read:,} of {manifest.expected:,} runs{finished}; "
        f"{manifest.scalars:,} scalars from {manifest.files_read:,} files ({_size(manifest.bytes_read)}, {new})"
    )
    if manifest.unchanged:
        yield "nothing has changed: the tables stay as they are"
    if manifest.superseded:
        yield f"{manifest.superseded:,} scalars left out: a restarted attempt wrote them again"
    if manifest.uncovered:
        yield f"{manifest.uncovered:,} scalars left out: nothing vouches for them yet"
    if manifest.repeated:
        yield f"{manifest.repeated:,} scalars left out: later ones have the same run, tag and step (--duplicates all)"
    for pattern in manifest.unmatched if manifest.scalars else ():
        yield f"no tag matches {pattern!r}: nothing of it is in the tables"
    for damage in manifest.damage[:MOST_DAMAGE]:
        place = f" at byte {damage['offset']}, {damage['bytes']} bytes" if damage["bytes"] else ""
        yield f"damaged: {damage['file']}{place}: {damage['why']}"
    if len(manifest.damage) > MOST_DAMAGE:
        yield f"… and {len(manifest.damage) - MOST_DAMAGE} more damaged places: see {manifest.folder / 'manifest.json'}"


def _size(count: float) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"


@contextmanager
def bar(what: str) -> Iterator[Callable[[Progress], None] | None]:
    """Show progress with rate and remaining time on a terminal's stderr, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (  # 80 characters in all
        TextColumn("{task.description}"), BarColumn(bar_width=12), DownloadColumn(), TransferSpeedColumn(),
        TextColumn("{task.fields[files]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None, files="")

        def watch(progress: Progress) -> None:
            files = f"{progress.files:,} of {progress.all_files:,} files"
            now = what if progress.bytes < progress.all_bytes else "writing"
            shown.update(task, description=now, completed=progress.bytes, total=progress.all_bytes, files=files)

        yield watch
