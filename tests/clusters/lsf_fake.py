"""Commands that speak LSF's dialect and run jobs as processes of this machine; and what they say can be dictated.

``python lsf_fake.py FOLDER COMMAND …`` is what each command on PATH becomes.
"""

# ruff: noqa: T201

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ENDED = ("DONE", "EXIT")
HELP = {
    "bsub": "bsub: [-J name] [-o file] [-q queue] [-P project] [-n slots] [-W limit] [-M limit] [-R res_req]\n"
    " [-w cond] [-wa signal] [-wt time] [-gpu req] [-Q codes]",
    "bjobs": "List: -a, -J, -json, -noheader, -o, -p, -w",
}


def install(folder: Path) -> Lsf:
    """Put the commands into ``folder/bin``."""
    (folder / "bin").mkdir(parents=True)
    (folder / "jobs").mkdir()
    for command in ("bsub", "bjobs", "bkill", "brequeue", "bhist", "bparams", "lsid"):
        file = folder / "bin" / command
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "{__file__}" "{folder}" {command} "$@"\n')
        file.chmod(0o755)
    return Lsf(folder)


class Lsf:
    """An installation."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.jobs = folder, folder / "jobs"

    # --- for tests --------------------------------------------------------------------------------------------------

    def says(self, command: str, *lies: tuple[str, str, int]) -> None:
        """Have a command print other things, instead of doing anything, the next times it is called."""
        (self.folder / f"{command}.lies").write_text(json.dumps(lies))

    def calls(self, command: str) -> list[list[str]]:
        """Return the arguments of all calls of a command but those for help."""
        file = self.folder / "calls"
        calls = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [words for name, *words in calls if name == command and words[:1] != ["-h"]]

    def end(self, job: str, number: int, why: str) -> None:
        """End an element as LSF itself would."""
        self._note(job, number, why=why)
        self._signal(job, number, signal.SIGKILL)

    def forget(self, job: str) -> None:
        """Let CLEAN_PERIOD pass."""
        (self.jobs / job / "forgotten").touch()

    def close(self) -> None:
        """End everything that runs."""
        for job in self.jobs.iterdir():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                os.killpg(int((job / "runner").read_text()), signal.SIGKILL)
            for number in json.loads((job / "spec").read_text())["numbers"]:
                self._signal(job.name, number, signal.SIGKILL)

    # --- jobs -------------------------------------------------------------------------------------------------------

    def state(self, job: str, number: int) -> dict[str, object]:
        with contextlib.suppress(FileNotFoundError):
            return json.loads((self.jobs / job / str(number)).read_text())
        return {"stat": "PEND"}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from changing anything: commands are called side by side, and the jobs end when they like."""
        with (self.folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _note(self, job: str, number: int, **changes: object) -> None:
        with self._alone():
            self._write(job, number, **changes)

    def _write(self, job: str, number: int, **changes: object) -> None:
        file = self.jobs / job / str(number)
        aside = file.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps({**self.state(job, number), **changes}))
        aside.replace(file)

    def _signal(self, job: str, number: int, which: int) -> None:
        pid = self.state(job, number).get("pid")
        if pid and self.state(job, number)["stat"] == "RUN":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(str(pid)), which)

    def run(self, job: str) -> None:
        """Run all elements of a job, as many at a time as it allows."""
        spec = json.loads((self.jobs / job / "spec").read_text())
        waiting, running = list(spec["numbers"]), {}
        while waiting or running:
            while waiting and len(running) < spec["parallel"]:
                number = waiting.pop(0)
                with self._alone():
                    if self.state(job, number)["stat"] == "PEND":
                        running[number] = self._start(job, number, spec)
            for number, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[number]
                with self._alone():
                    if self.state(job, number).get("requeued"):
                        self._write(job, number, stat="PEND", requeued=False)
                        waiting.append(number)
                    else:
                        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
                        self._write(job, number, stat="EXIT" if code else "DONE", code=code)
            time.sleep(0.02)

    def _start(self, job: str, number: int, spec: dict[str, object]) -> subprocess.Popen[bytes]:
        own = {"LSB_JOBID": job, "LSB_JOBINDEX": str(number), "LSB_MCPU_HOSTS": "here 1"}
        process = subprocess.Popen(
            ["/bin/bash", self.jobs / job / "script"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, **own}, cwd=str(spec["cwd"]),
        )  # fmt: skip
        self._write(job, number, stat="RUN", pid=process.pid, started=time.time())
        return process

    # --- commands ---------------------------------------------------------------------------------------------------

    def command(self, name: str, words: list[str]) -> int:
        with (self.folder / "calls").open("a") as log:
            log.write(json.dumps([name, *words]) + "\n")
        if words[:1] == ["-h"]:
            print(HELP.get(name, ""), file=sys.stderr)
            return 255
        lies = self.folder / f"{name}.lies"
        with self._alone():
            told, *left = (json.loads(lies.read_text()) if lies.exists() else []) or [None]
            if told is not None:
                lies.write_text(json.dumps(left))
        if told is not None:
            out, err, code = told
            sys.stdout.write(out)
            sys.stderr.write(err)
            sys.stdout.flush()
            if code < 0:
                os.kill(os.getpid(), -code)
            return int(code)
        return int(getattr(self, name)(words))

    def bsub(self, words: list[str]) -> int:
        script = sys.stdin.read()
        lines = [line.removeprefix("#BSUB ") for line in script.splitlines() if line.startswith("#BSUB ")]
        options = dict([*shlex.split(line), ""][:2] for line in lines)
        found = re.fullmatch(r"([\w.-]*)(?:\[1-(\d+)\](?:%(\d+))?)?", options.get("-J", ""))
        if found is None:
            print("Bad job name. Job not submitted.", file=sys.stderr)
            return 255
        if options.get("-q") == "nosuch":
            print("nosuch: No such queue. Job not submitted.", file=sys.stderr)
            return 255
        numbers = list(range(1, int(found[2]) + 1)) if found[2] else [0]
        aside = self.folder / f"aside-{os.getpid()}"
        aside.mkdir()
        (aside / "script").write_text(script)
        spec = {
            "name": found[1],
            "numbers": numbers,
            "parallel": int(found[3] or 100),
            "cwd": str(Path.cwd()),
            **options,
        }
        (aside / "spec").write_text(json.dumps(spec))
        with self._alone():  # it is there whole, or not at all
            job = next(str(n) for n in range(101, 10**6) if not (self.jobs / str(n)).exists())
            aside.rename(self.jobs / job)
        runner = subprocess.Popen(
            [sys.executable, "-S", __file__, self.folder, "run", job], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        (self.jobs / job / "runner").write_text(str(runner.pid))
        print(
            f"Job <{job}> is submitted to {'' if '-q' in options else 'default '}queue <{options.get('-q', 'normal')}>."
        )
        return 0

    def bjobs(self, words: list[str]) -> int:
        assert "-noheader" in words
        asked = [word for word in words[words.index("-o") + 2 :] if word[:1].isdigit()]
        name = words[words.index("-J") + 1] if "-J" in words else None
        code = 0
        for word in asked or sorted(path.name for path in self.jobs.iterdir()):
            spec = self._spec(word)
            if spec is None or (self.jobs / word / "forgotten").exists():
                print(f"Job <{word}> is not found", file=sys.stderr)
                code = 255
                continue
            for number in spec["numbers"]:
                state = self.state(word, number)
                if (name and spec["name"] != name) or (state["stat"] in ENDED and "-a" not in words):
                    continue
                shown = f"{spec['name']}[{number}]" if number else spec["name"]
                host = "here" if "pid" in state else "-"
                row = (word, number, state["stat"], state.get("code") or "-", state.get("why") or "-", shown, host)
                print("^".join(map(str, row)))
        return code

    def _spec(self, job: str) -> dict[str, object] | None:
        file = self.jobs / job / "spec"
        return json.loads(file.read_text()) if file.exists() else None

    def _chosen(self, words: list[str]) -> list[tuple[str, int]]:
        chosen = []
        for word in words:
            found = re.fullmatch(r"(\d+)(?:\[([\d,-]+)\])?", word)
            spec = self._spec(found[1]) if found else None
            if not found or spec is None:
                print(f"Job <{word}>: No matching job found", file=sys.stderr)
                continue
            spans = [part.partition("-")[::2] for part in (found[2] or "").split(",") if part]
            some = [n for first, last in spans for n in range(int(first), int(last or first) + 1)]
            chosen += [(found[1], number) for number in some or spec["numbers"]]
        return chosen

    def bkill(self, words: list[str]) -> int:
        which = words[1] if words[:1] == ["-s"] else None
        chosen = self._chosen(words[2:] if which else words)
        for job, number in chosen:
            state = self.state(job, number)
            if state["stat"] in ENDED:
                print(f"Job <{job}[{number}]>: Job has already finished", file=sys.stderr)
            elif which:
                self._signal(job, number, getattr(signal, f"SIG{which}"))
                print(f"Job <{job}[{number}]> is being signaled")
            else:
                with self._alone():
                    pending = self.state(job, number)["stat"] == "PEND"
                    gone = {"stat": "EXIT", "code": 130} if pending else {}
                    self._write(job, number, why="TERM_OWNER: job killed by owner", **gone)
                self._signal(job, number, signal.SIGKILL)
                print(f"Job <{job}[{number}]> is being terminated")
        return 0 if chosen else 255

    def brequeue(self, words: list[str]) -> int:
        for job, number in self._chosen(words):
            if self.state(job, number)["stat"] != "RUN":
                print(f"Job <{job}[{number}]>: Job has not started yet", file=sys.stderr)
                return 255
            self._note(job, number, requeued=True)
            print(f"Job <{job}[{number}]> is being requeued")
            sys.stdout.flush()
            if os.getpgrp() != self.state(job, number)["pid"]:  # called from outside: end it, as LSF would
                self._signal(job, number, signal.SIGKILL)
        return 0

    def bhist(self, words: list[str]) -> int:
        for job, number in self._chosen([word for word in words if word[:1].isdigit() and word != "0"]):
            state = self.state(job, number)
            name = f"{job}[{number}]" if number else job
            print(f"Job <{name}>, Job Name <x>, User <me>, Project <default>, Command <x>")
            print("Sat Nov 21 04:14:31: Dispatched to <here>;")
            if state["stat"] == "DONE":
                print("Sat Nov 21 04:14:33: Done successfully. The CPU time used is 0.0 seconds;")
            elif state["stat"] == "EXIT":
                print(f"Sat Nov 21 04:14:33: Exited with exit code {state['code']}. The CPU time used is 0.0 seconds;")
                print(f"Sat Nov 21 04:14:33: Completed <exit>; {state['why']};" if state.get("why") else "")
        return 0

    def bparams(self, words: list[str]) -> int:
        most = (self.folder / "most").read_text() if (self.folder / "most").exists() else "1000"
        print(f"The maximum number of jobs in a job array.\n    MAX_JOB_ARRAY_SIZE = {most}\n")
        return 0

    def lsid(self, words: list[str]) -> int:
        print("IBM Spectrum LSF Standard 10.1.0.6, Apr 08 2019\n\nMy cluster name is fake\nMy master name is here")
        return 0


if __name__ == "__main__":
    place, what, *rest = sys.argv[1:]
    if what == "run":
        Lsf(Path(place)).run(rest[0])
    else:
        sys.exit(Lsf(Path(place)).command(what, rest))
