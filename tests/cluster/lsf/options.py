"""The command lines: which options there are in each dialect, and what becomes of those that there are not."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from tests.cluster.lsf.site import Refused

# One word per option; those before the bar take a value, those after it take none.
BSUB = {
    "old": "a b c C D e E Ep f F G i J Jd k L m M n o p P q R S sp t u U v w W X | B H h I Ip Is K N r V x",
    "ibm": "a app b c C clusters cwd D data e E env eo Ep ext f F G g gpu i is J Jd k L Lp M m mig n network o oo"
    " outdir P p Q q R rnc S s sla sp T t U u v w W wa We wt | ar B H h I Ip Is K N r rn V x XF",
}
BJOBS = {
    "old": "o m q u P J | A a d h json l p r s UF V w",
    "ibm": "app G g J Jd Lp m N o P q sla u | A a aff d fwd h hostfile json l noheader p pe pi psum r s sum UF V w W X",
}
BKILL = {"old": "J m q s u | h V", "ibm": "app C G g J m q s sla stat u | b h r d V"}
BREQUEUE = {"old": "J u | a d e H h p r V", "ibm": "J u | a d e H h p r V"}
BHIST = {"old": "f n J u | a b d e h l p r s w V", "ibm": "C f G g J Jd n N P q S u | a b d e h l p r s t T w V"}
BPARAMS = {"old": "| a h l V", "ibm": "| a h l V"}
NONE = {"old": "| h V w l", "ibm": "o | h json noheader V w l"}


class Parsed(NamedTuple):
    """A command line: each option's values in order, and what follows the options."""

    options: dict[str, list[str]]
    rest: list[str]

    def last(self, name: str) -> str | None:
        """Return the value of an option that was given."""
        return self.options[name][-1] if name in self.options else None


def parse(command: str, table: dict[str, str], dialect: str, words: Sequence[str]) -> Parsed:
    """Read a command line.

    The old dialect reads an option that it does not know as a shorter one with its value attached: ``-wa USR2`` is
    ``-w a``, and ``USR2`` begins the command.
    """
    valued, _, plain = (set(part.split()) if part != "|" else set() for part in table[dialect].partition("|"))
    options: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        name = rest.pop(0)[1:]
        if name in plain:
            options.setdefault(name, [])
        elif name in valued:
            if not rest:
                raise Refused(f"{command}: option requires an argument -- {name}\n{usage(command, table, dialect)}")
            options.setdefault(name, []).append(rest.pop(0))
        elif dialect == "old" and name[:1] in valued:
            options.setdefault(name[0], []).append(name[1:])
        else:
            raise Refused(f"{command}: illegal option -- {name}\n{usage(command, table, dialect)}")
    if "h" in options:
        raise Refused(usage(command, table, dialect))
    return Parsed(options, rest)


def usage(command: str, table: dict[str, str], dialect: str) -> str:
    """Return what ``-h`` says."""
    valued, _, plain = table[dialect].partition("|")
    listed = [f"[-{name}]" for name in plain.split()] + [f"[-{name} {name}_value]" for name in valued.split()]
    return f"Usage: {command} {' '.join(listed)} [argument ...]"


def embedded(script: str) -> list[str]:
    """Return the words of a script's #BSUB lines."""
    lines = [line for line in script.splitlines() if line.startswith("#BSUB")]
    return [word for line in lines for word in shlex.split(line.removeprefix("#BSUB"), comments=True)]
