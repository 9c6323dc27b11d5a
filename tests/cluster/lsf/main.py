"""All commands, and those that are a few lines."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.cluster.lsf import options
from tests.cluster.lsf.bsub import bsub
from tests.cluster.lsf.job import requeue
from tests.cluster.lsf.queue import Element, chosen, elements
from tests.cluster.lsf.show import bacct, bhist, bjobs
from tests.cluster.lsf.site import Refused, Site, key, mark, marked, note, slurm_key

BANNER = {
    "ibm": "IBM Spectrum LSF Standard 10.1.0.13\nCopyright International Business Machines Corp. 1992, 2016.\n",
    "old": "Volclava project 2.2\n",
}


def _named(site: Site, given: options.Parsed) -> tuple[list[Element], list[str]]:
    if given.rest and given.rest != ["0"]:
        return chosen(site, given.rest)
    name = given.last("J")
    return [e for e in elements(site) if not e.over and (name is None or e.spec["name"] == name)], []


def bkill(site: Site, words: Sequence[str]) -> int:
    """Send a signal, or INT, TERM and KILL one after the other."""
    given = options.parse("bkill", options.BKILL, site.dialect, words)
    number = given.last("s")
    found, unknown = _named(site, given)
    code = 0
    for element in found:
        said = _signal(site, element, number) if number else _kill(site, element)
        done = said.startswith("is being")
        print(f"Job <{key(element.job, element.index)}>{'' if done else ':'} {said}", file=None if done else sys.stderr)
        code = code if done else 255
    for word in unknown:
        print(f"Job <{word}>: No matching job found", file=sys.stderr)
        code = 255
    if not found and not unknown:
        print("No matching job found", file=sys.stderr)
        code = 255
    return code


def _kill(site: Site, element: Element) -> str:
    name, at = slurm_key(element.job, element.index), element.folder
    if element.over:
        return "Job has already finished"
    if element.stat in ("PEND", "PSUSP"):
        site.slurm("scancel", name, check=False)
        end = {"stat": "EXIT", "code": 0, "why": "TERM_OWNER", "at": time.time(), "host": ""}
        mark(at, element.index, "end", json.dumps(end))
        return "is being terminated"
    if marked(at, element.index, "kill") is not None:
        return "Operation is in progress"
    mark(at, element.index, "kill", "TERM_OWNER")
    site.slurm("scancel", "--batch", "--signal=INT", name, check=False)
    return "is being terminated"


def _signal(site: Site, element: Element, word: str) -> str:
    name = word.upper().removeprefix("SIG")
    name = signal.Signals(int(name)).name.removeprefix("SIG") if name.isdecimal() else name
    if element.over:
        return "Job has already finished"
    if name == "KILL":
        mark(element.folder, element.index, "kill", "TERM_OWNER")
        if element.stat in ("PEND", "PSUSP"):
            return _kill(site, element)
        site.slurm("scancel", "--full", "--signal=KILL", slurm_key(element.job, element.index), check=False)
        end = {"stat": "EXIT", "code": 137, "why": "TERM_OWNER", "at": time.time(), "host": element.host}
        mark(element.folder, element.index, "end", json.dumps(end))
        note(element.folder, element.index, "end", code=137, status=-9, why="TERM_OWNER")
    else:
        site.slurm("scancel", "--batch", f"--signal={name}", slurm_key(element.job, element.index), check=False)
    return "is being signaled"


def brequeue(site: Site, words: Sequence[str]) -> int:
    """Kill running jobs and have them start again."""
    given = options.parse("brequeue", options.BREQUEUE, site.dialect, words)
    found, unknown = _named(site, given)
    every = "a" in given.options
    code = 0
    for element in found:
        shown = key(element.job, element.index)
        if element.stat in ("RUN", "USUSP", "SSUSP") or every or ("e" in given.options and element.over):
            requeue(site, element.folder, element.job, element.index)
            print(f"Job <{shown}> is being requeued")
        else:
            print(f"Job <{shown}>: Job has not started or has ended", file=sys.stderr)
            code = 255
    for word in unknown:
        print(f"Job <{word}>: No matching job found", file=sys.stderr)
    return 255 if unknown else code


def bparams(site: Site, words: Sequence[str]) -> int:
    """Print settings."""
    given = options.parse("bparams", options.BPARAMS, site.dialect, words)
    settings = {
        "DEFAULT_QUEUE": " ".join(list(site.queues)[:1]),
        "MBD_SLEEP_TIME": "1",
        "CLEAN_PERIOD": site.clean_period,
        "MAX_JOB_ARRAY_SIZE": site.max_array,
        "JOB_TERMINATE_INTERVAL": int(site.terminate_interval),
        **({"MAX_PEND_JOBS": site.max_pend} if site.max_pend else {}),
    }
    if not {"a", "l"} & set(given.options):
        print(f"Default Queues:  {settings['DEFAULT_QUEUE']}\nJob Dispatch Interval:  1 seconds")
    else:
        for name, value in settings.items():
            print(f"        {name} = {value}")
    return 0


def lsid(site: Site, words: Sequence[str]) -> int:
    """Print the version, the cluster and its master."""
    options.parse("lsid", options.NONE, site.dialect, words)
    print(f"{BANNER[site.dialect]}\nMy cluster name is lab\nMy master name is {os.uname().nodename}")
    return 0


def bqueues(site: Site, words: Sequence[str]) -> int:
    """List queues."""
    given = options.parse("bqueues", options.NONE, site.dialect, words)
    unknown = [name for name in given.rest if name not in site.queues]
    counts = Counter((e.spec["queue"], e.stat) for e in elements(site))
    if "l" not in given.options:
        print("QUEUE_NAME      PRIO STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN  SUSP ")
    for priority, name in enumerate(site.queues):
        if given.rest and name not in given.rest:
            continue
        pend, run = counts[name, "PEND"], counts[name, "RUN"]
        numbers = f"{pend + run:>5} {pend:>5} {run:>5}     0"
        if "l" in given.options:
            print(f"\nQUEUE: {name}\n  -- For the tests of a laboratory.\n\nPARAMETERS/STATISTICS")
            print("PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV ")
            print(f" {30 + priority}    0  Open:Active       -    -    -    - {numbers}     0    0\n")
            print("USERS: all  \nHOSTS:  all \n")
        else:
            print(f"{name:<15}  {30 + priority}  Open:Active       -    -    -    - {numbers}")
    for name in unknown:
        print(f"{name}: No such queue", file=sys.stderr)
    return 255 if unknown else 0


def bhosts(site: Site, words: Sequence[str]) -> int:
    """List hosts."""
    options.parse("bhosts", options.NONE, site.dialect, words)
    running = Counter(e.host for e in elements(site) if e.stat == "RUN")
    print("HOST_NAME          STATUS       JL/U    MAX  NJOBS    RUN  SSUSP  USUSP    RSV ")
    for line in site.slurm("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T %c").splitlines():
        node, state, cpus = line.split()
        word = "unavail" if state.startswith("down") else "closed_Adm" if state.startswith("dr") else "ok"
        print(f"{node:<18} {word:<12}    - {cpus:>6} {running[node]:>6} {running[node]:>6}      0      0      0")
    return 0


def busers(site: Site, words: Sequence[str]) -> int:
    """List users."""
    options.parse("busers", options.NONE, site.dialect, words)
    counts = Counter(e.stat for e in elements(site))
    print("USER/GROUP          JL/P    MAX  NJOBS   PEND    RUN  SSUSP  USUSP    RSV ")
    pend, run = counts["PEND"], counts["RUN"]
    print(f"{'root':<20}   -      - {pend + run:>6} {pend:>6} {run:>6}      0      0      0")
    return 0


COMMANDS: dict[str, Callable[[Site, Sequence[str]], int]] = {
    "bsub": bsub, "bjobs": bjobs, "bkill": bkill, "bhist": bhist, "bacct": bacct, "brequeue": brequeue,
    "bparams": bparams, "lsid": lsid, "bqueues": bqueues, "bhosts": bhosts, "busers": busers,
}  # fmt: skip
NEW_COMMANDS = {"bacct"}
"""Commands that the old dialect lacks."""


def main(name: str, words: Sequence[str]) -> int:
    """Run a command; return its exit status."""
    try:
        return COMMANDS[name](Site.found(), words)
    except Refused as error:
        print(error, file=sys.stderr)
        return 255
