"""What the commands of LSF print, read: pure functions from text to tuples. Text nobody understands is left out.

The family has had three ways to list jobs for programs, and an installation may know any of them:

============  ====================================================  ==============================================
IBM           ``bjobs -noheader -o "… delimiter='^'"``              a field more or less in a line: not a job
volclava      ``bjobs -json -o "…"``                                whole or nothing; unknown ids are records too
all others    ``bjobs -w``                                          columns; the index stands in the job's name
============  ====================================================  ==============================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from orchestrator.clusters.batch import QueueFacts

# --- jobs that are listed ---------------------------------------------------------------------------------------------

_ID: Final = r"(\d+)(?:\[(\d+)\])?"
_SUBMITTED: Final = re.compile(r"Job <(\d+)> is submitted")
_UNKNOWN: Final = re.compile(rf"Job <{_ID}>(?: is not found|: No matching job found)")


class Row(NamedTuple):
    """A job, or an element of an array, as it is listed.

    Parameters
    ----------
    job_id
        LSF's number; all elements of an array share it.
    number
        Which element it is, counted from 1 as LSF does; 0: not of an array.
    word
        LSF's word for its state.
    code
        Its exit status as text; empty while there is none.
    reason
        Why LSF ended it, in its words; empty if it did not or does not say.
    host
        Where it runs or ran; empty if nowhere.
    name
        Its name, without the number.
    """

    job_id: str
    number: int
    word: str
    code: str = ""
    reason: str = ""
    host: str = ""
    name: str = ""


class Listing(NamedTuple):
    """The answer to a question for jobs.

    Parameters
    ----------
    rows
        What is listed.
    unknown
        ``(job_id, number)`` of what LSF says that it does not know; number 0: the whole job.
    whole
        Whether it came to its end. If not, what is missing may be there all the same.
    """

    rows: tuple[Row, ...]
    unknown: frozenset[tuple[str, int]]
    whole: bool = True


class Format(NamedTuple):
    """A way to list jobs.

    Parameters
    ----------
    options
        Of ``bjobs``; ``-a``, ids and names come besides.
    read
        Reads the rows of what it printed.
    """

    options: tuple[str, ...]
    read: Callable[[str], list[Row]]


def read_submitted(text: str) -> str | None:
    """Return the id in what ``bsub`` said, whatever else a site has it say."""
    found = _SUBMITTED.search(text)
    return found[1] if found else None


def read_unknown(text: str) -> frozenset[tuple[str, int]]:
    """Return which jobs and elements LSF says that it does not know."""
    return frozenset((found[1], int(found[2] or 0)) for found in _UNKNOWN.finditer(text))


def read_delimited(text: str) -> list[Row]:
    """Read lines of ``^``-separated fields."""
    rows = []
    for line in text.splitlines():
        values = [value.strip() for value in line.split(_DELIMITER)]
        if len(values) == len(_FIELDS) and re.fullmatch(_ID, values[0]):
            rows.append(_row(dict(zip(_FIELDS, values, strict=True))))
    return rows


def read_json(text: str) -> list[Row]:
    """Read the records of a JSON answer; text before and after it does not matter."""
    records = _document(text).get("RECORDS") or []
    return [_row({key.lower(): str(value) for key, value in record.items()}) for record in records if "STAT" in record]


def read_wide(text: str) -> list[Row]:
    """Read the columns of ``bjobs -w``: what is not known has no column, or a dash in it."""
    rows = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= _WIDE - 1 and re.fullmatch(_ID, words[0]) and words[2].isupper():
            host = words[5] if len(words) >= _WIDE else ""
            # JOB_NAME is followed by a date of three words; a name may have blanks of its own.
            rows.append(_row({"jobid": words[0], "stat": words[2], "exec_host": host, "job_name": words[-4]}))
    return rows


def _row(fields: Mapping[str, str]) -> Row:
    said = {key: "" if value in ("-", "null", "None") else value for key, value in fields.items()}
    job = re.fullmatch(_ID, said.get("jobid", ""))
    name = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", said.get("job_name", ""))
    told = [said.get("jobindex"), job and job[2], name and name[2]]
    return Row(
        job_id=job[1] if job else "",
        number=next((int(number) for number in told if number and number.isdecimal()), 0),
        word=said.get("stat", ""),
        code=said.get("exit_code", ""),
        reason=said.get("exit_reason", ""),
        host=said.get("exec_host", ""),
        name=name[1] if name else "",
    )


def _document(text: str) -> Mapping[str, list[dict[str, str]]]:
    for brace in re.finditer(r"\{", text):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, brace.start())
        except ValueError:
            continue
        if "RECORDS" in found:
            return found  # type: ignore[no-any-return]
    return {}


_DELIMITER: Final = "^"
_FIELDS: Final = ("jobid", "jobindex", "stat", "exit_code", "exit_reason", "job_name", "exec_host")
_WIDE: Final = 10

DELIMITED: Final = Format(("-noheader", "-o", f"{' '.join(_FIELDS)} delimiter='{_DELIMITER}'"), read_delimited)
JSON: Final = Format(("-json", "-o", "jobid stat job_name exec_host"), read_json)
WIDE: Final = Format(("-w",), read_wide)


def read_listing(form: Format, out: str, err: str, code: int | None) -> Listing:
    """Read what ``bjobs`` answered. Its exit status is 255 as soon as one of the ids is not known.

    Parameters
    ----------
    form
        How the jobs were listed.
    out, err, code
        Its output, its errors, and how it ended; None: it did not end by itself.
    """
    rows, unknown = tuple(form.read(out)), read_unknown(out + err)
    document = form is JSON and bool(_document(out))
    complete = document if form is JSON and out.strip() else not out or out.endswith("\n")
    said = rows or unknown or document or code == 0 or _NOBODY.search(out + err)
    return Listing(rows, unknown, code in (0, 255) and complete and bool(said))


_NOBODY: Final = re.compile(r"No (?:unfinished |matching )?job found")

# --- why a job waits --------------------------------------------------------------------------------------------------

_WAITING: Final = re.compile(rf"\s*{_ID}\s+\S+\s+P(?:END|SUSP)\s+\S+\s+\S+\s+(.*\S)\s+\w{{3}}\s+\d+\s+\d+:\d+\s*")


def read_pending(text: str) -> dict[tuple[str, int], tuple[str, ...]]:
    """Read ``bjobs -p``: the reasons stand below the line of their job.

    Returns
    -------
    dict[tuple[str, int], tuple[str, ...]]
        Sentences by (job id, number).
    """
    reasons: dict[tuple[str, int], list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if job := _WAITING.fullmatch(line):
            index = re.search(r"\[(\d+)\]", job[3])
            current = reasons.setdefault((job[1], int(job[2] or (index[1] if index else 0))), [])
        elif line[:1].isspace() and line.strip():
            current.append(line.strip().rstrip(";"))
        else:
            current = []
    return {job: tuple(said) for job, said in reasons.items()}


# --- how a job went ---------------------------------------------------------------------------------------------------

_WRAP: Final = re.compile(r"\n {21}")
"""``bhist -l`` and ``bacct -l`` break lines at column 80, in the middle of words."""

_HEAD: Final = re.compile(rf"^Job <{_ID}>,", re.MULTILINE)


def _words(text: str) -> re.Pattern[str]:
    return re.compile(text.replace(" ", r"\s*"))


_AGAIN: Final = _words(r"has been requeued|waiting for rescheduling")
_END: Final = _words(
    r"(?P<done>Done successfully|Completed <done>)|Exited with exit code (?P<code>\d+)"
    r"|Exited by signal (?P<signal>\d+)|(?P<reason>TERM_[A-Z_]+(?:: ?[^.;\n]+)?)"
)
_HOST: Final = _words(r"(?:Dispatched|Started)[^<\n]*<([^>\n]+)>")
_ASKED: Final = _words(r"Signal <(KILL|TERM|INT)> requested by user or administrator <([^>]+)>")
_MEMORY: Final = re.compile(r"MAX MEM:\s*([\d.]+\s*\w+)")
_LOST: Final = _words(r"Unknown; unable to reach the execution host")


class Story(NamedTuple):
    """What is remembered of a job that ended.

    Parameters
    ----------
    done
        Whether it ended by itself with exit status 0.
    code, signal
        Its exit status, or the signal that ended it; None if it is not known.
    reason
        Why LSF ended it, in its words.
    host
        Where it ran last.
    asked
        ``signal`` and ``user``, if somebody asked for its end.
    memory
        The most it used, as LSF writes it.
    unreachable
        Whether its machine could not be reached for a while.
    """

    done: bool = False
    code: int | None = None
    signal: int | None = None
    reason: str = ""
    host: str = ""
    asked: tuple[str, str] | None = None
    memory: str = ""
    unreachable: bool = False

    @property
    def ended(self) -> bool:
        """Whether an end is told."""
        return self.done or self.code is not None or self.signal is not None or bool(self.reason)


def read_stories(text: str) -> dict[tuple[str, int], Story]:
    """Read ``bhist -l`` or ``bacct -l``: what befell each job since it was started last, by (job id, number)."""
    text = _WRAP.sub("", text.replace("\r", ""))
    heads = list(_HEAD.finditer(text))
    bounds = [*(head.start() for head in heads), len(text)]
    return {
        (head[1], int(head[2] or 0)): _story(text[start:end])
        for head, (start, end) in zip(heads, pairwise(bounds), strict=True)
    }


def _story(text: str) -> Story:
    last = max((again.end() for again in _AGAIN.finditer(text)), default=0)
    done, code, signal, reason = False, None, None, ""
    for event in _END.finditer(text, last):
        if event["reason"]:
            reason = event["reason"].strip()
        elif event["code"]:
            code, signal = int(event["code"]), None
        elif event["signal"]:
            code, signal = None, int(event["signal"])
        else:
            done = True
    hosts, asked, memory = _HOST.findall(text), _ASKED.findall(text, last), _MEMORY.search(text)
    return Story(
        done=done,
        code=code,
        signal=signal,
        reason=reason,
        host=hosts[-1] if hosts else "",
        asked=asked[-1] if asked else None,
        memory=memory[1] if memory else "",
        unreachable=bool(_LOST.search(text)),
    )


# --- what a site has set ----------------------------------------------------------------------------------------------


def read_parameters(text: str) -> dict[str, str]:
    """Read ``NAME = value`` lines, as ``bparams -a`` and ``-l`` and ``lsf.conf`` have them."""
    found = re.findall(r"^\s*([A-Z][A-Z0-9_]+)\s*=\s*\"?([^\s\"#]+)", text, re.MULTILINE)
    return dict(found)


class Product(NamedTuple):
    """What ``lsid`` tells: the program's name and version as printed, its parts, the cluster and its master."""

    title: str = ""
    version: tuple[int, ...] = ()
    cluster: str = ""
    master: str = ""

    @property
    def ibm(self) -> bool:
        """Whether it is LSF itself, by IBM or Platform, and not one of its relatives."""
        return bool(re.match(r"(?:IBM |Platform )*(?:Spectrum )?LSF\b", self.title))


