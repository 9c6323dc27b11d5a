"""The readers that ``bench_export.py`` compares, each a process: ``python event_readers.py READER FOLDER [PARQUET]``.

Prints a line of JSON: CPU seconds of reading alone (imports left out, child processes counted), peak memory, rows, and
a digest that is the same for the same rows in any order. With PARQUET, the rows are written there as a long table, and
it says the CPU seconds from the start of the process until that file is closed.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Columns = dict[str, Any]
"""run, tag: names, or names and the place of each row's among them; step, wall_time, value: arrays."""


def main() -> None:
    name, folder, *more = sys.argv[1:]
    imports, read = READERS[name]
    imports()
    before = cpu()
    found = read(Path(folder))
    told = {"cpu": cpu() - before, "mb": peak()}
    if more:
        save(found, Path(more[0]))
        told |= {"whole": cpu(), "whole_mb": peak()}
    print(json.dumps(told | {"rows": len(found["step"]), "digest": digest(found)}))


WHO = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def cpu() -> float:
    """Return CPU seconds of this process and its children that ended."""
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, WHO))


def peak() -> float:
    """Return the most memory that this process, or one of its children that ended, had: MB."""
    return max(resource.getrusage(who).ru_maxrss for who in WHO) / 1e3


def digest(found: Columns) -> str:
    """Return a number that is the same for the same rows, to the bit, in any order: a sum of hashes of rows."""
    rows = np.zeros(len(found["step"]), np.uint64)
    for name in ("run", "tag"):
        rows = _mixed(rows ^ _hashes(found[name]))
    for name, kind in (("step", np.int64), ("wall_time", np.float64), ("value", np.float64)):
        rows = _mixed(rows ^ np.ascontiguousarray(found[name], kind).view(np.uint64))
    return f"{int(np.add.reduce(rows)):016x}"


def _mixed(values: Any) -> Any:
    """Return 64-bit numbers of which each bit depends on all bits of those given (SplitMix64's last step)."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        values = (values ^ values >> np.uint64(shift)) * np.uint64(factor)
    return values ^ values >> np.uint64(31)


def _hashes(names: Any) -> Any:
    codes = None
    if isinstance(names, tuple):
        names, codes = names
    known: dict[str, int] = {}
    for name in set(names):
        known[name] = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
    hashes = np.fromiter((known[name] for name in names), np.uint64, len(names))
    return hashes if codes is None else hashes[codes]


def save(found: Columns, path: Path) -> None:
    """Write a long table, as one would."""
    import pandas as pd

    frame = found["frame"] if "frame" in found else pd.DataFrame(found)
    for name in ("run", "tag"):
        if name in frame:
            frame[name] = frame[name].astype("category")
    frame.to_parquet(path, compression="zstd")


# --- ours


def ours(folder: Path) -> Columns:
    """Columns with a code for each tag, in the order of the files; damage is looked for, and told."""
    from export.attempts import walk
    from export.decode import Decoder
    from export.reader import Reader, Report

    places = [(place, path) for place, paths in walk(str(folder)) for path in paths]
    decoder = Decoder()
    batches = list(Reader(decoder).read([Report(path) for _, path in places]))
    names = {"tag": "tag", "step": "step", "wall_time": "wall", "value": "value"}
    found = {name: np.concatenate([getattr(one.rows, column) for one in batches]) for name, column in names.items()}
    file = np.concatenate([np.array(one.files).repeat(np.diff(one.rows.first)) for one in batches])
    runs = [os.path.relpath(place, folder) for place, _ in places]
    return found | {"run": (runs, file), "tag": (decoder.tags, found["tag"])}


def ours_sorted(folder: Path) -> Columns:
    """As the tables have them: through the store, purged, one row per step, sorted by run, tag and step."""
    from export import corpus
    from export.scalars import gather

    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        gathered = gather(corpus.of_folder(folder), Path(place), watch=lambda _: None)
        parts = [chunk.latest() for chunk in gathered.chunks()]
    names = {"run": "point", "tag": "tag", "step": "step", "wall_time": "wall", "value": "value"}
    found = {name: np.concatenate([getattr(part, column) for part in parts]) for name, column in names.items()}
    return found | {"run": (gathered.corpus.runs, found["run"]), "tag": (gathered.tags, found["tag"])}


def no_kernel(read: Callable[[Path], Columns]) -> Callable[[Path], Columns]:
    """Return the same reader without the compiled pass."""

    def plain(folder: Path) -> Columns:
        os.environ["ORCH_KERNEL"] = "0"
        return read(folder)

    return plain


def import_ours() -> None:
    from orchestrator.cli.export import LEAN, RARELY

    gc.set_threshold(RARELY)  # this and what follows as orch export does
    for name, value in LEAN.items():
        os.environ.setdefault(name, value)
    import export.corpus
    import export.messages
    import export.scalars

    export.messages.message("Event")


# --- TensorBoard


def accumulator(folder: Path) -> Columns:
    """TensorBoard's EventAccumulator, one for each run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    found: Columns = {"run": [], "tag": [], "step": [], "wall_time": [], "value": []}
    for place, _, names in os.walk(folder):
        run = os.path.relpath(place, folder)
        if not any("tfevents" in name for name in names):
            continue
        one = EventAccumulator(place, size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=False)
        one.Reload()
        for tag in one.Tags()["scalars"]:
            for event in one.Scalars(tag):
                _append(found, run, tag, event, event.value)
        for tag in one.Tags()["tensors"]:
            if one.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
                for event in one.Tensors(tag):
                    _append(found, run, tag, event, make_ndarray(event.tensor_proto).item())
    return {
        name: np.array(column) if name in ("step", "wall_time", "value") else column for name, column in found.items()
    }


