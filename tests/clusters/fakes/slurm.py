"""A Slurm in one file: run as ``python slurm.py COMMAND ARGUMENTS``; ``FakeSlurm`` is the tests' end of it.

Its state is ``$FAKE_SLURM/state.json``: jobs with a word for every element, settings, and for each command a list of
scripted answers. Each, ``{"out": …, "err": …, "code": …, "really": …, "sleep": …}``, is given once in place of the true
answer; with ``really`` the command does its work all the same. Needs nothing but the standard library.
"""

import contextlib
import fcntl
import json
import os
import pwd
import re
import sys
import time
from pathlib import Path

CONFIG = {"MaxArraySize": "1001", "MaxJobCount": "10000", "MinJobAge": "300 sec", "KillWait": "30 sec",
          "PreemptMode": "OFF", "SLURM_VERSION": "22.05.8", "ClusterName": "fake", "SlurmctldHost[0]": "head",
          "AccountingStorageEnforce": "none"}  # fmt: skip
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr")
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")
UNREACHABLE = {"err": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n", "code": 1}
"""An answer of any command while the controller is away."""


def job(job_id):
    """A job as a study records it."""
    from orchestrator.study.records import Job  # not at start-up: each fake command is a process of its own

    return Job(1, 0, "slurm", str(job_id))


@contextlib.contextmanager
def changed(path):
    """Yield what a file says, and keep what becomes of it; one at a time, because commands are called side by side."""
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        state = json.load(file)
        yield state
        file.seek(0)
        json.dump(state, file)
        file.truncate()


class FakeSlurm:
    """The fake as a test sees it."""

    def __init__(self, folder, commands=COMMANDS):
        self.folder = folder
        self.state = folder / "state.json"
        (folder / "bin").mkdir(parents=True)
        state = {"next": 102, "jobs": {}, "config": CONFIG, "answers": {}, "calls": [], "texts": {}}
        self.state.write_text(json.dumps(state))
        for command in commands:
            program = folder / "bin" / command
            program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -IS '{__file__}' {command} \"$@\"\n")
            program.chmod(0o755)

    def say(self, command, *answers):
        with changed(self.state) as state:
            state["answers"].setdefault(command, []).extend(answers)

    def set(self, name, value):
        """Set what a command always prints: ``sacct``, ``sacctmgr user``, ``partition``, ``sinfo``, ``job 102`` …"""
        with changed(self.state) as state:
            state["texts"][name] = value

    def configure(self, **settings):
        with changed(self.state) as state:
            state["config"].update(settings)

    def add(self, job, words, name="foreign", user=None, reason="Resources"):
        record = {"name": name, "words": words, "user": user or str(os.getuid()), "reason": reason, "qos": "normal"}
        with changed(self.state) as state:
            state["jobs"][str(job)] = record

    def turn(self, job, element, word):
        with changed(self.state) as state:
            state["jobs"][job]["words"][element] = word

    def forget(self, job):
        with changed(self.state) as state:
            del state["jobs"][job]

    def calls(self, command=None):
        with changed(self.state) as state:
            return [call for call in state["calls"] if command is None or call["command"][0] == command]

    @property
    def jobs(self):
        with changed(self.state) as state:
            return state["jobs"]


# --- the commands -----------------------------------------------------------------------------------------------------


def main():
    path = Path(os.environ["FAKE_SLURM"]) / "state.json"
    command, arguments = sys.argv[1], sys.argv[2:]
    variables = {
        name: value for name, value in os.environ.items() if re.match("S(LURM|BATCH|QUEUE|CANCEL|ACCT)_", name)
    }
    with changed(path) as state:
        state["calls"].append({"command": [command, *arguments], "variables": variables})
        scripted = state["answers"].get(command) or []
        answer = scripted.pop(0) if scripted else {"really": True}
        out, err, code = "", "", 0
        if answer.get("really"):
            out, err, code = globals()[command](state, arguments)
    sys.stdout.write(answer.get("out", out))
    sys.stderr.write(answer.get("err", err))
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(answer.get("sleep", 0))
    return answer.get("code", code)


def option(arguments, *names):
    for at, word in enumerate(arguments):
        for name in names:
            if word == name and at + 1 < len(arguments):
                return arguments[at + 1]
            if name.startswith("--") and word.startswith(name + "="):
                return word.partition("=")[2]
    return None


def sbatch(state, arguments):
    text = Path(arguments[-1]).read_text() if not arguments[-1].startswith("-") else sys.stdin.read()
    if "--test-only" in arguments:
        return "", "sbatch: Job 9 to start at 2001-01-01T00:00:00 using 1 processors on nodes n1 in partition main\n", 0
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, re.MULTILINE))
    array = options.get("array")
    size = int(array.partition("%")[0].partition("-")[2] or 0) + 1 if array else 0
    if size > int(state["config"]["MaxArraySize"]):
        return "", "sbatch: error: Batch job submission failed: Invalid job array specification\n", 1
    job = str(state["next"])
    state["next"] += max(size, 1)
    state["jobs"][job] = {"name": options.get("job-name", "x"), "words": ["PENDING"] * size if array else "PENDING",
                          "user": str(os.getuid()), "reason": "Resources", "qos": "normal"}  # fmt: skip
    return f"Submitted batch job {job}\n", "", 0


