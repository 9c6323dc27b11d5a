"""``orch``: a group whose commands are imported when they are called, and the one place that turns errors into text."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from orchestrator.errors import ExitCode, UserError, nearest

BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended: the reader had enough."""

DISKS = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EROFS: "have it mounted for writing, or choose another place with --root",
    errno.EACCES: "have it made writable for you, or choose another place with --root",
    errno.ESTALE: "wait until the file server is back",
    errno.EIO: "wait until the file server is back",
}
"""What helps against a disk's refusals. A study that met one is as it was, or half a step further."""

COMMANDS: dict[str, dict[str, str]] = {
    "From a grid to a figure": {
        "init": "Write a commented grid to start from.",
        "plan": "Show what submit would do.",
        "submit": "Hand a grid's missing runs to the cluster.",
        "run": "Submit, watch, export and draw: the whole road.",
        "script": "Print a batch script to submit by hand.",
    },
    "Looking": {
        "status": "Count a study's runs by state.",
        "watch": "Follow a study until nothing is left to do.",
        "explain": "Say all there is to know of one run.",
        "logs": "Print the output of a run's process.",
        "report": "Write a study's report as one HTML file.",
    },
    "Steering": {
        "cancel": "Stop runs, or a whole study.",
        "retry": "Give failed runs a new budget.",
        "clean": "Remove what a study needs no more.",
    },
    "Results": {
        "export": "Turn event files into CSV or Parquet tables.",
        "plot": "Draw a study's figures.",
    },
    "Setting up": {
        "doctor": "Check what this machine offers.",
        "experiments": "List the installed experiments.",
        "schema": "Print the JSON Schema of grids, for editors.",
    },
}
"""Every command with its line of help. A command's module bears its name and holds ``command``."""

Resolved = tuple[str | None, click.Command | None, list[str]]

EPILOG = """\b
Studies live in ./runs, or where --root or ORCH_ROOT says.
Exit codes: 0 all well, 1 some runs failed, 2 wrong usage or grid,
3 scheduler unreachable, 4 partly submitted, 130 interrupted.
Completion: eval "$(_ORCH_COMPLETE=bash_source orch)"; or zsh_source, fish_source."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of all commands, in the order of the help."""
        return [name for section in COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"orchestrator.cli.{cmd_name}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Resolved:
        """Find the command that the first word names."""
        if args and not args[0].startswith("-") and args[0] not in (known := self.list_commands(ctx)):
            raise click.UsageError(f"There is no command {args[0]!r}.{nearest(args[0], known)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands in their sections without importing any."""
        for title, section in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(list(section.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:  # noqa: ARG002
        """Complete the name of a command without importing any."""
        from click.shell_completion import CompletionItem

        lines = {name: line for section in COMMANDS.values() for name, line in section.items()}
        return [CompletionItem(name, help=line) for name, line in lines.items() if name.startswith(incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that went away (``orch status | head -1``) is no error."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(BROKEN_PIPE)
        return result


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"orch {version('orch')}")
        ctx.exit()


@click.group(
    cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def cli() -> None:
    """Turn a grid of many small runs into a figure, on Slurm, LSF or this machine."""


def main(args: Sequence[str] | None = None) -> int:
    """Run ``orch`` and return its exit code; the entry point of the console script.

    Parameters
    ----------
    args
        The words after ``orch``; those of the process by default.
    """
    try:
        result = cli.main(args, prog_name="orch", standalone_mode=False)
    except UserError as error:
        _complain(str(error))
        return int(error.exit_code)
    except click.Abort:
        _complain("interrupted")
        return int(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:
        if os.environ.get("ORCH_DEBUG"):
            raise
        where = f"{error.filename}: " if error.filename else ""
        mend = DISKS.get(error.errno or 0)
        then = f"; nothing is lost: {mend}, then give the command again" if mend else ""
        _complain(f"{where}{error.strerror or error}{then}")
        return int(ExitCode.USAGE)
    return result if isinstance(result, int) else 0


def _complain(text: str) -> None:
    click.echo(f"orch: {text}", err=True)


if __name__ == "__main__":
    sys.exit(main())
