import gzip
import json
import math
import os
import shutil
from array import array
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from export import scalars
from export.describe import label_name, tag_names, typed
from export.manifest import Manifest
from export.summary import Criterion
from export.tables import CACHE, export_logdir, export_study
from orchestrator.errors import UserError
from orchestrator.points import Column, Points
from tests.export.events import scalar, series, version
from tests.export.studies import (
    MODELS,
    RANGES,
    SPARSE,
    STEPS,
    SUMMARY,
    TEST,
    VALID,
    begin,
    end,
    finish,
    finished_study,
    log,
    make_points,
    make_study,
    save,
    submit,
)


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / name, keep_default_na=False, na_values=[""])


def test_long_and_wide_in_both_formats(tmp_path: Path) -> None:
    study = finished_study(tmp_path)
    manifest = export_study(study)
    assert manifest.folder == study.tables
    long, long_csv = pd.read_parquet(study.tables / "long.parquet"), read(study.tables, "long.csv.gz")
    wide, wide_csv = pd.read_parquet(study.tables / "wide.parquet"), read(study.tables, "wide.csv.gz")
    points, tags = 12, 4
    assert len(long) == points * tags * len(STEPS)
    assert len(wide) == points * len(STEPS)
    assert list(long.columns) == [
        "run", "range", "model", "seed", "param.interpolation", "param.l1.start", "param.layer", "param.learning_rate",
        "param.plain", "param.seed", "code", "attempt", "tag", "step", "wall_time", "value",
    ]  # fmt: skip
    assert list(long_csv.columns) == list(long.columns)
    assert list(wide.columns) == [*long.columns[:-4], "step", "wall_time", SPARSE, "loss/train", TEST, VALID]
    # Grid order, then tag, then step.
    assert long["range"].tolist() == np.repeat(RANGES, len(long) // 2).tolist()
    first = long.iloc[: tags * len(STEPS)]
    assert first["tag"].tolist() == np.repeat(sorted([VALID, TEST, SPARSE, "loss/train"]), len(STEPS)).tolist()
    assert first["step"].tolist() == list(STEPS) * tags
    # Parameters are typed.
    assert set(long["param.learning_rate"].unique()) == {0.005, 1.0}
    assert json.loads(long["param.interpolation"].iloc[0]) == [-2, -1]
    assert long["param.l1.start"].isna().sum() == len(long) / 2
    assert parquet.read_schema(study.tables / "long.parquet").field("param.seed").type == "int64"
    # Both formats and both layouts say the same.
    for name in ("run", "model", "tag", "step", "attempt", "wall_time"):
        assert long_csv[name].tolist() == long[name].tolist()
    np.testing.assert_array_equal(long_csv["value"].astype(np.float32), long["value"])
    pivot = long[long["tag"] == TEST]["value"].to_numpy()
    np.testing.assert_array_equal(pivot, wide[TEST].to_numpy())
    np.testing.assert_array_equal(pivot, wide_csv[TEST].astype(np.float32).to_numpy())
    assert long["code"].unique().tolist() == ["code1"]


def test_the_manifest_counts(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    incarnation = submit(study)
    for lane in range(10):
        log(study, incarnation, lane, STEPS)
    finish(incarnation, range(9))
    damaged = log(study, incarnation, 9, range(50, 60, 10))
    data = bytearray(damaged.read_bytes())
    size = len(scalar("loss/train", 10, 1.0))
    data[-10] ^= 1
    damaged.write_bytes(bytes(data) + scalar(VALID, 60, 1.0)[:-3])
    save(incarnation, range(9, 10), 50)
    end(incarnation)
    manifest = export_study(study)
    assert (manifest.points, manifest.expected, manifest.read, manifest.missing) == (12, 12, 10, 2)
    assert manifest.finished == 9
    assert manifest.files_read == 10
    assert manifest.bytes_read == sum(path.stat().st_size for path in (study.path / "events").rglob("*tfevents*"))
    assert manifest.scalars == 10 * 4 * 5 + 3
    (damage,) = manifest.damage
    assert damage["file"] == str(damaged)
    assert manifest.dropped_bytes == damage["bytes"] == size
    assert manifest.tails == 1
    stored = json.loads((study.tables / "manifest.json").read_text())
    assert stored == json.loads(json.dumps(manifest.to_json()))
    assert {file["name"]: file["rows"] for file in stored["files"]} == {
        "long.csv.gz": 203, "long.parquet": 203, "wide.csv.gz": 51, "wide.parquet": 51, "runs.csv": 12,
    }  # fmt: skip
    again = Manifest.load(study.tables)
    assert again == manifest
    assert not [path for path in study.tables.iterdir() if path.name.startswith(".")]


def test_equal_studies_give_equal_files(tmp_path: Path) -> None:
    one = export_study(finished_study(tmp_path / "a", summary=SUMMARY))
    two = export_study(finished_study(tmp_path / "b", summary=SUMMARY))
    assert one.files == two.files
    assert one.digest == two.digest


def test_only_covered_events_of_dead_owners_count(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    incarnation = submit(study)
    log(study, incarnation, 0, range(0, 100, 10))
    log(study, incarnation, 1, range(0, 100, 10))
    save(incarnation, range(1), 40)
    steps = {alive: _steps(study, alive) for alive in (frozenset({"1-0"}), frozenset[str]())}
    assert steps[frozenset({"1-0"})] == [*range(0, 100, 10), *range(0, 100, 10)]
    assert steps[frozenset()] == list(range(0, 50, 10))
    assert _steps(study, None) == steps[frozenset({"1-0"})], "a task that did not say that it ended is taken for alive"
    end(incarnation, "timeout")
    assert _steps(study, None) == list(range(0, 50, 10))


def _steps(study: object, alive: frozenset[str] | None) -> list[int]:
    export_study(study, layouts=["wide"], formats=["csv"], alive=alive)  # type: ignore[arg-type]
    found: list[int] = read(study.tables, "wide.csv")["step"].tolist()  # type: ignore[attr-defined]
    return found


def test_a_restarted_run_has_one_row_per_step(tmp_path: Path) -> None:
    study = make_study(tmp_path, make_points(1))
    first = submit(study)
    log(study, first, 0, range(0, 100, 10))
    save(first, range(1), 40)
    second = begin(study, "1-0", 40)
    log(study, second, 0, range(50, 130, 10), mark=41, error=0.25)
    finish(second, step=120)
    end(second)
    log(study, first, 0, range(100, 200, 10))  # the first copy lives on somewhere
    manifest = export_study(study, tags=[TEST])
    long = pd.read_parquet(study.tables / "long.parquet")
    assert long["step"].tolist() == list(range(0, 130, 10))
    assert long["attempt"].tolist() == [100_001] * 5 + [100_002] * 8
    assert set(long["value"][long["step"] > 40]) == {0.25}
    assert manifest.superseded == 15 * 4


def test_only_the_newest_generation_is_exported(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    incarnation = submit(study)
    for lane in range(12):
        log(study, incarnation, lane, STEPS)
    finish(incarnation)
    end(incarnation)
    study.publish_generation("study: study\n# fewer\n", {"experiment": "test", "version": 1}, make_points(2))
    manifest = export_study(study)
    assert (manifest.generation, manifest.expected, manifest.read) == (2, 8, 8)
    assert len(read(study.tables, "runs.csv")) == 8


def test_two_labels_for_one_run_are_two_rows(tmp_path: Path) -> None:
    points = make_points(1)
    twice = Points(
        ids=points.ids[:10] * 2,
        codes={"name": array("B", [0, 1])},
        leaves={"seed": Column("", [0])},
        labels={"name": Column("name", ["one", "two"])},
    )
    study = make_study(tmp_path, twice, tags=[TEST])
    incarnation = submit(study, range(1))
    log(study, incarnation, 0, STEPS)
    finish(incarnation)
    end(incarnation)
    manifest = export_study(study)
    assert (manifest.points, manifest.expected, manifest.read) == (2, 1, 1)
    long = pd.read_parquet(study.tables / "long.parquet")
    assert long["name"].tolist() == ["one"] * 5 + ["two"] * 5
    assert long["run"].nunique() == 1


def test_tags_and_every_come_from_the_grid_or_the_call(tmp_path: Path) -> None:
    study = finished_study(tmp_path, tags=["metric/*"], every=2)
    export_study(study)
    long = pd.read_parquet(study.tables / "long.parquet")
    assert sorted(long["tag"].unique()) == [TEST, VALID]
    assert sorted(long["step"].unique()) == [0, 20, 40]
    export_study(study, tags=["loss/*", SPARSE], every=4)
    long = pd.read_parquet(study.tables / "long.parquet")
    assert sorted(long["tag"].unique()) == [SPARSE, "loss/train"]
    assert sorted(long["step"].unique()) == [0, 40]


def test_runs_and_summary(tmp_path: Path) -> None:
    study = make_study(tmp_path, summary=SUMMARY, tags=["loss/*"], every=3)
    incarnation = submit(study)
    for lane in range(12):
        log(study, incarnation, lane, STEPS)
    finish(incarnation, range(11))
    incarnation.write("failed", lanes=[11], message="no", **{"class": "user error"})
    end(incarnation)
    manifest = export_study(study)
    runs = read(study.tables, "runs.csv")
    assert runs["solved"].tolist() == [True, False, True] * 3 + [True, False, False]
    assert runs["solved_at"].fillna(-1).tolist() == [20, -1, 20] * 3 + [20, -1, -1]
    assert runs["best_step"].tolist()[:11] == [40] * 11
    assert runs["outcome"].tolist()[:11] == ["done"] * 11
    assert runs["failure"].tolist()[11] == "user error"
    assert runs["rows"].tolist() == [20] * 11 + [0]
    summary = read(study.tables, "summary.csv")
    assert summary["range"].tolist() == np.repeat(RANGES, 2).tolist()
    assert summary["model"].tolist() == MODELS * 2
    assert "seed" not in summary
    assert summary["runs"].tolist() == [3, 3, 3, 3]
    assert summary["n"].tolist() == [3, 3, 3, 2]
    assert summary["solved"].tolist() == [2, 2, 2, 1]
    assert summary["solved_at_mean"].tolist() == [20.0] * 4
    assert summary["sparsity_median"].tolist() == pytest.approx([float(np.float32(0.01))] * 4, rel=1e-12)
    assert [file.name for file in manifest.files][-2:] == ["runs.csv", "summary.csv"]


def test_a_summary_of_tags_that_nobody_logged(tmp_path: Path) -> None:
    study = finished_study(tmp_path, summary=SUMMARY | {"select": "metric/valid/interpolatoin"})
    with pytest.raises(UserError, match="interpolatoin.*Did you mean 'metric/valid/interpolation'"):
        export_study(study)


def test_a_study_without_any_events(tmp_path: Path) -> None:
    study = make_study(tmp_path, summary=SUMMARY)
    manifest = export_study(study)
    assert (manifest.expected, manifest.read, manifest.missing, manifest.scalars) == (12, 0, 12, 0)
    assert len(pd.read_parquet(study.tables / "long.parquet")) == 0
    assert read(study.tables, "summary.csv")["n"].tolist() == [0] * 4
    assert read(study.tables, "wide.csv.gz").columns[0] == "run"


def test_what_was_never_submitted(tmp_path: Path) -> None:
    from orchestrator.study.study import Study

    with pytest.raises(UserError, match="orch submit"):
        export_study(Study.create(tmp_path, "empty"))


@pytest.mark.parametrize(
    ("given", "nearest"), [({"layouts": ["lnog"]}, "'long'"), ({"formats": ["parket"]}, "'parquet'")]
)
def test_unknown_layouts_and_formats(tmp_path: Path, given: dict[str, list[str]], nearest: str) -> None:
    with pytest.raises(UserError, match=f"Did you mean {nearest}"):
        export_study(make_study(tmp_path), **given)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        export_study(finished_study(tmp_path / "runs"), out=tmp_path / "file" / "tables")


def test_tables_are_written_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = finished_study(tmp_path)
    export_study(study, formats=["parquet", "csv"])
    whole = {layout: read(study.tables, f"{layout}.csv") for layout in ("long", "wide")}
    monkeypatch.setattr(scalars, "CHUNK", 37)
    (study.tables / CACHE / "index.json").unlink()
    export_study(study, formats=["parquet", "csv"])
    assert parquet.ParquetFile(study.tables / "long.parquet").num_row_groups > 3
    for layout, table in whole.items():
        pd.testing.assert_frame_equal(read(study.tables, f"{layout}.csv"), table)


# --- folders of other programs


def foreign(folder: Path, *parts: bytes, name: str = "events.out.tfevents.1.host") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(version() + b"".join(parts))


ODD = ["größe/δ", 'with "quotes", commas', "two\nlines", "run", "step", "tag.step", " ", "a.b"]
SPECIAL = [math.nan, math.inf, -math.inf, -0.0, 0.1, 1e-40]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet"])
def test_odd_tags_and_values_survive(tmp_path: Path, form: str) -> None:
    foreign(tmp_path / "logs" / "run [1], ü", *(scalar(tag, i, v) for tag in ODD for i, v in enumerate(SPECIAL)))
    export_logdir(tmp_path / "logs", formats=[form], out=tmp_path / "out")
    load = pd.read_parquet if form == "parquet" else pd.read_csv
    long, wide = (load(tmp_path / "out" / f"{layout}.{form}") for layout in ("long", "wide"))
    assert sorted(long["tag"].unique()) == sorted(ODD)
    assert long["run"].unique().tolist() == ["run [1], ü"]
    expected = np.array(SPECIAL, np.float32)
    for tag in ODD:
        np.testing.assert_array_equal(long["value"][long["tag"] == tag].astype(np.float32), expected)
    # Tags that would take a name of the table's own are renamed, in the order of the tags.
    names = dict(zip(sorted(ODD), tag_names(sorted(ODD), []), strict=True))
    assert names["run"] == "tag.run"
    assert {names["step"], names["tag.step"]} == {"tag.step", "tag.tag.step"}
    for name in names.values():
        np.testing.assert_array_equal(wide[name].astype(np.float32), expected)


def test_missing_and_nan_differ_in_csv(tmp_path: Path) -> None:
    foreign(tmp_path / "a", scalar("x", 1, math.nan), scalar("y", 2, 1.0))
    export_logdir(tmp_path / "a", layouts=["wide"], formats=["csv"], out=tmp_path)
    lines = (tmp_path / "wide.csv").read_text().splitlines()
    assert lines[1].endswith(",nan,")
    assert lines[2].endswith(",,1")


def test_a_value_of_float64_needs_its_eight_bytes(tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.util.tensor_util import make_tensor_proto

    from tests.export.events import record

    value = Summary.Value(tag="x", tensor=make_tensor_proto(np.float64(0.1)))
    foreign(tmp_path / "a", record(Event(step=1, summary=Summary(value=[value]))), scalar("y", 1, 0.5))
    export_logdir(tmp_path / "a", formats=["parquet", "csv"], out=tmp_path)
    assert pd.read_parquet(tmp_path / "long.parquet")["value"].tolist() == [0.1, 0.5]
    assert parquet.read_schema(tmp_path / "long.parquet").field("value").type == "double"


def test_a_tree_of_runs_and_stray_files(tmp_path: Path) -> None:
    for name in ("b/2", "a", "b/10", "."):
        foreign(tmp_path / "logs" / name, series("x", range(3)))
    (tmp_path / "logs" / "notes.txt").write_text("stray")
    (tmp_path / "logs" / "empty").mkdir()
    manifest = export_logdir(str(tmp_path / "logs"), out=tmp_path / "out")
    runs = read(tmp_path / "out", "runs.csv")
    assert runs["run"].tolist() == [".", "a", "b/10", "b/2"]
    assert manifest.name == "logs"
    assert (manifest.expected, manifest.read, manifest.finished) == (4, 4, 4)


def test_of_several_values_at_one_step_the_last_is_wide_and_all_are_long(tmp_path: Path) -> None:
    foreign(tmp_path / "a", scalar("x", 1, 1.0), scalar("x", 1, 3.0), scalar("x", 1, 2.0))
    export_logdir(tmp_path / "a", formats=["parquet"], out=tmp_path)
    assert pd.read_parquet(tmp_path / "wide.parquet")["x"].tolist() == [2.0]
    assert pd.read_parquet(tmp_path / "long.parquet")["value"].tolist() == [1.0, 3.0, 2.0]


def test_runs_of_a_folder_can_be_judged(tmp_path: Path) -> None:
    foreign(tmp_path / "a", scalar("v", 1, 2.0), scalar("t", 1, 0.5), scalar("v", 2, 1.0), scalar("t", 2, 0.0))
    export_logdir(tmp_path / "a", out=tmp_path / "out", criterion=Criterion("v", "t", 0.1))
    assert read(tmp_path / "out", "runs.csv")["solved_at"].tolist() == [2]


def test_folders_without_event_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no TensorBoard event files"):
        export_logdir(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        export_logdir(tmp_path / "absent")


def test_a_file_that_cannot_be_opened_does_not_end_the_export(tmp_path: Path) -> None:
    foreign(tmp_path / "logs" / "a", series("x", range(3)))
    foreign(tmp_path / "logs" / "b", series("x", range(3)))
    broken = tmp_path / "logs" / "b" / "events.out.tfevents.2.host"
    os.mkfifo(broken)  # not a file: passed over
    manifest = export_logdir(tmp_path / "logs", out=tmp_path / "out")
    assert manifest.files_read == 2
    shutil.rmtree(tmp_path / "out")


def test_gzip_files_carry_neither_name_nor_time(tmp_path: Path) -> None:
    foreign(tmp_path / "a", series("x", range(3)))
    export_logdir(tmp_path / "a", formats=["csv.gz"], out=tmp_path)
    data = (tmp_path / "long.csv.gz").read_bytes()
    assert data[3:8] == bytes(5)
    assert gzip.decompress(data).startswith(b'"run",')


def test_names_of_columns() -> None:
    assert [label_name(axis) for axis in ("model", "step", "param.x", "n")] == [
        "model", "label.step", "label.param.x", "label.n",
    ]  # fmt: skip
    assert tag_names(["loss", "model", "", "tag.model"], ["model"]) == ["loss", "tag.model", "tag.", "tag.tag.model"]


def test_types_of_columns() -> None:
    assert typed([1, None]).type == "int64"
    assert typed([1, 0.5]).to_pylist() == [1.0, 0.5]
    assert typed([True, None]).type == "bool"
    assert typed(["a"]).type == "string"
    assert typed([1, "a", [1, 2.5], True]).to_pylist() == ["1", '"a"', "[1, 2.5]", "true"]
    assert typed([1 << 70]).type == "double"
