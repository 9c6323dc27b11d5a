"""What was logged beside scalars, on request: texts, and the hparams of TensorBoard's plugin.

They are not kept for the next export; asking for them reads the event files anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import arrow, corpus, messages
from export.corpus import Corpus
from export.decode import Decoder
from export.describe import parameter_name, typed
from export.formats import write
from export.reader import Reader, Report
from export.selection import choose

if TYPE_CHECKING:
    from orchestrator.study.study import Study

TEXT, HPARAMS = "text.csv", "hparams.csv"


@dataclass(frozen=True)
class Note:
    """A text, or a run's hparams: file, tag, step, wall time, and the content."""

    file: str
    tag: str
    step: int
    wall: float
    content: Any


def notes_of_study(study: Study, out: Path, *, text: bool, hparams: bool, where: Sequence[str] = ()) -> list[Path]:
    """Write the tables of texts and of hparams that a study's runs logged; see :func:`notes_of_folder`."""
    described = corpus.of_study(study)
    generation = study.generation(described.generation)
    assert generation is not None
    return _write(choose(described, generation.points, where), out, text=text, hparams=hparams)


def notes_of_folder(path: Path, out: Path, *, text: bool, hparams: bool, where: Sequence[str] = ()) -> list[Path]:
    """Write the tables of texts and of hparams that a folder's runs logged.

    Parameters
    ----------
    path
        The folder.
    out
        Where to write.
    text, hparams
        Which tables.
    where
        Which runs.

    Returns
    -------
    list of Path
        The tables: ``text.csv`` has a row per text, ``hparams.csv`` a row per run and a column ``param.<name>`` for
        each hparam.
    """
    return _write(choose(corpus.of_folder(path), None, where), out, text=text, hparams=hparams)


def _write(described: Corpus, out: Path, *, text: bool, hparams: bool) -> list[Path]:
    notes = _read(described)
    runs = dict(zip(described.files, [described.runs[run] for run in described.of_run.tolist()], strict=True))
    written = []
    for name, wanted, table in ((TEXT, text, _texts), (HPARAMS, hparams, _hparams)):
        if wanted:
            data = table(notes, runs)
            write(out / name, data.schema, [data], "csv")
            written.append(out / name)
    return written


def _read(described: Corpus) -> list[Note]:
    """Read the texts and hparams of all files, in their order."""
    notes: list[Note] = []

    def listen(file: Hashable, event: Any, item: Any) -> None:
        plugin = item.metadata.plugin_data.plugin_name or decoder.plugins.get(file, {}).get(item.tag)
        content: Any = None
        if plugin == messages.TEXT and item.WhichOneof("kind") == "tensor":
            content = [part.decode("utf-8", "replace") for part in item.tensor.string_val]
        elif plugin == messages.HPARAMS:
            content = _values(item.metadata.plugin_data.content)
        if content is not None:
            notes.append(Note(str(file), item.tag, event.step, event.wall_time, content))

    decoder = Decoder(listener=listen)
    for _ in Reader(decoder).read([Report(path) for path in described.files]):
        pass
    return notes


def _values(content: bytes) -> dict[str, Any] | None:
    """Return the hparams that a session began with, or None where a summary of the plugin holds something else."""
    try:
        data = messages.message("HParams").FromString(content)
    except Exception:  # noqa: BLE001  (protobuf raises its implementation's own classes)
        return None
    if not data.HasField("start"):
        return None
    values = {}
    for entry in data.start.hparams:
        kind = entry.value.WhichOneof("kind")
        if kind in ("number", "text", "flag"):
            values[entry.key] = getattr(entry.value, kind)
    return values


def _texts(notes: Sequence[Note], runs: dict[str, str]) -> Any:
    import pyarrow as pa

    rows = [(note, part) for note in notes if isinstance(note.content, list) for part in note.content]
    return pa.table(
        {
            "run": arrow.texts([runs[note.file] for note, _ in rows]),
            "tag": arrow.texts([note.tag for note, _ in rows]),
            "step": arrow.numbers(np.array([note.step for note, _ in rows], np.int64)),
            "wall_time": arrow.numbers(np.array([note.wall for note, _ in rows], np.float64)),
            "text": arrow.texts([part for _, part in rows]),
        }
    )


def _hparams(notes: Sequence[Note], runs: dict[str, str]) -> Any:
    import pyarrow as pa

    found: dict[str, dict[str, Any]] = {}
    for note in notes:
        if isinstance(note.content, dict):
            found.setdefault(runs[note.file], {}).update(note.content)
    names = sorted({name for values in found.values() for name in values})
    columns = {"run": arrow.texts(list(found))}
    for name in names:
        columns[parameter_name(name)] = typed([values.get(name) for values in found.values()])
    return pa.table(columns)
