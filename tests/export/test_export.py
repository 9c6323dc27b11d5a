"""``orch export`` by its command line: what it writes, what it says, and what it reads again."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from export.manifest import Manifest
from export.tables import export_logdir, export_study
from orchestrator.cli.main import main
from orchestrator.errors import UserError
from tests.export.events import accumulated, scalar, series, version
from tests.export.folders import table, write
from tests.export.studies import TEST, end, finish, finished_study, log, make_points, make_study, submit

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
        rows = np.random.default_rng(run).random(2000).tolist()
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
    damaged[100] ^= 1
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


def test_steps_may_be_any_integer(tmp_path: Path) -> None:
    steps = {"below": [-(2**63), -5, -2], "beyond": [2**53 + 1, 2**63 - 1]}
    for run, of_run in steps.items():
        write(tmp_path / "logs" / run, *(scalar("x", step, 1.0, 100.0) for step in of_run))
    export_logdir(tmp_path / "logs", out=tmp_path / "out")
    every = [step for of_run in steps.values() for step in of_run]
    for name in ("long.parquet", "long.csv.gz", "wide.parquet", "wide.csv.gz"):
        assert table(tmp_path / "out", name)["step"].tolist() == every
    assert table(tmp_path / "out", "runs.csv")["step"].tolist() == [of_run[-1] for of_run in steps.values()]


def test_the_latest_of_no_times_is_none(tmp_path: Path) -> None:
    nan = float("nan")
    write(tmp_path / "logs" / "run", scalar("x", 0, 1.0, nan), scalar("x", 1, 1.0, 5.0), scalar("y", 1, 1.0, nan))
    export_logdir(tmp_path / "logs", out=tmp_path / "out", layouts=["wide"], formats=["parquet"])
    first, second = table(tmp_path / "out", "wide.parquet")["wall_time"].tolist()
    assert np.isnan(first)
    assert second == 5.0 + 1


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


def test_links_to_folders_are_followed_and_lead_nowhere_twice(logs: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "below", series("loss", range(3)))
    (logs / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(logs)
    (logs / "run_0" / "itself").symlink_to(".")
    (logs / "run_1" / "gone").symlink_to(tmp_path / "nowhere")
    (logs / "run_2" / "circle").symlink_to("circle")  # and what lies beside it is read
    export_logdir(logs, out=tmp_path / "out", layouts=["long"], formats=["parquet"])
    assert table(tmp_path / "out")["run"].unique().tolist() == ["link/below", *(f"run_{run}" for run in range(5))]


def test_a_folder_that_cannot_be_listed_is_told(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.scandir

    def refuse(path: str) -> object:
        if path == str(logs / "run_2"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("export.attempts.os.scandir", refuse)
    words = ["export", "--logdir", str(logs), "-o", str(tmp_path / "out"), "--strict"]
    assert main(words) == 1
    assert f"damaged: {logs / 'run_2'}: the folder cannot be listed" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(words) == 0, "it is looked at again"


def test_a_packed_file_is_named_as_such(logs: Path, tmp_path: Path) -> None:
    path = logs / "run_0" / "events.out.tfevents.1.host"
    path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
    (damage,) = export_logdir(logs, out=tmp_path / "out").damage
    assert "gzip" in str(damage["why"])


def test_of_a_folder_nobody_says_which_runs_are_finished(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "--logdir", str(logs), "-o", str(tmp_path / "out")]) == 0
    assert "n = 5 of 5 runs; 150 scalars from 5 files" in capsys.readouterr().err
