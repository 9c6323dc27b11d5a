"""Texts and hparams, on request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto

from orchestrator.cli.main import main
from tests.export.events import record
from tests.export.studies import end, finish, log, make_points, make_study, submit


def table(folder: Path, name: str = "long.parquet") -> pd.DataFrame:
    return pd.read_parquet(folder / name) if name.endswith("parquet") else pd.read_csv(folder / name)


def test_texts_and_hparams_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(str(tmp_path / "logs" / "a")) as writer:
        writer.add_scalar("loss", 0.5, 1)
        writer.add_text("note", 'größe, "x"\nline', 3)
        writer.add_hparams({"lr": 0.1, "layer": "nmru", "flag": True}, {"metric": 1.0}, run_name="h")
        writer.add_histogram("weights", np.arange(10.0), 3)
    words = ["export", "--logdir", str(tmp_path / "logs"), "-o", str(tmp_path / "out"), "--text", "--hparams"]
    assert main(words) == 0
    text = table(tmp_path / "out", "text.csv")
    assert text.to_dict("records")[0] | {"wall_time": 0} == {
        "run": "a", "tag": "note/text_summary", "step": 3, "wall_time": 0, "text": "größe, \"x\"\nline",
    }  # fmt: skip
    hparams = table(tmp_path / "out", "hparams.csv").to_dict("records")
    assert hparams == [{"run": "a/h", "param.flag": True, "param.layer": "nmru", "param.lr": 0.1}]
    assert sorted(table(tmp_path / "out")["tag"].unique()) == ["loss", "metric"]
    assert "hparams.csv" in capsys.readouterr().out


def test_texts_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(tmp_path / "runs", make_points(1))
    incarnation = submit(study)
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    text = Summary.Value(tag="note", metadata=metadata, tensor=TensorProto(dtype=7, string_val=[b"words"]))
    for lane in range(2):
        with log(study, incarnation, lane, range(0, 30, 10)).open("ab") as file:
            file.write(record(Event(wall_time=3.0, step=7, summary=Summary(value=[text]))))
    finish(incarnation)
    end(incarnation)
    monkeypatch.chdir(tmp_path)
    assert main(["export", "study", "--text", "--where", "model=Real NPU", "--format", "csv"]) == 0
    found = table(study.tables, "text.csv").to_dict("records")
    runs = table(study.tables, "runs.csv")["run"].tolist()
    assert found == [{"run": runs[0], "tag": "note", "step": 7, "wall_time": 3, "text": "words"}]