def _append(found: Columns, run: str, tag: str, event: Any, value: float) -> None:
    for name, item in (("run", run), ("tag", tag), ("step", event.step), ("wall_time", event.wall_time)):
        found[name].append(item)
    found["value"].append(value)


def import_accumulator() -> None:
    import tensorboard.backend.event_processing.event_accumulator  # noqa: F401


def tbparse(folder: Path) -> Columns:
    """Let tbparse make its data frame of scalars."""
    from tbparse import SummaryReader

    wanted = {"event_types": {"scalars"}, "extra_columns": {"dir_name", "wall_time"}}
    frame = SummaryReader(str(folder), pivot=False, **wanted).scalars
    none = np.zeros(0)
    columns = {name: frame.get(name, none) for name in ("step", "wall_time", "value")}
    names = {name: frame.get(column, none) for name, column in (("run", "dir_name"), ("tag", "tag"))}
    return {"frame": frame, **columns, **names}


def import_tbparse() -> None:
    import tbparse  # noqa: F401


def rust(folder: Path) -> Columns:
    """TensorBoard's data server with --checksum: load once, then ask for all scalars."""
    import grpc
    import tensorboard_data_server
    from tensorboard.data.proto import data_provider_pb2 as messages
    from tensorboard.data.proto import data_provider_pb2_grpc as service

    with tempfile.TemporaryDirectory() as place:
        server = subprocess.Popen(
            [
                tensorboard_data_server.server_binary(), f"--logdir={folder}", "--reload=once", "--port=0",
                "--checksum", "--samples-per-plugin=scalars=all", f"--port-file={place}/port", "--die-after-stdin",
                "--verbose",
            ],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stderr is not None
        assert server.stdin is not None
        for line in server.stderr:
            if "Finished load cycle" in line:
                break
        port = int(Path(place, "port").read_text())
        options = [("grpc.max_receive_message_length", -1)]
        with grpc.insecure_channel(f"localhost:{port}", options=options) as channel:
            answer = service.TensorBoardDataProviderStub(channel).ReadScalars(
                messages.ReadScalarsRequest(
                    plugin_filter=messages.PluginFilter(plugin_name="scalars"),
                    downsample=messages.Downsample(num_points=1 << 40),
                )
            )
        server.stdin.close()
        server.wait()
    found: Columns = {"run": [], "tag": [], "step": [], "wall_time": [], "value": []}
    for run in answer.runs:
        for tag in run.tags:
            found["run"] += [run.run_name] * len(tag.data.step)
            found["tag"] += [tag.tag_name] * len(tag.data.step)
            for name in ("step", "wall_time", "value"):
                found[name].append(np.array(getattr(tag.data, name)))
    return {
        name: np.concatenate(column) if name in ("step", "wall_time", "value") else column
        for name, column in found.items()
    }


def import_rust() -> None:
    import grpc  # noqa: F401
    import tensorboard.data.proto.data_provider_pb2_grpc  # noqa: F401
    import tensorboard_data_server  # noqa: F401


READERS: dict[str, tuple[Callable[[], None], Callable[[Path], Columns]]] = {
    "ours": (import_ours, ours),
    "ours, no kernel": (import_ours, no_kernel(ours)),
    "sorted": (import_ours, ours_sorted),
    "sorted, no kernel": (import_ours, no_kernel(ours_sorted)),
    "EventAccumulator": (import_accumulator, accumulator),
    "tbparse": (import_tbparse, tbparse),
    "Rust --checksum": (import_rust, rust),
}
"""Name of a reader to what it imports and what reads a folder."""


if __name__ == "__main__":
    main()
