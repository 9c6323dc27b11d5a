"""``orch export`` by its command line: what it writes, what it says, and what it reads again."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from export import scalars, store
from export.manifest import Manifest
from export.tables import CACHE, export_logdir, export_study
from orchestrator.cli.main import main
from orchestrator.errors import UserError
from tests.export.events import accumulated, scalar, series, start, version
from tests.export.studies import TEST, begin, end, finish, finished_study, log, make_points, make_study, save, submit


def write(folder: Path, *parts: bytes, name: str = "events.out.tfevents.1.host") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(version() + b"".join(parts))
    return folder / name


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Five runs of two tags."""
    for run in range(5):
        write(tmp_path / "logs" / f"run_{run}", series("loss", range(20), run), series("metric/x", range(0, 20, 2)))
    return tmp_path / "logs"


def table(folder: Path, name: str = "long.parquet") -> pd.DataFrame:
    return pd.read_parquet(folder / name) if name.endswith("parquet") else pd.read_csv(folder / name)


# --- choosing


def test_a_table_to_stdout(logs: Path, tmp_path: Path) -> None:
    orch = [sys.executable, "-m", "orchestrator.cli.main", "export", "--logdir", str(logs), "-o", "-"]
    done = subprocess.run([*orch, "--tags", "loss"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == '"run","attempt","tag","step","wall_time","value"'
    assert len(lines) == 1 + 100
    assert "n = 5 of 5 runs" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs"], "nothing is left behind"
    piped = subprocess.run(f"{' '.join(orch)} --format parquet > out.parquet", cwd=tmp_path, shell=True)
    assert piped.returncode == 0
    assert len(table(tmp_path, "out.parquet")) == 150


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_reader_that_has_enough_is_no_error(tmp_path: Path, form: str) -> None:
    for run in range(20):  # more than a pipe holds, in every format
        rows = np.random.default_rng(run).random(6000).tolist()
        write(tmp_path / f"run_{run}", b"".join(scalar("loss", step, value) for step, value in enumerate(rows)))
    orch = f"{sys.executable} -m orchestrator.cli.main export --logdir {tmp_path} -o - --format {form}"
    shell = ["bash", "-c", f"{orch} | head -c 10; echo ${{PIPESTATUS[0]}}"]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True)
    assert done.stdout.split()[-1].endswith(b"141")
    assert done.stderr == b""
    full = subprocess.run(f"{orch} > /dev/full", cwd=tmp_path, shell=True, capture_output=True, text=True)
    assert full.returncode == 2
    assert full.stderr == "orch: the tables cannot be written to stdout: No space left on device\n"


def test_a_pattern_without_a_tag_is_told(logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "--logdir", str(logs), "-o", str(tmp_path / "out"), "--tags", "los", "--tags", "metric/*"]
    for _ in range(2):  # the second time nothing has changed
        assert main(words) == 0
        assert "no tag matches 'los'" in (said := capsys.readouterr().err)
        assert "'metric/*'" not in said


def test_a_pipe_takes_one_table(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--logdir", str(logs), "-o", "-", "--format", "csv", "--format", "parquet"]) == 2
    assert "one table of one format" in capsys.readouterr().err
    assert main(["export", "--logdir", str(logs), "-o", "-", "--json"]) == 2
    assert "--json" in capsys.readouterr().err


def test_tags_every_and_last(logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["export", "--logdir", str(logs), "-o", out, "--format", "csv", "--tags", "metric/*", "--last"]) == 0
    found = table(tmp_path / "out", "long.csv")
    assert found["tag"].tolist() == ["metric/x"] * 5
    assert found["step"].tolist() == [18] * 5
    assert main(["export", "--logdir", str(logs), "-o", out, "--format", "csv", "--every", "7"]) == 0
    found = table(tmp_path / "out", "long.csv")
    assert found["step"][found["tag"] == "loss"].tolist() == [0, 7, 14] * 5
    assert str(tmp_path / "out" / "long.csv") in capsys.readouterr().out.split()


def test_runs_of_a_folder_by_name(logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["export", "--logdir", str(logs), "-o", str(out), "--where", "run=run_[12],run_4"]) == 0
    assert sorted(table(out)["run"].unique()) == ["run_1", "run_2", "run_4"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["expected"], manifest["read"], manifest["where"]) == (3, 3, ["run=run_[12],run_4"])
    for words, said in ((["seed=1"], "run=PATTERN"), (["run=absent"], "no run is left of 5, 'run_0' being one")):
        assert main(["export", "--logdir", str(logs), "-o", str(out), "--where", *words]) == 2
        assert said in capsys.readouterr().err


def test_runs_of_a_study_by_axes_and_parameters(tmp_path: Path) -> None:
    study = finished_study(tmp_path)
    manifest = export_study(study, where=["seed=0..1", "layer=nmru"])
    long = table(study.tables)
    assert sorted(long["seed"].unique()) == ["0", "1"]
    assert long["model"].unique().tolist() == ["NMRU"]
    assert (manifest.points, manifest.expected, manifest.read, manifest.finished) == (4, 4, 4, 4)
    runs = table(study.tables, "runs.csv")
    assert len(runs) == 4
    assert set(runs["run"]) == set(long["run"])
    with pytest.raises(UserError, match="there is no axis or parameter 'seeed'. Did you mean 'seed'"):
        export_study(study, where=["seeed=1"])


def test_duplicates(tmp_path: Path) -> None:
    write(tmp_path / "logs", scalar("x", 1, 1.0), scalar("x", 2, 2.0), scalar("x", 1, 3.0), scalar("y", 1, 4.0))
    out = tmp_path / "out"
    kept = {}
    for policy in ("all", "last"):
        manifest = export_logdir(tmp_path / "logs", out=out, duplicates=policy)
        kept[policy] = table(out)["value"].tolist()
        assert table(out, "wide.parquet")["x"].tolist() == [3.0, 2.0]
        assert (manifest.scalars, manifest.repeated, manifest.duplicates) == (
            4 - (policy == "last"),
            int(policy == "last"),
            policy,
        )
    assert kept == {"all": [1.0, 3.0, 2.0, 4.0], "last": [3.0, 2.0, 4.0]}
    with pytest.raises(UserError, match="all or last"):
        export_logdir(tmp_path / "logs", out=out, duplicates="first")


def test_of_a_study_the_last_attempt_wins(tmp_path: Path) -> None:
    """Two writers of one attempt's number cannot be; rows of equal step within a run are left to the last one."""
    study = make_study(tmp_path, make_points(1))
    incarnation = submit(study)
    log(study, incarnation, 0, range(0, 30, 10), error=0.5)
    with log(study, incarnation, 0, range(0)).open("ab") as file:
        file.write(scalar(TEST, 10, 0.25))
    finish(incarnation)
    end(incarnation)
    manifest = export_study(study, tags=[TEST])
    assert table(study.tables)["value"].tolist() == [0.5, 0.25, 0.5]
    assert manifest.repeated == 1
    export_study(study, tags=[TEST], duplicates="all")
    assert table(study.tables)["value"].tolist() == [0.5, 0.5, 0.25, 0.5]


# --- damage


def test_strict(logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "--logdir", str(logs), "-o", str(tmp_path / "out"), "--format", "csv"]
    path = logs / "run_3" / "events.out.tfevents.1.host"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert main([*words, "--strict"]) == 0, "an unfinished record at the end is no damage"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["tails"] == 1
    damaged = bytearray(whole)
    damaged[300] ^= 1
    path.write_bytes(bytes(damaged))
    assert main([*words, "--strict"]) == 0, "what was read before is not read again"
    assert main([*words, "--strict", "--fresh"]) == 1
    said = capsys.readouterr().err
    assert f"damaged: {path} at byte " in said
    assert main(words) == 0
    manifest = Manifest.load(tmp_path / "out")
    assert manifest is not None
    assert manifest.dropped_bytes == len(scalar("loss", 5, 1.0))
    assert manifest.scalars == 149
    assert len(table(tmp_path / "out", "long.csv")) == 149


def test_more_rows_than_tensorboard_where_a_page_is_lost(tmp_path: Path) -> None:
    data = bytearray(version() + series("x", range(1000)))
    data[20_000 : 20_000 + 4096] = bytes(4096)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "events.out.tfevents.1.host").write_bytes(data)
    manifest = export_logdir(tmp_path / "logs", out=tmp_path / "out", formats=["parquet"])
    size = len(scalar("x", 900, 1.0))
    assert manifest.scalars >= 1000 - 4096 // size - 2 > len(accumulated(tmp_path / "logs"))
    assert len(manifest.damage) == 1


def test_few_files_are_open_at_a_time(tmp_path: Path) -> None:
    for run in range(150):
        write(tmp_path / "logs" / str(run), series("x", range(3)))
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40));"
        "from export.tables import export_logdir; from pathlib import Path;"
        "print(export_logdir('logs', out=Path('out')).scalars)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("450", "")


