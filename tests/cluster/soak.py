"""A study under fire: a random fault every few seconds, on a real Slurm, and ``orch submit`` to mend what it broke.

``make soak`` does it for as long as one likes; the test suite for about a minute.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from orchestrator.errors import ExitCode
from orchestrator.states import RUN_STATES
from orchestrator.study.audit import audit
from tests.cluster.lab import Lab, environ_of
from tests.cluster.matrix import MatrixProject
from tests.cluster.soak_faults import FAULTS, Mend
from tests.faults.proof import Rows, proven

LAB = {"nodes": 4, "cpus": 4, "min_job_age": 2, "kill_wait": 3, "extra": ["SlurmdTimeout=5"]}
"""A Slurm without accounting, whose queue soon forgets what ended."""

SENTENCES = {ExitCode.OK, ExitCode.USAGE, ExitCode.SCHEDULER_UNREACHABLE, ExitCode.PARTLY_SUBMITTED}
"""How a command may end while disks are full and controllers away."""

SETTLE = 300.0
"""Seconds for all runs to arrive after the last fault."""

MOST = 3
"""Commands at one time."""


@dataclass
class Client:
    """A command that was started, what it is told, and whether it is to be killed."""

    words: tuple[str, ...]
    process: subprocess.Popen[str]
    kill_at: float | None


@dataclass
class Soak:
    """A study under fire.

    Parameters
    ----------
    lab, project
        The Slurm, and the project whose grid asks for all runs.
    seed
        Decides the order of the faults and, as far as processes keep step, their victims.
    seconds, every
        For how long, and how many seconds lie between two faults on average.

    Attributes
    ----------
    done, clients
        How often each fault found a victim, and how often commands ended how.
    said
        For each way in which commands failed, what the first of them said.
    complaints
        What a command or a job said that it should not have said.
    """

    lab: Lab
    project: MatrixProject
    seed: int
    seconds: float
    every: float
    done: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    said: dict[str, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.away: set[str] = set()
        self._running: list[Client] = []
        self._mends: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()
        self._deck: list[str] = []
        self._begun = time.monotonic()

    # --- the course -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do it: faults, then peace, until every run has arrived."""
        due = asked = looked = 0.0
        while (now := time.monotonic()) - self._begun < self.seconds:
            if now >= asked:
                self.submit()
                asked = now + self.chance.uniform(3, 9)
            if now >= looked:
                self.look()
                looked = now + 10
            if now >= due:
                self._strike()
                due = now + self.chance.expovariate(1 / self.every)
            self._tend()
            time.sleep(0.05)
        while self._mends or self._running:
            self._tend(at_once=True)
            time.sleep(0.05)
        self._settle()

    def submit(self, kill_after: float | None = None) -> None:
        """Give the command that mends everything; it asks for more runs as time goes by."""
        share = min(1.0, 0.3 + (time.monotonic() - self._begun) / self.seconds)
        last = max(0, round(self.project.count_of_runs * share) - 1)
        self.start("submit", "walk.yaml", f"seed=0..{last}", "--yes", kill_after=kill_after)

    def start(self, *words: str, kill_after: float | None = None) -> None:
        """Start a command, unless so many are at work that more would only keep each other from it."""
        if len(self._running) >= MOST:
            return
        kill_at = None if kill_after is None else time.monotonic() + kill_after
        self._running.append(Client(words, self.project.start(*words), kill_at))

    def look(self) -> None:
        """Ask for the state of all runs in the midst of it: the parts add up, whatever goes on."""
        if not (self.project.folder / "runs/walk/grid.1.json").exists():
            return
        self.start("status", "walk", "--json")

    def _strike(self) -> None:
        """Do the next fault of the deck that finds a victim: each comes once before any comes again."""
        if not self._deck:
            self._deck = self.chance.sample(sorted(FAULTS), len(FAULTS))
        for name in list(self._deck):
            found = FAULTS[name](self)
            if not found:
                continue
            self._deck.remove(name)
            self.done[name] += 1
            if isinstance(found, Mend):
                heapq.heappush(self._mends, (time.monotonic() + found.after, next(self._order), found.work))
            return

    def _tend(self, *, at_once: bool = False) -> None:
        """End faults that have lasted long enough, kill commands that are to be killed, and hear the others."""
        while self._mends and (at_once or self._mends[0][0] <= time.monotonic()):
            heapq.heappop(self._mends)[2]()
        for client in list(self._running):
            if client.process.poll() is not None:
                self._running.remove(client)
                self._hear(client)
            elif client.kill_at is not None and time.monotonic() >= client.kill_at:
                client.process.kill()

    def _hear(self, client: Client) -> None:
        out, err = client.process.communicate()
        code = client.process.returncode
        what = f"{client.words[0]} killed" if code == -signal.SIGKILL else f"{client.words[0]}: {code}"
        self.clients[what] += 1
        if code > 0:
            self.said.setdefault(what, err.strip().rpartition("\n")[2])
        killed = code == -signal.SIGKILL and client.kill_at is not None
        if "Traceback" in err or not (killed or code in SENTENCES):
            self.complaints.append(f"{client.words} returned {code}\n{err}")
        if client.words[0] == "status" and code == ExitCode.OK:
            self._adds_up(out)

    def _adds_up(self, said: str) -> None:
        counts = json.loads(said)["runs"]
        if sum(counts[state] for state in RUN_STATES) != counts["total"]:
            self.complaints.append(f"the parts do not add up: {counts}")

    def _settle(self) -> None:
        """Submit until every run has arrived, and nobody is at work any more."""
        project, deadline = self.project, time.monotonic() + SETTLE
        study = project.study()
        for name in self.lab.queue("--states=suspended"):  # slurmctld may have been away when they were to be resumed
            self.slurm("scontrol", "resume", name)
        while True:
            project.orch("submit", "walk.yaml", "--yes", code=None)
            wait = min(deadline, time.monotonic() + 8)
            while time.monotonic() < wait:
                generation = study.generation()
                runs = generation.runs if generation is not None else []
                arrived = study.history().counts(runs, ())["done"]
                if arrived == project.count_of_runs:
                    self.lab.run("scancel", "--user=root")  # stewards, and copies that nobody needs
                    self.lab.wait(lambda: not self.processes(), "the end of all copies", SETTLE)
                    return
                time.sleep(0.2)
            assert time.monotonic() < deadline, f"{arrived} of {len(runs)} runs arrived\n{project.words()}"

    # --- victims ----------------------------------------------------------------------------------------------------

    def processes(self, what: str = "") -> dict[int, list[int]]:
        """Return the processes of jobs whose name holds ``what``, each with the workers that it has started."""
        found: dict[int, str] = {}
        for pid in self.lab.processes():
            with contextlib.suppress(OSError):  # it has ended
                name = environ_of(pid).get("SLURM_JOB_NAME", "")
                if name.startswith("orch-") and what in name:
                    found[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        workers = {pid: int(parent) for pid, parent in found.items() if int(parent) in found}
        return {pid: [w for w, parent in workers.items() if parent == pid] for pid in found if pid not in workers}

    def worker(self) -> int | None:
        """Return a worker."""
        return self.one([worker for workers in self.processes().values() for worker in workers])

    def element(self, state: str = "") -> str | None:
        """Return a job or an element in the queue."""
        if "slurmctld" in self.away:
            return None
        states = ["--states", state] if state else []
        said = self.slurm("squeue", "--noheader", "--array", "--format=%i %j", *states)
        return self.one([line.split()[0] for line in said.splitlines() if " orch-" in line])

    def slurm(self, *words: object, **options: Any) -> str:
        """Give a command that may fail, or find nobody who answers; return what it said."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.lab.run(*words, check=False, **options).stdout
        return ""

    def ordered(self, victim: str | None, *words: object, **options: Any) -> bool:
        """Give a command if there is a victim, and return whether there is."""
        if victim:
            self.slurm(*words, **options)
        return bool(victim)

    def node(self) -> str | None:
        """Return a node that is there; one at least is always spared."""
        there = [node for node in self.lab.nodes if node not in self.away]
        return self.one(there) if len(there) > 2 else None

    def one(self, some: list) -> object:
        """Return one of some, or None."""
        return self.chance.choice(sorted(some)) if some else None

    def summary(self, expected: Rows) -> str:
        """Prove what must hold, and return what happened in a few lines."""
        study = self.project.study()
        proven(study, expected)
        said = self.project.orch("doctor", "walk").stdout.strip()
        logs = self.project.logs()
        ends = Counter(str(log.end) for log in logs)
        findings = audit(study)
        late = sum(not finding.certain for finding in findings)
        runs, minutes = self.project.count_of_runs, self.seconds / 60
        lines = [
            f"soak, seed {self.seed}: {runs} runs, {minutes:.1f} minutes, {sum(self.done.values())} faults",
            *(f"  {name:<28}{times:>5}" for name, times in sorted(self.done.items())),
            f"commands: {_counts(self.clients)}",
            *(f"  {what}: {line}" for what, line in sorted(self.said.items())),
            f"{len(study.chain())} submissions, {len(logs)} incarnations: {_counts(ends)}",
            f"late verdicts of superseded copies, cut off: {late}",
            f"lost: 0; doubled: 0; series bit-equal to the undisturbed study's: {len(expected)} of {len(expected)}",
            said,
        ]
        return "\n".join(lines)


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(counter.items()))
