"""``orch export`` beside TensorBoard's EventAccumulator, tbparse, and TensorBoard's data server in Rust.

Usage: ``python benchmarks/bench_export.py``; ``--help`` lists what can be left out. Every reader is a process of its
own. CPU seconds (user and system, children included) are compared, medians of runs in turn: the machine may be busy.
All readers check all checksums. A reader that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import event_corpora

HERE = Path(__file__).parent
READERS = HERE / "event_readers.py"

SLOW = ("EventAccumulator", "tbparse")
"""Readers that take so long that they run less often."""

OURS = ("ours", "ours, no kernel", "ours, sorted")
"""With what was compiled, without it, and as the tables have the rows: purged, sorted, one row per step."""

NEEDS = {"tbparse": "tbparse", "Rust --checksum": "tensorboard_data_server", "EventAccumulator": "tensorboard"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "orch-bench-export")
    parser.add_argument("--corpora", nargs="+", default=list(event_corpora.CORPORA), metavar="NAME")
    parser.add_argument(
        "--parts", nargs="+", default=["decode", "whole", "again"], choices=["decode", "whole", "again"]
    )
    parser.add_argument("--without", nargs="+", default=[], metavar="READER", help="readers to leave out of decoding")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--slow-repeats", type=int, default=2, help="of EventAccumulator and tbparse")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the corpora's size, to try it out")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()}\n")
    folders = {name: event_corpora.make(options.folder, name, options.scale) for name in options.corpora}
    there = [name for name, module in NEEDS.items() if importlib.util.find_spec(module)]
    if "decode" in options.parts:
        decode(
            folders,
            [*OURS, *(name for name in there if name not in options.without)],
            options.repeats,
            options.slow_repeats,
        )
    if "whole" in options.parts:
        chosen = {name: folder for name, folder in folders.items() if name in ("grid", "small")}
        whole(chosen, there, options.repeats, options.slow_repeats)
    if "again" in options.parts:
        again(options.folder, max(1, round(5 * options.scale)), options.repeats)


def decode(folders: dict[str, Path], readers: Sequence[str], repeats: int, slow_repeats: int) -> None:
    """Compare reading alone: from files to columns."""
    others = readers[len(OURS) :]
    print("### Decoding: CPU s, and how many times ours (with the compiled kernel / without)\n")
    print(f"| corpus | rows | {' | '.join([*readers, *(f'{name} ÷ ours' for name in others)])} |")
    print("|---" * (2 + len(readers) + len(others)) + "|", flush=True)
    memory = []
    for name, folder in folders.items():
        found: dict[str, list[dict[str, Any]]] = {reader: [] for reader in readers}
        for turn in range(repeats):
            for reader in readers:
                if reader not in SLOW or turn < slow_repeats:
                    found[reader].append(run(sys.executable, str(READERS), reader, str(folder))[0])
        seconds = {reader: statistics.median(one["cpu"] for one in all_of) for reader, all_of in found.items()}
        first = found["ours"][0]
        cells = []
        for reader in readers:
            one = found[reader][0]
            same = (one["rows"], one["check"]) == (first["rows"], first["check"])
            cells.append(f"{seconds[reader]:.3f}" + ("" if same or "sorted" in reader else f" ({one['rows']:,} rows)"))
        ratios = [" / ".join(f"{seconds[reader] / seconds[one]:.1f}×" for one in OURS[:2]) for reader in others]
        print(f"| {name} | {first['rows']:,} | {' | '.join([*cells, *ratios])} |", flush=True)
        peaks = [f"{max(one['mb'] for one in found[reader]):.0f}" for reader in readers]
        memory.append(f"| {name} | {' | '.join(peaks)} |")
    print("\n### Peak memory of these processes, MB (the largest of client and server)\n")
    print(f"| corpus | {' | '.join(readers)} |\n{'|---' * (1 + len(readers))}|")
    print("\n".join(memory), "\n")


def whole(folders: dict[str, Path], readers: Sequence[str], repeats: int, slow_repeats: int) -> None:
    """Compare whole processes, from their start to a closed Parquet file."""
    print("### Whole process, start to closed Parquet file (long): CPU s\n")
    names = ["orch export", "the same, no kernel", "peak MB", *readers, *(f"{one} ÷ ours" for one in readers)]
    print(f"| corpus | {' | '.join(names)} |\n{'|---' * (1 + len(names))}|", flush=True)
    for corpus, folder in folders.items():
        seconds: dict[str, list[float]] = {reader: [] for reader in (*OURS[:2], *readers)}
        peak = 0.0
        for turn in range(repeats):
            with tempfile.TemporaryDirectory() as out:
                for name, place, more in (("ours", "a", {}), ("ours, no kernel", "b", {"ORCH_KERNEL": "0"})):
                    words = ["--logdir", str(folder), "--layout", "long", "--format", "parquet", "-o", f"{out}/{place}"]
                    _, used = run(sys.executable, "-m", "orchestrator.cli.main", "export", *words, more=more)
                    seconds[name].append(used["cpu"])
                    peak = max(peak, used["mb"])
                for reader in readers:
                    if reader not in SLOW or turn < slow_repeats:
                        _, used = run(sys.executable, str(READERS), reader, str(folder), f"{out}/table.parquet")
                        seconds[reader].append(used["cpu"])
        middle = {reader: statistics.median(times) for reader, times in seconds.items()}
        cells = [f"{middle[reader]:.2f}" for reader in readers]
        ratios = [" / ".join(f"{middle[reader] / middle[one]:.1f}×" for one in OURS[:2]) for reader in readers]
        own = [f"{middle[one]:.2f}" for one in OURS[:2]]
        print(f"| {corpus} | {' | '.join([*own, f'{peak:.0f}', *cells, *ratios])} |", flush=True)
    print()


def again(folder: Path, times: int, repeats: int) -> None:
    """Measure the export of many runs, so many times 2,000: the first time, unchanged, with 1 % of the files grown."""
    print("### Exported again: CPU s and bytes read, long Parquet\n")
    print(
        "| runs | what changed | CPU s | s by the clock | event files read, bytes |\n|---|---|---|---|---|", flush=True
    )
    logs = folder / f"many-{times}"
    if not (logs / "complete").exists():
        for part in range(times):
            event_corpora.small(logs / str(part), 1.0)
        (logs / "complete").touch()
    files = sorted(logs.rglob("*tfevents*"))
    sizes = {file: file.stat().st_size for file in files}
    with tempfile.TemporaryDirectory() as out:
        words = ["export", "--logdir", str(logs), "--layout", "long", "--format", "parquet", "-o", out]
        for what, touched in (("first export", 0), ("nothing", 0), ("1 % of the files", len(files) // 100)):
            found = []
            for turn in range(1 if what == "first export" else repeats):
                for file in files[:touched]:
                    with file.open("ab") as grown:
                        grown.write(event_corpora.record(event_corpora.scalar(2e9, 60_000 + turn, "metric/valid", 0.5)))
                start = time.monotonic()
                printed, used = run(sys.executable, "-m", "orchestrator.cli.main", *words, text=True)
                found.append((used["cpu"], time.monotonic() - start, printed))
            middle = [statistics.median(one[place] for one in found) for place in (0, 1)]
            new = found[-1][2].partition("(")[2].partition(")")[0]
            print(f"| {len(files):,} | {what} | {middle[0]:.2f} | {middle[1]:.2f} | {new} |", flush=True)
    for file, size in sizes.items():
        os.truncate(file, size)
    print()


def run(*command: str, text: bool = False, more: Mapping[str, str] | None = None) -> tuple[Any, dict[str, float]]:
    """Run a process, and return what it printed and what it used; its stderr, if ``text``."""
    environment = {
        **os.environ,
        **(more or {}),
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=told, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        printed.seek(0)
        complaint = told.read().decode()
        if process.returncode:
            sys.exit(f"{' '.join(command)}: {complaint}")
        answer: Any = complaint if text else printed.read().decode()
    if command[1] == str(READERS):
        answer = json.loads(answer.splitlines()[-1])
    return answer, {"cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1e3}


if __name__ == "__main__":
    main()
