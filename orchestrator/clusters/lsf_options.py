"""What ``bsub`` is asked for: one table of options, said as far as an installation knows them.

An option that an installation does not know may be refused, or be taken for another with exit status 0: older members
of the family read ``-wa USR2`` as ``-w a``. So nothing is asked that ``bsub -h`` does not list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from orchestrator.clusters.lsf_text import DELIMITED, JSON, WIDE, Format, Product
from orchestrator.errors import UserError

_KILO: Final = 1024
_UNITS: Final = {unit: _KILO ** (power + 1) for power, unit in enumerate("KMGTPE")}

_SINCE: Final[Mapping[str, Mapping[str, tuple[int, ...]]]] = {
    "bsub": {"-wa": (6, 0), "-Q": (7, 0), "-gpu": (10, 1, 0, 3)},
    "bjobs": {"-noheader": (9, 1, 3), "-o": (9, 1, 1)},
}
"""The versions of LSF that brought an option: what is believed where an installation lists no options."""

_SUFFIX_SINCE: Final = (10, 1, 0, 2)
"""The version of LSF from which on an amount of memory may carry its unit."""


class Dialect(NamedTuple):
    """What an installation understands.

    Parameters
    ----------
    product
        The program and its version.
    options
        By command, the options that it lists; nothing for a command that lists none.
    parameters
        What the site has set: ``bparams`` and ``lsf.conf``.
    """

    product: Product = Product()
    options: Mapping[str, frozenset[str]] = {}
    parameters: Mapping[str, str] = {}

    def knows(self, command: str, option: str) -> bool:
        """Return whether a command has an option."""
        listed = self.options.get(command, frozenset())
        if "-J" in listed:  # every member of the family has it: this is a list
            return option in listed
        since = _SINCE[command].get(option)
        return self.product.ibm and since is not None and self.product.version >= since

    @property
    def listing(self) -> Format:
        """How jobs are listed."""
        if self.knows("bjobs", "-noheader"):
            return DELIMITED
        return JSON if self.knows("bjobs", "-json") else WIDE

    @property
    def unit(self) -> str:
        """The unit of ``-M``: ``K`` unless the site says otherwise."""
        said = self.parameters.get("LSF_UNIT_FOR_LIMITS", "")[:1].upper()
        return said if said in _UNITS else "M" if "volclava" in self.product.title.lower() else "K"

    @property
    def reserved_unit(self) -> str:
        """The unit of ``rusage[mem=]``: ``M`` unless the site says otherwise."""
        return self.unit if "LSF_UNIT_FOR_LIMITS" in self.parameters else "M"

    @property
    def per_slot(self) -> bool:
        """Whether what ``rusage`` says holds for each core of a job."""
        names = ("RESOURCE_RESERVE_PER_TASK", "RESOURCE_RESERVE_PER_SLOT")
        return any(self.parameters.get(name, "").upper() in ("Y", "YES", "TRUE") for name in names)

    @property
    def max_array(self) -> int:
        """How many elements an array may have. More may be taken and ruin the scheduler: never ask for more."""
        said = self.parameters.get("MAX_JOB_ARRAY_SIZE", "")
        return int(said) if said.isdecimal() and int(said) else 1000

    def notes(self) -> Iterator[str]:
        """Say what people should know: what is done without, and what the site has set that changes meanings."""
        if not self.knows("bsub", "-gpu"):
            yield "This LSF has no option `-gpu`: accelerators are asked for as ngpus_excl_p, without their type."
        if not self.knows("bsub", "-wa"):
            yield "This LSF has no warning signal: our own clock ends time slices, which costs nothing."
        if self.per_slot:
            yield "Memory is set apart per core here: what a job asks for is divided by its `cpus`."
        if self.parameters.get("ABS_RUNLIMIT", "N").upper()[:1] != "Y":
            yield "Time limits may be scaled by the speed of a machine here: leave some room in `time`."

    def amount(self, size: float, unit: str) -> str:
        """Say an amount of memory of ``size`` bytes, rounded up, where the site counts in ``unit``."""
        if self.product.ibm and self.product.version >= _SUFFIX_SINCE:
            return f"{math.ceil(size / _UNITS['M'])}MB"
        return str(math.ceil(size / _UNITS[unit]))


def listed_options(text: str) -> frozenset[str]:
    """Read the options that a command's help names."""
    return frozenset(re.findall(r"(?<![\w-])-[A-Za-z]\w*", text))


class Ask(NamedTuple):
    """What one job, or each element of an array, asks for. Zero, None and empty: nothing.

    Parameters
    ----------
    name
        Of the job.
    elements
        How many there are; 0: it is no array.
    parallel
        How many of them may run at one time.
    output
        Where LSF writes its own report, and what the job prints unless it redirects that. Never leave it out: it would
        be sent by mail.
    cpus, gpus, gpu_type
        Cores and accelerators on one machine.
    memory
        In bytes, of the whole job.
    seconds
        The time limit.
    warning
        Seconds before its end that the job is told so by USR2.
    queue, project
        Where it goes, and who is charged.
    select
        What a machine must have: the inside of ``select[]``, or any resource requirement.
    exclude
        Machines that it must not run on.
    after
        The dependency condition.
    extra
        Further options, as they stand behind ``#BSUB``; they overrule ours.
    """

    name: str
    elements: int = 0
    parallel: int | None = None
    output: str = "/dev/null"
    cpus: int = 1
    gpus: int = 0
    gpu_type: str | None = None
    memory: float | None = None
    seconds: float | None = None
    warning: float = 0
    queue: str | None = None
    project: str | None = None
    select: str | None = None
    exclude: tuple[str, ...] = ()
    after: str | None = None
    extra: tuple[str, ...] = ()