def rows(state, arguments):
    """Yield (job, index or None, word, record): one to an element."""
    wanted = option(arguments, "-j")
    words = option(arguments, "-t")
    for job, record in state["jobs"].items():
        if wanted is not None and job not in wanted.split(","):
            continue
        name = option(arguments, "--name")
        if name is not None and name != record["name"]:
            continue
        if option(arguments, "-u") not in (None, record["user"], name_of(record["user"])):
            continue
        array = isinstance(record["words"], list)
        for index, word in enumerate(record["words"]) if array else [(None, record["words"])]:
            if words == "all" or word.split()[0] not in ENDED:
                yield job, index, word, record


def name_of(user):
    try:
        return pwd.getpwuid(int(user)).pw_name
    except KeyError:
        return user


def squeue(state, arguments):
    wanted = option(arguments, "-j")
    if wanted is not None and "," not in wanted and wanted not in state["jobs"]:
        return "", "slurm_load_jobs error: Invalid job id specified\n", 1
    listed = []
    waiting = {}
    for job, index, word, record in rows(state, arguments):
        if word == "PENDING" and index is not None and "-r" not in arguments:
            waiting.setdefault(job, []).append(index)
        else:
            listed.append((job, job if index is None else f"{job}_{index}", word, record))
    for job, indices in waiting.items():
        listed.append((job, f"{job}_[{','.join(map(str, indices))}]", "PENDING", state["jobs"][job]))
    form = option(arguments, "-o")
    return "".join(row(form, *each) + "\n" for each in listed), "", 0


def row(form, job, name, word, record):
    waiting = word == "PENDING"
    reason = record["reason"] if waiting else "None"
    fields = {"%i": name, "%F": job, "%T": word.split()[0], "%j": record["name"], "%r": reason,
              "%S": "2026-11-21T16:42:57", "%N": "" if waiting else "n1", "%M": "0:07", "%l": "10:00", "%m": "500M",
              "%a": "lab", "%q": record["qos"], "%P": "main"}  # fmt: skip
    return re.sub(r"%[A-Za-z]", lambda match: fields[match[0]], form)


def scancel(state, arguments):
    for name in arguments:
        match = re.fullmatch(r"(\d+)(?:_(?:\[([\d,-]+)\]|(\d+)))?", name)
        if match is None:
            return "", f"scancel: error: Invalid job id {name}\n", 1
        record = state["jobs"].get(match[1])
        if record is None:
            return "", f"scancel: error: Kill job error on job id {name}: Invalid job id specified\n", 1
        if isinstance(record["words"], str):
            record["words"] = "CANCELLED"
            continue
        spans = [part.split("-") for part in (match[2] or match[3] or f"0-{len(record['words']) - 1}").split(",")]
        for span in spans:
            for index in range(int(span[0]), int(span[-1]) + 1):
                record["words"][index] = "CANCELLED"
    return "", "", 0


def scontrol(state, arguments):
    words = [word for word in arguments if not word.startswith("-")]
    if words[:2] == ["show", "config"]:
        lines = [f"{name:<24}= {value}" for name, value in state["config"].items()]
        return (
            "\n".join(["Configuration data as of 2026-11-21T15:43:00", *lines, "", "Slurmctld(primary) at head is UP"]),
            "",
            0,
        )
    if words[:2] == ["show", "partition"]:
        return state["texts"].get("partition", "PartitionName=main Default=YES QoS=N/A State=UP\n"), "", 0
    if words[:2] == ["show", "job"]:
        return (
            (text, "", 0) if (text := state["texts"].get(f"job {words[2]}")) else ("", "Invalid job id specified\n", 1)
        )
    return "", "", 0


def sinfo(state, arguments):
    return state["texts"].get("sinfo", "main*|up|1-00:00:00|4|2|4000|gpu:a100:2(S:0-1)|OFF\n"), "", 0


def sacct(state, arguments):
    if "sacct" not in state["texts"]:
        return "", "Slurm accounting storage is disabled\n", 1
    return state["texts"]["sacct"], "", 0


def sacctmgr(state, arguments):
    words = [word for word in arguments if not word.startswith("-")]
    text = state["texts"].get(f"sacctmgr {words[1]}")
    return (text, "", 0) if text is not None else ("", "You are not running a supported accounting_storage plugin\n", 1)


if __name__ == "__main__":
    sys.exit(main())
