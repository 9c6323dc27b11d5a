"""``orch export`` beside TensorBoard's EventAccumulator, tbparse, and TensorBoard's data server in Rust.

Usage: ``python benchmarks/bench_export.py``; ``--help`` lists what can be left out. Every reader is a process of its
own. CPU seconds (user and system, children included) are compared, medians of processes in turn: the machine may be
busy. All readers check all checksums, and all rows are compared, to the bit. What is not installed is left out.
Takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import compileall
import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import event_measures
from event_measures import EXPORTS, OURS, RUST, SLOW

HERE = Path(__file__).parent
READERS = HERE / "event_readers.py"

NEEDS = {"EventAccumulator": "tensorboard", "tbparse": "tbparse", RUST: "tensorboard_data_server"}
"""Reader to the module that it is in."""

PACKAGES = ("numpy", "pyarrow", "protobuf", "google-crc32c", "tensorboard", "tensorboard-data-server", "tbparse")

WHOLE = ("grid", "small", "huge")
"""Corpora of which whole processes are measured too."""

FILES = 1024
"""So many files may a process have open, as most systems have it."""

Samples = dict[tuple[str, str, str], list[dict[str, Any]]]
"""(``decode`` or ``whole``, corpus, reader) → what each process used and said."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "orch-bench-export")
    parser.add_argument("--corpora", nargs="+", default=list(event_measures.CORPORA), metavar="NAME")
    parser.add_argument("--parts", nargs="+", default=["readers", "again"], choices=["readers", "again"])
    parser.add_argument("--without", nargs="+", default=[], metavar="READER", help="readers to leave out")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--slow-repeats", type=int, default=1, help="of EventAccumulator and tbparse")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the corpora's size, to try it out")
    options = parser.parse_args()
    for room in ("export", "orchestrator"):  # an installation has this done
        compileall.compile_dir(HERE.parent / room, quiet=1)
    begun = time.monotonic()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if _installed(name)]
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()}")
    print(", ".join(versions), "\n", flush=True)
    if "readers" in options.parts:
        readers = [name for name, module in NEEDS.items() if importlib.util.find_spec(module)]
        readers = [name for name in readers if name not in options.without]
        make = [str(HERE / "event_corpora.py"), str(options.folder), *options.corpora, f"--scale={options.scale}"]
        subprocess.run([sys.executable, *make], check=True, stdout=sys.stderr)
        folders = {name: event_measures.place(options.folder, name, options.scale) for name in options.corpora}
        samples: Samples = defaultdict(list)
        try:
            measure(folders, readers, samples, options.repeats, options.slow_repeats)
        except KeyboardInterrupt:
            print(f"Interrupted after {(time.monotonic() - begun) / 60:.0f} min\n")
            options.parts = []
        report([name for name in folders if complete(name, readers, samples)], readers, samples)
    if "again" in options.parts:
        again(options.folder, max(1, round(5 * options.scale)), options.repeats)
    print(f"{(time.monotonic() - begun) / 60:.0f} min, load {os.getloadavg()}")


def _installed(name: str) -> bool:
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


# --- readers in turn


def measure(
    folders: Mapping[str, Path], readers: Sequence[str], found: Samples, repeats: int, slow_repeats: int
) -> None:
    """Let all readers read all corpora in turn; those that are slow less often, and once where no whole is asked."""
    for corpus, folder in folders.items():
        slow = slow_repeats if corpus in WHOLE else 1
        for turn in range(repeats):
            print(f"{time.strftime('%H:%M:%S')} {corpus}: {turn + 1} of {repeats}", file=sys.stderr, flush=True)
            for reader in (*OURS, *(one for one in readers if one not in SLOW or turn < slow)):
                with tempfile.TemporaryDirectory(dir=folder.parent) as out:
                    more = [f"{out}/table.parquet"] if corpus in WHOLE and reader not in OURS else []
                    said, _ = run(sys.executable, str(READERS), reader, str(folder), *more)
                found["decode", corpus, reader].append(said)
                if more:
                    found["whole", corpus, reader].append({"cpu": said["whole"], "mb": said["whole_mb"]})
            for way in EXPORTS if corpus in WHOLE else ():
                found["whole", corpus, way].append(export(folder, kernel=way == EXPORTS[0]))


def complete(corpus: str, readers: Sequence[str], samples: Samples) -> bool:
    """Say whether all that is reported of a corpus was measured at least once."""
    keys = [("decode", corpus, one) for one in (*OURS, *readers)]
    keys += [("whole", corpus, one) for one in (*EXPORTS, *readers) if corpus in WHOLE]
    return all(key in samples for key in keys)


