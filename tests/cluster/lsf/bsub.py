"""``bsub``: from options to a job of Slurm."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.cluster.lsf import options
from tests.cluster.lsf.queue import Element, elements
from tests.cluster.lsf.site import Refused, Site, note, spec_of

UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
WRAPPER = 24
"""Megabytes for what watches over a job inside of it."""

NOT_SUBMITTED = "Job not submitted."


def bsub(site: Site, words: Sequence[str]) -> int:
    """Hand a job over: its script from standard input, or a command."""
    given = options.parse("bsub", options.BSUB, site.dialect, words)
    script = f"#!/bin/sh\n{' '.join(given.rest)}\n" if given.rest else sys.stdin.read()
    inside = options.parse("bsub", options.BSUB, site.dialect, options.embedded(script) if not given.rest else ())
    chosen = options.Parsed(inside.options | given.options, given.rest)  # the command line wins
    if not script.startswith("#!"):
        script = f"#!/bin/sh\n{script}"
    if "V" in chosen.options:
        raise Refused("")
    spec: dict[str, Any] = {
        "name": "", "indices": [], "queue": next(iter(site.queues)), "project": "default", "requeue_codes": [],
        "command": " ".join(given.rest) or script, "cwd": str(Path.cwd()), "submitted": time.time(),
        "from": socket.gethostname().split(".")[0], "flags": sorted(chosen.options),
    }  # fmt: skip
    slurm = ["--parsable", "--output=/dev/null", "--nodes=1", "--ntasks=1", "--open-mode=append"]
    slurm += ["--requeue" if "r" in chosen.options else "--no-requeue", *(["--hold"] if "H" in chosen.options else [])]
    for name, read in READERS.items():
        if name in chosen.options:
            slurm += read(site, spec, chosen.options[name])
    _check_limit(site, spec)
    if "partition" not in spec:
        slurm.append(f"--partition={site.queues[spec['queue']]}")
    slurm.append(f"--job-name={spec['name'] or 'job'}")
    return _hand_over(site, spec, slurm, script)


def _hand_over(site: Site, spec: dict[str, Any], slurm: list[str], script: str) -> int:
    folder = site.new(script)
    (folder / "job.json").write_text(json.dumps(spec))
    root = str(Path(__file__).parents[3])
    program = f"import sys; sys.path.insert(0, {root!r}); from tests.cluster.lsf.job import main; main(sys.argv[1])"
    text = f"#!/bin/sh\nexec {shlex.join([sys.executable, '-SE', '-c', program, str(folder)])}\n"
    try:
        job = site.slurm("sbatch", *slurm, f"--comment={folder.name}", text=text).strip().partition(";")[0]
    except Refused as error:
        raise Refused(f"{error}. {NOT_SUBMITTED}") from error
    site.name_job(folder.name, job)
    for index in spec["indices"] or [0]:
        note(folder, index, "submit")
    default = "" if "q" in spec["flags"] else "default "
    print(f"Job <{job}> is submitted to {default}queue <{spec['queue']}>.")
    return 0


def _check_limit(site: Site, spec: dict[str, Any]) -> None:
    if site.max_pend is None:
        return
    pending = sum(element.stat == "PEND" for element in elements(site))
    if pending + max(1, len(spec["indices"])) > site.max_pend:
        raise Refused(f"Pending job threshold reached. {NOT_SUBMITTED}")


# --- what each option means -------------------------------------------------------------------------------------------


def _name(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    found = re.fullmatch(r"([^\[\]%]*)(?:\[([^\]]*)\])?(?:%(\d+))?", values[-1])
    if not found:
        raise Refused(f"{values[-1]}: Bad job name. {NOT_SUBMITTED}")
    spec["name"], listed, throttle = found.groups()
    if listed is None:
        return []
    spec["indices"] = _indices(listed)
    if len(spec["indices"]) > site.max_array:
        if site.old:  # taken for a single job, and worse things happen later
            spec["indices"] = []
            return []
        raise Refused(f"Job array size exceeds MAX_JOB_ARRAY_SIZE. {NOT_SUBMITTED}")
    return [f"--array={listed}{f'%{throttle}' if throttle else ''}"]


def _indices(listed: str) -> list[int]:
    found: set[int] = set()
    for part in listed.split(","):
        span = re.fullmatch(r"(\d+)(?:-(\d+))?(?::(\d+))?", part.strip())
        if not span or int(span[1]) < 1:
            raise Refused(f"{listed}: Bad array index list. {NOT_SUBMITTED}")
        found.update(range(int(span[1]), int(span[2] or span[1]) + 1, int(span[3] or 1)))
    return sorted(found)


def _queue(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    if values[-1] not in site.queues:
        raise Refused(f"{values[-1]}: No such queue. {NOT_SUBMITTED}")
    spec["queue"] = values[-1]
    return []


def _keep(name: str) -> Callable[[Site, dict[str, Any], Sequence[str]], list[str]]:
    def read(_: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
        spec[name] = values[-1]
        return []

    return read


def _minutes(name: str) -> Callable[[Site, dict[str, Any], Sequence[str]], list[str]]:
    def read(_: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
        found = re.fullmatch(r"(?:(\d+):)?(\d+)(?:/.*)?", values[-1])
        if not found:
            raise Refused(f"{values[-1]}: Bad {'RUNLIMIT' if name == 'limit' else 'time'} value. {NOT_SUBMITTED}")
        spec[name] = 60 * int(found[1] or 0) + int(found[2])
        return []

    return read


def _memory(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    found = re.fullmatch(r"(\d+)([KMGT]B?)?", values[-1], re.IGNORECASE)
    if not found or int(found[1]) == 0 or (site.old and found[2]):
        raise Refused(f"{values[-1]}: MEMLIMT value should be a positive integer. {NOT_SUBMITTED}")
    unit = (found[2] or site.unit or ("MB" if site.old else "KB")).upper()
    size = int(found[1]) * UNITS[unit if unit.endswith("B") else f"{unit}B"]
    spec["memory"] = size
    return [f"--mem={max(1, size // 2**20) + WRAPPER}M"]


def _requirement(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    text = " ".join(values)
    sections = re.sub(r"\b(select|rusage|span|order|same|cu|affinity)\[[^\[\]]*\]", "", text)
    if re.search(r"[\[\]]", sections):
        raise Refused(f"{text}: Bad resource requirement syntax. {NOT_SUBMITTED}")
    spec["requirement"] = text
    features = re.search(r"select\[\s*\(?([A-Za-z]\w*)\)?\s*\]", text)
    accelerators = re.search(r"ngpus_excl_p=(\d+)", text)
    asked = [f"--constraint={features[1]}"] if features else []
    return asked + ([f"--gres=gpu:{accelerators[1]}"] if accelerators else [])


def _gpu(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    parts = dict(part.partition("=")[::2] for part in values[-1].split(":"))
    if set(parts) - {"num", "mode", "mps", "j_exclusive", "gmodel", "gmem", "aff", "gtile", "block", "gvendor"}:
        raise Refused(f"{values[-1]}: Bad GPU requirement. {NOT_SUBMITTED}")
    spec["gpu"] = values[-1]
    kind = f"{parts['gmodel']}:" if parts.get("gmodel") else ""
    return [f"--gres=gpu:{kind}{parts.get('num', '1').partition('/')[0]}"]


def _slots(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    spec["slots"] = int(values[-1].partition(",")[0])
    return [f"--cpus-per-task={spec['slots']}"]


def _hosts(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    return [f"--nodelist={','.join(values[-1].split())}"]


def _codes(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    text = values[-1].replace("EXCLUDE(", " ").replace(")", " ")
    every = set(range(1, 256)) if "all" in text else set()
    minus = {int(word[1:]) for word in text.split() if word.startswith("~")}
    spec["requeue_codes"] = sorted((every | {int(word) for word in text.split() if word.isdecimal()}) - minus)
    return []


CONDITIONS = {"done": "afterok", "ended": "afterany", "exit": "afternotok", "started": "after", "numdone": "afterok",
              "numended": "afterany"}  # fmt: skip
FULFILLED: dict[str, Callable[[Element], bool]] = {
    "afterok": lambda element: element.stat == "DONE",
    "afternotok": lambda element: element.stat == "EXIT",
    "afterany": lambda element: element.over,
    "after": lambda element: element.stat != "PEND",
}


def _dependency(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    text = spec["dependency"] = values[-1]
    both, either = "&&" in text, "||" in text
    parts = [part.strip(" ()") + ")" for part in re.split(r"&&|\|\|", text) if part.strip()]
    terms: list[str] = []
    never = False
    for part in parts:
        found = re.match(r"(?:(\w+)\s*\()?\s*\"?([^\",()]+?)\"?\s*[,)]", part)
        kind = CONDITIONS.get((found and found[1]) or "done")
        if not found or kind is None:
            raise Refused(f"{text}: Bad dependency condition. {NOT_SUBMITTED}")
        for job in _named(site, found[2]):
            these = elements(site, [job])
            if all(element.over for element in these):  # Slurm may have forgotten it
                never = never or not all(FULFILLED[kind](element) for element in these)
            else:
                terms.append(f"{kind}:{job}")
    if never and not either:
        spec["never"] = True
        return ["--hold"]
    if both and either:
        raise Refused(f"{text}: too much for this translation. {NOT_SUBMITTED}")
    return [f"--dependency={('?' if either else ',').join(terms)}"] if terms else []


def _named(site: Site, name: str) -> list[str]:
    base = name.removesuffix("[*]")
    if base.isdecimal():
        found = [base] if base in site.known() else []
    else:
        found = [job for job in site.known() if spec_of(site.jobs / job)["name"] == base]
    if not found:
        raise Refused(f"{name}: No matching job found. {NOT_SUBMITTED}")
    return found


def _directory(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    spec["cwd"] = values[-1]
    return [f"--chdir={values[-1]}"]


def _environment(site: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
    return [f"--export={'ALL' if values[-1] == 'all' else 'NONE' if values[-1] == 'none' else values[-1]}"]


def _exclusive_file(name: str) -> Callable[[Site, dict[str, Any], Sequence[str]], list[str]]:
    def read(_: Site, spec: dict[str, Any], values: Sequence[str]) -> list[str]:
        spec[name], spec[f"{name}_anew"] = values[-1], True
        return []

    return read


READERS: dict[str, Callable[[Site, dict[str, Any], Sequence[str]], list[str]]] = {
    "J": _name, "q": _queue, "P": _keep("project"), "o": _keep("output"), "e": _keep("errors"), "W": _minutes("limit"),
    "oo": _exclusive_file("output"), "eo": _exclusive_file("errors"), "wt": _minutes("warning_time"),
    "wa": _keep("warning"), "M": _memory, "R": _requirement, "gpu": _gpu, "n": _slots, "m": _hosts, "Q": _codes,
    "w": _dependency, "cwd": _directory, "env": _environment, "Jd": _keep("description"), "app": _keep("application"),
}  # fmt: skip
"""Option to what notes it and returns options of ``sbatch``. Options that are not here are taken and mean nothing."""


def submitter() -> str:
    """Return the user's name."""
    return os.environ.get("USER") or "root"
