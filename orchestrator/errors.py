"""What a user can get wrong, said in a sentence: the place, what is there, and the mend."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What ``orch`` returns to the shell (docs/design.md, "The command line")."""

    OK = 0
    RUNS_FAILED = 1
    USAGE = 2
    SCHEDULER_UNREACHABLE = 3
    PARTLY_SUBMITTED = 4
    INTERRUPTED = 130


@dataclass(frozen=True, order=True)
class Place:
    """A position in something a user wrote; lines and columns count from 1."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class UserError(Exception):
    """A mistake a user can mend. The command line prints ``str(error)`` and returns ``exit_code``; never a traceback.

    Parameters
    ----------
    message
        One or more sentences: what is wrong, and what would be right.
    places
        Every place that contributed, the most specific first.
    exit_code
        What the command returns.
    """

    def __init__(self, message: str, *, places: tuple[Place, ...] = (), exit_code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.message = message
        self.places = places
        self.exit_code = exit_code

    def __str__(self) -> str:
        where = ", ".join(map(str, self.places))
        return f"{where}: {self.message}" if where else self.message


def nearest(word: str, known: object) -> str:
    """Return ``", did you mean 'x'?"`` for the nearest of the ``known`` names, or nothing where none is near."""
    import difflib

    matches = difflib.get_close_matches(word, list(map(str, known)), n=1, cutoff=0.6)  # type: ignore[call-overload]
    return f" Did you mean {matches[0]!r}?" if matches else ""