def minutes(seconds: float) -> int:
    """Return the time limit that is asked for: LSF counts in minutes."""
    return max(1, math.ceil(seconds / 60))


def _job_name(ask: Ask, _: Dialect) -> str:
    throttle = f"%{ask.parallel}" if ask.parallel else ""
    return f"{ask.name}[1-{ask.elements}]{throttle}" if ask.elements else ask.name


def _memory_limit(ask: Ask, dialect: Dialect) -> str | None:
    return dialect.amount(ask.memory, dialect.unit) if ask.memory else None


def _requirements(ask: Ask, dialect: Dialect) -> str:
    """Return the resource requirements: which machine, what is set apart there, and that it is one machine."""
    usage = []
    if ask.memory:
        share = ask.memory / ask.cpus if dialect.per_slot else ask.memory
        usage.append(f"mem={dialect.amount(share, dialect.reserved_unit)}")
    if ask.gpus and not dialect.knows("bsub", "-gpu"):
        usage.append(f"ngpus_excl_p={ask.gpus}")
    parts = [
        _machines(ask),
        f"rusage[{','.join(usage)}]" if usage else "",
        "span[hosts=1]",
    ]
    return " ".join(filter(None, parts))


def _machines(ask: Ask) -> str:
    """Return which machines will do; there may be only one ``select[]``."""
    others = [f"hname!='{name}'" for name in ask.exclude]
    given = ask.select or ""
    if given and "[" not in given:
        given = f"select[{given}]"
    if not others:
        return given
    if "select[" not in given:
        return f"select[{' && '.join(others)}] {given}".strip()
    return re.sub(r"select\[([^]]*)\]", lambda own: f"select[{' && '.join([f'({own[1]})', *others])}]", given, count=1)


def _accelerators(ask: Ask, dialect: Dialect) -> str | None:
    if not ask.gpus:
        return None
    if dialect.knows("bsub", "-gpu"):
        return f"num={ask.gpus}" + (f":gmodel={ask.gpu_type}" if ask.gpu_type else "")
    if ask.gpu_type:
        raise UserError(
            f"this LSF ({dialect.product.title or 'of unknown version'}) has no way to ask for accelerators of type "
            f"{ask.gpu_type!r}: leave `gpu_type` out, and name machines that have them by `constraint` or `queue`"
        )
    return None


def warned(ask: Ask, dialect: Dialect) -> int | None:
    """Return how many minutes ahead of its end the job is told, if it can be: the time must be within the limit."""
    if not (ask.warning and ask.seconds and dialect.knows("bsub", "-wa")):
        return None
    ahead = min(math.ceil(ask.warning / 60), minutes(ask.seconds) - 1)
    return ahead or None


OPTIONS: Final[tuple[tuple[str, Callable[[Ask, Dialect], object]], ...]] = (
    ("-J", _job_name),
    ("-o", lambda ask, _: ask.output),
    ("-q", lambda ask, _: ask.queue),
    ("-P", lambda ask, _: ask.project),
    ("-n", lambda ask, _: ask.cpus),
    ("-W", lambda ask, _: ask.seconds and minutes(ask.seconds)),
    ("-M", _memory_limit),
    ("-R", _requirements),
    ("-gpu", _accelerators),
    ("-w", lambda ask, _: ask.after),
    ("-wa", lambda ask, dialect: "USR2" if warned(ask, dialect) else None),
    ("-wt", warned),
)
"""Every option that we use, and its value; without a value it is left out."""


def script(ask: Ask, dialect: Dialect, lines: list[str]) -> str:
    """Return a batch script.

    Parameters
    ----------
    ask
        What goes into its ``#BSUB`` lines.
    dialect
        What the installation understands.
    lines
        What it does.
    """
    overruled = {option.split(" ")[0] for option in ask.extra} - {"-R"}  # several of that one add up
    values = ((option, value(ask, dialect)) for option, value in OPTIONS if option not in overruled)
    said = [f"{option} {quoted(str(value))}" for option, value in values if value] + list(ask.extra)
    return "\n".join(["#!/bin/bash", *(f"#BSUB {option}" for option in said), "", *lines, ""])


def quoted(value: str) -> str:
    """Quote a value as LSF reads ``#BSUB`` lines: like a shell, but without expansions."""
    if re.fullmatch(r"[\w./:=%@+-]+", value):
        return value
    return f'"{value}"' if '"' not in value else f"'{value}'"


def element(job_id: str, number: int) -> str:
    """Name an element as LSF does; number 0: the job itself."""
    return f"{job_id}[{number}]" if number else job_id


def elements_of(job_id: str, numbers: Iterable[int]) -> str:
    """Name several elements of a job in one word, such as ``7[1-3,8]``."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    spans = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    return f"{job_id}[{spans}]"
