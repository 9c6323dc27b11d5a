"""Figures of thinking: accuracy by iteration, and by length."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.needs import needs_r

ROOT = Path(__file__).parents[2]


def curves(errors=1.0):
    rows = [
        {"model": model, "test_data": data, "test_iter": k, "test_acc_mean": 10.0 * k, "test_acc_sem": errors,
         "runs": 3, "max_iters": 4, "train_data": 16, "iterations": f"k = {k}"}
        for model in ("dt_net_1d_width=8", "dt_net_recall_1d_width=8") for data in (24, 100) for k in range(1, 9)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def draw(folder, name, table, *words):
    table.to_csv(folder / "t.csv", index=False)
    command = ["Rscript", str(ROOT / "r_plots" / f"{name}.R"), "t.csv", "out.pdf", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@needs_r
@pytest.mark.parametrize(
    ("name", "errors", "words"),
    [
        ("schoopy", 1.0, ["colour=model", "facet=test_data", "unit=seeds", "x_max=6"]),
        ("schoopy", None, ["colour=test_data", "facet=model"]),  # of one run there is no standard error
        ("extrapolation", 1.0, ["colour=iterations", "facet=model"]),
        ("extrapolation", None, ["colour=iterations", "facet=model", "x_label=Size"]),
    ],
)
def test_curves_are_drawn(tmp_path, name, errors, words):
    done = draw(tmp_path, name, curves(errors), *words)
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip(), done.stderr
    assert (tmp_path / "out.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@needs_r
@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("schoopy", ["colour=modle"], "t.csv has no column modle; it has: model, test_data"),
        ("schoopy", ["colour=model"], "several rows for one point: choose colour and facet"),
        ("schoopy", ["colour=model", "facet=test_data", "x_max=0"], "has 0 iterations or fewer"),
        ("extrapolation", ["colour=model"], "several rows for one point"),
        ("extrapolation", ["facet=", "color=model"], "color is no option of extrapolation.R"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_drawn(tmp_path, name, words, says):
    done = draw(tmp_path, name, curves(), *words)
    assert done.returncode == 1
    assert says in done.stderr
    assert not (tmp_path / "out.pdf").exists()
