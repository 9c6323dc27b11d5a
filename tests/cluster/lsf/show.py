"""``bjobs``, ``bhist`` and ``bacct``."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.cluster.lsf import options
from tests.cluster.lsf.queue import PENDING_REASONS, Element, chosen, elements
from tests.cluster.lsf.site import Refused, Site, key

WHY = {
    "TERM_OWNER": "job killed by owner",
    "TERM_RUNLIMIT": "job killed after reaching LSF run time limit",
    "TERM_MEMLIMIT": "job killed after reaching LSF memory usage limit",
}


def clock(at: float | None, form: str = "%b %d %H:%M") -> str:
    """Return a time as LSF writes it."""
    return "-" if at is None else time.strftime(form, time.localtime(at))


def _exit_reason(element: Element) -> str:
    why = element.end.get("why", "")
    return f"{why}: {WHY[why]}" if why in WHY else why or "-"


def _exit_code(element: Element) -> str:
    return str(element.end.get("code", "") or "-") if element.stat == "EXIT" else "-"


FIELDS: dict[str, Callable[[Element], str]] = {
    "jobid": lambda e: e.job,
    "jobindex": lambda e: str(e.index),
    "stat": lambda e: e.stat,
    "user": lambda e: "root",
    "queue": lambda e: e.spec["queue"],
    "job_name": lambda e: f"{e.spec['name']}[{e.index}]" if e.index else e.spec["name"] or "-",
    "proj_name": lambda e: e.spec["project"],
    "from_host": lambda e: e.spec["from"],
    "exec_host": lambda e: e.host or "-",
    "first_host": lambda e: e.host or "-",
    "submit_time": lambda e: clock(e.spec["submitted"]),
    "start_time": lambda e: clock(e.last("start")),
    "finish_time": lambda e: clock(e.end.get("at")),
    "exit_code": _exit_code,
    "exit_reason": _exit_reason,
    "run_time": lambda e: f"{_run_time(e):.0f} second(s)",
    "pend_reason": lambda e: PENDING_REASONS.get(e.reason, e.reason) if e.stat == "PEND" else "-",
    "estimated_start_time": lambda e: "-",
    "command": lambda e: e.spec["command"],
    "dependency": lambda e: e.spec.get("dependency", "-"),
    "output_file": lambda e: e.spec.get("output", "-"),
    "sub_cwd": lambda e: e.spec["cwd"],
    "effective_resreq": lambda e: e.spec.get("requirement", "-"),
    "memlimit": lambda e: f"{e.spec['memory'] / 2**20:.0f} M" if "memory" in e.spec else "-",
    "runlimit": lambda e: f"{e.spec['limit']}.0/min" if "limit" in e.spec else "-",
    "job_description": lambda e: e.spec.get("description", "-"),
    "cpu_used": lambda e: "000:00:00.00",
    "mem": lambda e: "-",
    "max_mem": lambda e: "-",
    "swap": lambda e: "-",
    "pids": lambda e: "-",
    "slots": lambda e: str(e.spec.get("slots", 1)),
}
OLD_FIELDS = [
    "jobid", "user", "stat", "queue", "from_host", "exec_host", "job_name", "submit_time", "proj_name", "cpu_used",
    "mem", "swap", "pids", "start_time", "finish_time",
]  # fmt: skip
ALIASES = {"id": "jobid", "name": "job_name", "host": "exec_host", "reason": "exit_reason", "ecode": "exit_code"}
TABLE = {"jobid": 7, "user": 7, "stat": 5, "queue": 10, "from_host": 11, "exec_host": 11, "job_name": 10,
         "submit_time": 12}  # fmt: skip


def _run_time(element: Element) -> float:
    start = element.last("start")
    return 0 if start is None else (element.end.get("at") or time.time()) - start


def bjobs(site: Site, words: Sequence[str]) -> int:
    """List jobs."""
    given = options.parse("bjobs", options.BJOBS, site.dialect, words)
    asked, unknown = chosen(site, given.rest) if given.rest else (elements(site), [])
    asked = [e for e in asked if _remembered(site, e) and _wanted(given, e)]
    if given.rest and not asked:
        unknown = list(given.rest)
    if "A" in given.options:
        return _arrays(asked)
    if "l" in given.options:
        print("\n".join(long(e) for e in asked))
    elif "o" in given.options:
        names, delimiter = _format(site, given.options["o"])
        if "json" in given.options:
            code = _json(asked, unknown, names)
            if asked or given.rest:
                return code
        elif asked:
            _columns(asked, names, delimiter, head="noheader" not in given.options)
    elif "json" in given.options:
        raise Refused("-json must be used with -o")
    elif asked and "p" in given.options:
        _waiting(asked)
    elif asked:
        wide = "w" in given.options
        _columns(asked, list(TABLE), None, head="noheader" not in given.options, wide=wide)
    for word in unknown:
        print(f"Job <{word}> is not found", file=sys.stderr)
    if not asked and not given.rest:
        print("No job found" if "a" in given.options else "No unfinished job found", file=sys.stderr)
    return 255 if unknown or not asked else 0


def _remembered(site: Site, element: Element) -> bool:
    return not element.over or time.time() - element.end.get("at", time.time()) < site.clean_period


def _wanted(given: options.Parsed, element: Element) -> bool:
    """Keep what ended only where it is asked for."""
    flags, name, queue = given.options, given.last("J"), given.last("q")
    if name is not None and not re.fullmatch(re.escape(name).replace(r"\*", ".*"), element.spec["name"]):
        return False
    if queue is not None and queue != element.spec["queue"]:
        return False
    states = {"p": ("PEND", "PSUSP"), "r": ("RUN",), "s": ("USUSP", "SSUSP", "PSUSP"), "d": ("DONE", "EXIT")}
    picked = [stats for flag, stats in states.items() if flag in flags]
    if picked:
        return any(element.stat in stats for stats in picked)
    return "a" in flags or not element.over


def _format(site: Site, values: Sequence[str]) -> tuple[list[str], str | None]:
    text = " ".join(values)
    delimiter = re.search(r"delimiter=(?:'([^']*)'|\"([^\"]*)\"|(\S))", text)
    if delimiter and not site.old:
        text = text[: delimiter.start()] + text[delimiter.end() :]
    names = []
    for word in text.split():
        name = word if site.old else word.partition(":")[0].lower()
        name = ALIASES.get(name, name)
        if name not in (OLD_FIELDS if site.old else FIELDS):
            raise Refused(f"{word}: unknown field name")
        names.append(name)
    return names, next((group for group in delimiter.groups() if group), "") if delimiter else None


def _columns(
    found: Sequence[Element], names: Sequence[str], delimiter: str | None, *, head: bool, wide: bool = False
) -> None:
    rows = [[FIELDS[name](element) for name in names] for element in found]
    if head:
        rows.insert(0, ["JOBID" if name == "jobid" else name.upper() for name in names])
    for row in rows:
        if delimiter is not None:
            print(delimiter.join(row))
        else:
            widths = [TABLE.get(name, 10) for name in names]
            shown = zip(row if wide else map(_cut, row, widths), widths, strict=True)
            print(" ".join(f"{cell:<{width}}" for cell, width in shown).rstrip())


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else "*" + cell[1 - width :]


def _waiting(found: Sequence[Element]) -> None:
    print("JOBID   USER    STAT  QUEUE      FROM_HOST      JOB_NAME   SUBMIT_TIME")
    for element in found:
        cells = [FIELDS[name](element) for name in ("jobid", "user", "stat", "queue", "from_host", "job_name")]
        print("  ".join([*cells, FIELDS["submit_time"](element)]))
        print(f" {FIELDS['pend_reason'](element)};")


def _json(found: Sequence[Element], unknown: Sequence[str], names: Sequence[str]) -> int:
    records: list[Mapping[str, str]] = [
        {name.upper(): "" if (text := FIELDS[name](element)) == "-" else text for name in names} for element in found
    ]
    records += [{"JOBID": word, "ERROR": f"Job <{word}> is not found"} for word in unknown]
    print(json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent="\t"))
    return 0 if found else 255


def _arrays(found: Sequence[Element]) -> int:
    states = ("PEND", "DONE", "RUN", "EXIT", "SSUSP", "USUSP", "PSUSP")
    print(f"JOBID    ARRAY_SPEC  OWNER   NJOBS {' '.join(states)}")
    for job in dict.fromkeys(element.job for element in found if element.index):
        these = [element for element in found if element.job == job]
        count = Counter(element.stat for element in these)
        spec = f"{these[0].spec['name']}[{these[0].index}-{these[-1].index}]"
        print(f"{job:<8} {spec[:10]}  root  {len(these):>6} {' '.join(str(count[state]) for state in states)}")
    return 0


# --- in words ---------------------------------------------------------------------------------------------------------

STAMP = "%a %b %d %H:%M:%S"


def long(element: Element) -> str:
    """Return what ``bjobs -l`` says of an element."""
    spec = element.spec
    head = f"Job <{key(element.job, element.index)}>, Job Name <{FIELDS['job_name'](element)}>, User <root>, "
    head += (
        f"Project <{spec['project']}>, Status <{element.stat}>, Queue <{spec['queue']}>, Command <{spec['command']}>"
    )
    lines = [head, *_story(element)]
    if element.stat == "PEND":
        lines += ["", " PENDING REASONS:", f" {PENDING_REASONS.get(element.reason, element.reason)};"]
    return "\n".join(wrapped(line) for line in lines) + "\n"


def _story(element: Element) -> list[str]:
    said: list[str] = []
    for entry in element.events:
        at, event = clock(entry["at"], STAMP), entry["event"]
        if event == "submit":
            text = f"Submitted from host <{element.spec['from']}>, to Queue <{element.spec['queue']}>, "
            said.append(f"{at}: {text}CWD <{element.spec['cwd']}>;")
        elif event == "start":
            said.append(f"{at}: Dispatched to <{entry['host']}>;")
            said.append(f"{at}: Starting (Pid {entry['pid']});")
        elif event == "signal":
            said.append(f"{at}: Signal <{entry['name']}> requested by user or administrator <root>;")
        elif event == "requeue":
            why = "Requeued job is waiting for rescheduling: 1 host; "
            said.append(f"{at}: Pending: {why}(exit code {entry['code']})")
        elif event == "end":
            said.append(f"{at}: {_ending(entry)}")
    if element.over and not any(entry["event"] == "end" for entry in element.events):
        said.append(f"{clock(element.end.get('at', time.time()), STAMP)}: Exited; {_exit_reason(element)}.")
    return said


def _ending(entry: Mapping[str, Any]) -> str:
    cpu = "The CPU time used is 0.0 seconds"
    if entry["code"] == 0:
        return f"Done successfully. {cpu};"
    if entry["why"]:
        number = f" by signal {-entry['status']}" if entry["status"] < 0 else f" with exit code {entry['code']}"
        return f"Exited{number}. {cpu}; {entry['why']}: {WHY.get(entry['why'], '')};"
    if entry["status"] < 0:
        return f"Exited by signal {-entry['status']}. {cpu};"
    return f"Exited with exit code {entry['code']}. {cpu};"


def wrapped(line: str) -> str:
    """Break a line after its eightieth column, in the middle of words, as LSF does."""
    parts = [line[:80]]
    rest = line[80:]
    while rest:
        parts.append(" " * 21 + rest[:59])
        rest = rest[59:]
    return "\n".join(parts)


def bhist(site: Site, words: Sequence[str]) -> int:
    """Tell the stories of jobs, also of those that bjobs has forgotten."""
    given = options.parse("bhist", options.BHIST, site.dialect, words)
    found, unknown = chosen(site, given.rest) if given.rest else (elements(site), [])
    for element in found:
        if "l" not in given.options:
            print(f"{element.job:<7} root {element.spec['name'][:9]:<9} {_run_time(element):.0f}")
            continue
        head = f"Job <{key(element.job, element.index)}>, Job Name <{FIELDS['job_name'](element)}>, User <root>, "
        head += f"Project <{element.spec['project']}>, Command <{element.spec['command']}>"
        print("\n".join(wrapped(line) for line in [head, *_story(element)]))
        print("\nSummary of time in seconds spent in various states by  " + clock(time.time(), STAMP))
        print("  PEND     PSUSP    RUN      USUSP    SSUSP    UNKWN    TOTAL")
        print(f"  0        0        {_run_time(element):<8.0f} 0        0        0        {_run_time(element):.0f}\n")
        print("-" * 78)
    for _ in unknown:
        print("No matching job found", file=sys.stderr)
    return 255 if unknown and not found else 0


def bacct(site: Site, words: Sequence[str]) -> int:
    """Account for jobs that ended."""
    given = options.parse("bacct", options.BHIST, site.dialect, words)
    found, _ = chosen(site, given.rest) if given.rest else (elements(site), [])
    print("\nAccounting information about jobs that are: \n  - submitted by all users.\n" + "-" * 78 + "\n")
    for element in found:
        if element.over:
            print(
                long(element).replace("Done successfully.", "Completed <done>;").replace("Exited", "Completed <exit>;")
            )
            print("-" * 78 + "\n")
    return 0
