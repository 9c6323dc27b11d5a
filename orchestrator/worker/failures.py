"""From an exception to a class of failure, a message, and a signature that is the same for the same mistake."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.errors import UserError
from orchestrator.states import FailureClass

MESSAGE_LENGTH: Final = 2_000
TRACEBACK_LENGTH: Final = 20_000

MACHINE_ERRORS: Final = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENODEV, errno.ENXIO}
)
"""What the machine or its disks do to a program that is not the program's fault."""


DISK_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What says that a disk takes no more, whichever machine asks: it is full, a quota is, or it may only be read."""


class Unrecorded(Exception):  # noqa: N818  (it happened to the study's files, not to the experiment)
    """The study's files could not be written. Nothing about the runs is known to be wrong."""


@dataclass(frozen=True)
class Failure:
    """Why an attempt on some runs ended without a verdict.

    Parameters
    ----------
    kind
        Its class; what is done about it stands in ``policy.RULES``.
    message
        One line or a few, for people.
    signature
        The same for the same mistake in other runs: numbers and addresses are left out.
    traceback
        As Python prints it; empty for what is said in a sentence.
    """

    kind: FailureClass
    message: str
    signature: str
    traceback: str = ""

    def alike(self, other: Failure) -> bool:
        """Say whether two failures are the same mistake."""
        return (self.kind, self.signature) == (other.kind, other.signature)


def _named(*names: str) -> Callable[[BaseException], bool]:
    """Match exceptions by the name of a class they derive from, so that its package need not be imported."""
    return lambda error: any(base.__name__ in names for base in type(error).__mro__)


def _from(*packages: str) -> Callable[[BaseException], bool]:
    return lambda error: any(type(error).__module__.startswith(package) for package in packages)


def _full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in DISK_ERRORS


def _machine(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in MACHINE_ERRORS


def _says(*words: str) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, RuntimeError) and any(word in str(error) for word in words)


CLASSES: Final[tuple[tuple[Callable[[BaseException], bool], FailureClass], ...]] = (
    (_named("MemoryError", "OutOfMemoryError"), "oom"),
    (_says("can't allocate memory", "out of memory"), "oom"),
    (_named("Unrecorded"), "disk"),
    (_full, "disk"),
    (_machine, "node"),
    (_from("torch._inductor", "torch._dynamo"), "engine"),
    (lambda _: True, "user error"),
)
"""The first row that matches decides."""


def classify(error: BaseException) -> Failure:
    """Describe an exception."""
    kind = next(kind for matches, kind in CLASSES if matches(error))
    if isinstance(error, UserError):
        return sentence(kind, str(error))
    if isinstance(error, Unrecorded):
        return sentence(kind, f"the study's files cannot be written: {error}")
    name = type(error).__qualname__
    text = str(error).strip()
    message = f"{name}: {text}" if text else name
    return Failure(
        kind,
        message[:MESSAGE_LENGTH],
        f"{name} in {_place(error)}: {normalise(text)}",
        _shorten("".join(traceback.format_exception(type(error), error, error.__traceback__))),
    )


def of_disk(error: OSError) -> FailureClass:
    """Say whether it was the disk of the study's files, or rather this machine's way to it."""
    return "disk" if error.errno in DISK_ERRORS else "node"


def sentence(kind: FailureClass, message: str) -> Failure:
    """Describe what is said in a sentence; it has no traceback."""
    return Failure(kind, message[:MESSAGE_LENGTH], normalise(message))


_DIFFERING: Final = (
    (re.compile(r"(?<![\w/.…])(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[\w.@+~=#-]+[/\\])*([\w.@+~=#-]+)"), r"…/\1"),  # paths
    (re.compile(r"\b(?=[a-z2-7]*\d)[a-z2-7]{16}\b"), "#"),  # ids of runs
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "#"),  # UUIDs
    (re.compile(r"\b(?=[0-9a-f]*\d)(?=\d*[a-f])[0-9a-f]{7,}\b"), "#"),  # hashes
    (re.compile(r"0x[0-9a-fA-F]+"), "#"),
    # Numbers; but those of a signal, a status or an error say what it was.
    (re.compile(r"(?<!signal )(?<!status )(?<!Errno )(?<![\d.])\d+(?:\.\d+)*(?:[eE][-+]?\d+)?"), "#"),
    (re.compile(r"#(?:, ?#)+"), "#, …"),  # however many there were
    (re.compile(r"\s+"), " "),
)
"""What differs between two runs that fail for the same reason, and what stands for it."""


def normalise(text: str) -> str:
    """Leave out what differs between two runs that fail for the same reason: numbers, paths, ids, ends of long text."""
    for pattern, stands in _DIFFERING:
        text = pattern.sub(stands, text)
    return text.strip()[:200].rstrip()


def unfinished(lanes: Iterable[int]) -> Failure:
    """Describe an experiment that returned and left runs without a verdict."""
    return sentence(
        "user error",
        f"the train function returned before {len(list(lanes))} of its runs came to an end; "
        "it must call `lanes.run`, and leave it only when that returns",
    )


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"


def _shorten(text: str) -> str:
    half = TRACEBACK_LENGTH // 2
    return text if len(text) <= TRACEBACK_LENGTH else f"{text[:half]}\n[…]\n{text[-half:]}"
