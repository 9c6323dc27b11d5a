"""What a later export reads again, and what not: its tables are those of a fresh one."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from export import reader, scalars, store
from export.tables import CACHE, export_logdir, export_study
from orchestrator.cli.main import main
from tests.export.events import scalar, series, start, version
from tests.export.folders import digests, table, write
from tests.export.studies import begin, log, make_study, save, submit


def test_nothing_is_read_when_nothing_changed(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--logdir", str(logs), "-o", str(tmp_path / "out")]
    assert main(words) == 0
    before = {path.name: path.stat() for path in (tmp_path / "out").iterdir() if path.is_file()}
    monkeypatch.setattr(scalars.Reader, "read", lambda self, reports: iter(() if not reports else 1 // 0))
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr()
    assert "none of them new" in said.err
    assert "nothing has changed" in said.err
    assert "long.parquet" in said.out
    assert before == {path.name: path.stat() for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert main([*words, "--tags", "loss"]) == 0, "another selection is made from what is kept"
    assert table(tmp_path / "out")["tag"].unique().tolist() == ["loss"]
    assert main(words) == 0
    (tmp_path / "out" / "wide.parquet").unlink()
    assert main(words) == 0, "a table that is gone is made again"
    assert len(table(tmp_path / "out", "wide.parquet")) == 100


def test_of_a_growing_folder_only_what_is_new_is_read(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_logdir(logs, out=out)
    path = logs / "run_2" / "events.out.tfevents.1.host"
    added = scalar("loss", 20, 0.5) + scalar("new", 3, 0.25)
    with path.open("ab") as file:
        file.write(added + scalar("loss", 21, 0.5)[:-7])
    manifest = export_logdir(logs, out=out)
    assert (manifest.bytes_new, manifest.files_new) == (len(added) + len(scalar("loss", 21, 0.5)) - 7, 1)
    assert (manifest.tails, manifest.scalars) == (1, 152)
    with path.open("ab") as file:
        file.write(scalar("loss", 21, 0.5)[-7:])
    write(logs / "run_9", series("loss", range(3)))
    manifest = export_logdir(logs, out=out)
    assert (manifest.tails, manifest.scalars, manifest.files_new) == (0, 156, 2)
    export_logdir(logs, out=tmp_path / "fresh")
    assert digests(out) == digests(tmp_path / "fresh")


def test_an_export_of_some_runs_forgets_no_other(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_logdir(logs, out=out)
    before = digests(out)
    write(logs / "run_1", series("loss", range(3)))
    assert export_logdir(logs, out=out, where=["run=run_2"]).files_new == 0
    assert export_logdir(logs, out=out, where=["run=run_[12]"]).files_new == 1
    assert export_logdir(logs, out=out).files_new == 0
    assert digests(out) != before


def test_files_that_were_replaced_shrank_or_went(logs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_logdir(logs, out=out)
    write(logs / "run_0", series("loss", range(30), 0.5))  # longer, and other contents
    write(logs / "run_1", series("loss", range(5)))
    (logs / "run_2" / "events.out.tfevents.1.host").unlink()
    stale = logs / "run_3" / "events.out.tfevents.1.host"
    stale.write_bytes(stale.read_bytes())  # the same contents, newly written
    manifest = export_logdir(logs, out=out)
    assert manifest.expected == 4
    export_logdir(logs, out=tmp_path / "fresh")
    assert digests(out) == digests(tmp_path / "fresh")


def test_a_file_that_changed_in_its_middle_is_read_anew(logs: Path, tmp_path: Path) -> None:
    path = logs / "run_0" / "events.out.tfevents.1.host"
    assert not export_logdir(logs, out=tmp_path / "out").damage
    with path.open("r+b") as file:
        file.seek(200)
        byte = file.read(1)[0]
        file.seek(200)
        file.write(bytes([byte ^ 1]))
    os.utime(path, (1, 1))  # even by a writer that hides it: the time is another one
    (damage,) = export_logdir(logs, out=tmp_path / "out").damage
    assert damage["file"] == str(path)


@pytest.mark.parametrize("most", [reader.MOST_CHECK, reader.CHECK])
@pytest.mark.parametrize(("place", "noticed"), [(100, False), (-1000, True), (-60, True)])
def test_a_file_that_changed_and_grew_is_read_anew_if_it_changed_near_its_end(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, most: int, *, noticed: bool
) -> None:
    """It is read on from where it ended otherwise: docs/export.md says so."""
    monkeypatch.setattr(reader, "MOST_CHECK", most)
    path = logs / "run_0" / "events.out.tfevents.1.host"
    for turn in range(3):  # as little as a record at a time: what is compared does not shrink to that
        export_logdir(logs, out=tmp_path / "out")
        with path.open("ab") as file:
            file.write(scalar("loss", 50 + turn, 0.5))
    export_logdir(logs, out=tmp_path / "out")
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    added = scalar("loss", 99, 1.0)
    path.write_bytes(data + added)
    found = export_logdir(logs, out=tmp_path / "out")
    assert len(found.damage) == noticed
    assert found.bytes_new == len(added) + noticed * len(data)


def test_a_damaged_file_that_changed_is_read_anew(logs: Path, tmp_path: Path) -> None:
    """A network file system may show a page as zeros and later as what was written."""
    path = logs / "run_0" / "events.out.tfevents.1.host"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(100) + whole[300:])
    assert export_logdir(logs, out=tmp_path / "out").damage
    path.write_bytes(whole + scalar("loss", 99, 1.0))
    assert not export_logdir(logs, out=tmp_path / "out").damage
    export_logdir(logs, out=tmp_path / "fresh")
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_random_growth_is_as_a_fresh_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST", 3)  # so that segments are joined
    draw = random.Random(0)
    contents = {
        run: version() + b"".join(
            start(draw.randrange(30)) if draw.random() < 0.05 else scalar(draw.choice("xyz"), draw.randrange(40), i)
            for i in range(draw.randrange(300))
        )
        for run in range(8)
    }  # fmt: skip
    written = dict.fromkeys(contents, 0)
    for turn in range(8):
        for run in draw.sample(sorted(contents), 4):
            written[run] = draw.randrange(written[run], len(contents[run]) + 1) if turn < 7 else len(contents[run])
            folder = tmp_path / "logs" / str(run)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / "events.out.tfevents.1.host"
            with path.open("ab") as file:
                file.write(contents[run][file.tell() : written[run]])
        grown = export_logdir(tmp_path / "logs", out=tmp_path / "out", formats=["parquet"])
        fresh = export_logdir(tmp_path / "logs", out=tmp_path / f"fresh{turn}", formats=["parquet"])
        assert digests(tmp_path / "out") == digests(tmp_path / f"fresh{turn}")
        assert (grown.tails, grown.records, grown.superseded) == (fresh.tails, fresh.records, fresh.superseded)
    assert len(list((tmp_path / "out" / CACHE).glob("*.rows"))) <= 3 + 8


@pytest.mark.parametrize("harm", ["index", "truncate", "flip", "remove"])
def test_a_harmed_cache_is_made_again(logs: Path, tmp_path: Path, harm: str) -> None:
    out = tmp_path / "out"
    export_logdir(logs, out=out)
    before = digests(out)
    (rows,) = (out / CACHE).glob("*.rows")
    if harm == "index":
        (out / CACHE / "index.json").write_text("{")
    elif harm == "truncate":
        os.truncate(rows, 100)
    elif harm == "flip":
        data = bytearray(rows.read_bytes())
        data[500] ^= 1
        rows.write_bytes(bytes(data))
    else:
        rows.unlink()
    export_logdir(logs, out=out, tags=["loss"])
    export_logdir(logs, out=out)
    assert digests(out) == before


def test_what_the_study_knows_decides_again(tmp_path: Path) -> None:
    """The event files are the same; how far they count is not."""
    study = make_study(tmp_path)
    incarnation = submit(study)
    log(study, incarnation, 0, range(0, 100, 10))
    save(incarnation, range(1), 40)
    assert export_study(study, alive=frozenset()).scalars == 5 * 4
    begin(study, "1-0", 20)
    manifest = export_study(study, alive=frozenset())
    assert (manifest.files_new, manifest.scalars) == (0, 3 * 4)