def read_product(text: str) -> Product:
    """Read ``lsid``."""
    title = re.search(r"^\s*(.*\b(?:LSF|lava)\b.*?|.*lava.*?)(\d+(?:\.\d+)+)", text, re.MULTILINE)
    cluster, master = re.search(r"My cluster name is (\S+)", text), re.search(r"My master name is (\S+)", text)
    return Product(
        title=f"{title[1].strip()} {title[2]}" if title else "",
        version=tuple(map(int, title[2].split("."))) if title else (),
        cluster=cluster[1] if cluster else "",
        master=master[1] if master else "",
    )


def read_table(text: str) -> list[dict[str, str]]:
    """Read a table with a heading, such as that of ``busers``; a line of another length is none of its rows."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:] if len(line) == len(lines[0])]


def read_queues(text: str, default: Iterable[str] = ()) -> tuple[QueueFacts, ...]:
    """Read ``bqueues -l``, the default queues first.

    Parameters
    ----------
    text
        What it printed.
    default
        The queues of jobs that name none, the preferred first.
    """
    order = list(default)
    parts = re.split(r"^QUEUE:\s*(\S+)", text, flags=re.MULTILINE)[1:]
    queues = [_queue(name, body, name in order) for name, body in zip(parts[::2], parts[1::2], strict=True)]
    return tuple(sorted(queues, key=lambda queue: order.index(queue.name) if queue.default else len(order)))


def _queue(name: str, text: str, default: bool) -> QueueFacts:
    state = re.search(r"^PRIO\s.*\n\s*\S+\s+\S+\s+(\S+)", text, re.MULTILINE)
    limits = re.findall(r"^(.*\bRUNLIMIT\b.*)\n(.*)", text, re.MULTILINE)
    minutes = [_run_limit(heading, values) for heading, values in limits]
    policies = re.search(r"SCHEDULING POLICIES:(.*)", text)
    action = re.search(r"^\s*SUSPEND:\s*(.*\S)", text, re.MULTILINE)
    displaced = bool(policies and "PREEMPTABLE" in policies[1])
    return QueueFacts(
        name,
        default=default,
        state=state[1] if state else "",
        max_time=max((60 * limit for limit in minutes if limit), default=None),
        preempt=(action[1] if action else "SUSPEND") if displaced else "",
    )


def _run_limit(heading: str, values: str) -> float | None:
    """Return the run limit in minutes. Of the limits in a row, only these two are times, and so followed by ``min``."""
    names = [word for word in heading.split() if word in ("CPULIMIT", "RUNLIMIT")]
    found = re.findall(r"([\d.]+)\s*min", values)
    return float(found[names.index("RUNLIMIT")]) if len(found) == len(names) else None