# --- again


def digests(folder: Path) -> dict[str, str]:
    manifest = Manifest.load(folder)
    assert manifest is not None
    return {file.name: file.blake2b for file in manifest.files}


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


# --- what the tables are


def test_columns_of_parquet_are_typed_and_versioned(tmp_path: Path) -> None:
    study = finished_study(tmp_path)
    export_study(study, formats=["parquet"])
    schema = parquet.read_schema(study.tables / "long.parquet")
    assert schema.metadata[b"orch.schema"] == b"1"
    assert schema.metadata[b"orch.table"] == b"long"
    text = "dictionary<values=string, indices=int32, ordered=0>"
    assert {field.name: str(field.type) for field in schema} == {
        "run": text, "range": text, "model": text, "seed": text, "param.interpolation": text,
        "param.l1.start": "double", "param.layer": text, "param.learning_rate": "double",
        "param.plain": "bool", "param.seed": "int64", "code": text, "attempt": "int64",
        "tag": text, "step": "int64", "wall_time": "double", "value": "float",
    }  # fmt: skip


def test_pandas_is_not_imported(logs: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from orchestrator.cli.main import main;"
        f"main(['export', '--logdir', {str(logs)!r}, '-o', 'out']);"
        "print({'pandas', 'torch', 'tensorboard', 'scipy', 'rich', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_progress_is_told(logs: Path, tmp_path: Path) -> None:
    told = []
    export_logdir(logs, out=tmp_path / "out", progress=lambda progress: told.append(vars(progress).copy()))
    size = sum(path.stat().st_size for path in logs.rglob("*tfevents*"))
    assert told[-1] == {"files": 5, "all_files": 5, "bytes": size, "all_bytes": size, "scalars": 150}


def test_the_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from export.scalars import Progress
    from orchestrator.cli.export import bar

    with bar("reading") as watch:
        assert watch is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    with bar("reading") as watch:
        assert watch is not None
        for done in (20_000_000, 120_000_000):
            watch(Progress(1990, 2000, done, 150_000_000, 1234))
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "reading" in said
    assert "120.0/150.0 MB" in said, "all of it is seen on a narrow terminal"
    assert re.search(r"[\d.]+ [kMGTP]B/s 1,990 of 2,000 files", said)