def export(folder: Path, *, kernel: bool) -> dict[str, Any]:
    """Let ``orch export`` write a long Parquet file, and return what the process used, its start and end included."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        words = ["--logdir", str(folder), "--layout", "long", "--format", "parquet", "-o", out]
        more = {} if kernel else {"ORCH_KERNEL": "0"}
        _, used = run(sys.executable, "-m", "orchestrator.cli.main", "export", *words, more=more, files=FILES)
        return used | {"rows": json.loads(Path(out, "manifest.json").read_text())["scalars"]}


def report(folders: Sequence[str], readers: Sequence[str], samples: Samples) -> None:
    """Print what was measured, and what is asked beside it."""
    seconds = {key: statistics.median(one["cpu"] for one in all_of) for key, all_of in samples.items()}
    print("### Decoding: CPU s from files to columns, imports left out\n")
    table(["corpus", "rows", *OURS, *readers], [decoded(name, readers, samples, seconds) for name in folders])
    print("### Whole process, start to closed Parquet file (long): CPU s\n")
    there = [name for name in folders if name in WHOLE]
    rows = [[name, *(f"{seconds['whole', name, one]:.2f}" for one in (*EXPORTS, *readers))] for name in there]
    table(["corpus", *EXPORTS, *readers], rows)
    print("### Peak memory, MB (the largest of client and server)\n")
    peaks = {key: f"{max(one['mb'] for one in all_of):.0f}" for key, all_of in samples.items()}
    for what, ways, names in (("decode", OURS, list(folders)), ("whole", EXPORTS, there)):
        rows = [[name, *(peaks[what, name, one] for one in (*ways, *readers))] for name in names]
        table([what, *ways, *readers], rows)
    print("### What is asked, and what was reached: CPU seconds of others ÷ ours\n")
    print(event_measures.ratios(seconds), "\n")
    corpus, most = event_measures.MOST_MEMORY
    if corpus in there:
        reached = max(float(peaks["whole", corpus, one]) for one in EXPORTS)
        print(f"Peak memory of a whole export of {corpus}: {reached:.0f} MB, asked: at most {most} MB.")
    if "small" in there:
        rows_of = {one["rows"] for name in EXPORTS for one in samples["whole", "small", name]}
        all_rows = samples["decode", "small", OURS[0]][0]["rows"]
        print(f"Rows of small with {FILES} open files at most: {sorted(rows_of)} of {all_rows}.\n")


def decoded(corpus: str, readers: Sequence[str], samples: Samples, seconds: event_measures.Seconds) -> list[str]:
    """Return a corpus' line: the median of each reader, and which of them gave other rows than ours."""
    first = samples["decode", corpus, OURS[0]][0]
    cells = [corpus, f"{first['rows']:,}"]
    for reader in (*OURS, *readers):
        one = samples["decode", corpus, reader][0]
        other = "" if one["digest"] == first["digest"] else f" ({one['rows']:,} rows)"
        cells.append(f"{seconds['decode', corpus, reader]:.3f}{other}")
    return cells


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)


# --- the same again


def again(folder: Path, times: int, repeats: int) -> None:
    """Measure the export of many runs, so many times 2,000: the first time, unchanged, with 1 % of the files grown."""
    import event_corpora  # a process that it starts is said to have had at least the memory that this one has

    logs = folder / f"many-{times}"
    if not (logs / "complete").exists():
        for part in range(times):
            event_corpora.small(logs / str(part), 1.0)
        (logs / "complete").touch()
    files = sorted(logs.rglob("*tfevents*"))
    sizes = {file: file.stat().st_size for file in files}
    lines = []
    with tempfile.TemporaryDirectory(dir=folder) as out:
        words = ["export", "--logdir", str(logs), "--layout", "long", "--format", "parquet", "-o", out]
        for what, touched in (("first export", 0), ("nothing", 0), ("1 % of the files", len(files) // 100)):
            found = []
            for turn in range(1 if what == "first export" else repeats):
                for file in files[:touched]:
                    with file.open("ab") as grown:
                        grown.write(event_corpora.record(event_corpora.scalar(2e9, 60_000 + turn, "metric/valid", 0.5)))
                start = time.monotonic()
                printed, used = run(sys.executable, "-m", "orchestrator.cli.main", *words, text=True, files=FILES)
                found.append((used["cpu"], time.monotonic() - start, used["mb"], printed))
            middle = [statistics.median(one[place] for one in found) for place in (0, 1, 2)]
            new = found[-1][3].partition("(")[2].partition(")")[0]
            lines.append([f"{len(files):,}", what, f"{middle[0]:.2f}", f"{middle[1]:.1f}", f"{middle[2]:.0f}", new])
    for file, size in sizes.items():
        os.truncate(file, size)
    print("### Exported again, long Parquet\n")
    table(["runs", "what changed", "CPU s", "s by the clock", "peak MB", "event files read, bytes"], lines)


def run(
    *command: str, text: bool = False, more: Mapping[str, str] | None = None, files: int = 0
) -> tuple[Any, dict[str, float]]:
    """Run a process, and return what it printed and what it used; its stderr, if ``text``."""
    environment = {
        **os.environ,
        **(more or {}),
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as printed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files or before[0], before[1]))
        process = subprocess.Popen(command, stdout=printed, stderr=told, env=environment)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
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
