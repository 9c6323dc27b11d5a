"""Figures of thinking: accuracy by iteration, and by length."""

import subprocess
from pathlib import Path

import pandas as pd
import pytest

from experiments.thinking import figures as tables_of_figures
from export import figures
from orchestrator.errors import UserError
from tests.export.studies import finished_study
from tests.needs import needs_r
from tests.thinking.test_tables import export, series

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


# --- figures that grids declare ---------------------------------------------------------------------------------------


def declared(**figure):
    return {"name": "fig", "script": "schoopy", "table": "experiments.thinking.figures:schoopy", **figure}


def study_of(folder, **figure):
    """Return a finished study with the series of two nets at two lengths, and a figure of them."""
    study = finished_study(folder, figures=[declared(**figure)])
    figures.export_study(study)
    rows = series("r0", 0, 18, 2, {2: 40.0, 3: 60.0}) + series("r1", 1, 18, 2, {2: 60.0, 3: 80.0})
    export(study.path, rows + series("r2", 0, 24, 2, {2: 10.0, 3: 30.0}))
    return study


@needs_r
def test_a_grid_has_its_curves_drawn(tmp_path):
    study = study_of(tmp_path, where={"test_data": 18}, options={"colour": "test_data", "unit": "seeds"})
    pdf, png = figures.draw(study)
    assert pdf.read_bytes().startswith(b"%PDF")
    assert png.read_bytes().startswith(b"\x89PNG")
    drawn = pd.read_csv(study.figures / "fig.csv")
    assert drawn[["test_iter", "test_acc_mean", "test_acc_sem", "runs"]].to_numpy().tolist() == [
        [2, 50, 10, 2], [3, 70, 10, 2],
    ]  # fmt: skip
    whole = tables_of_figures.schoopy(study.path)
    pd.testing.assert_frame_equal(drawn, whole[whole["test_data"] == 18].reset_index(drop=True), check_dtype=False)


def test_curves_of_single_seeds(tmp_path):
    export(tmp_path, series("r0", 0, 18, 2, {2: 40.0, 3: 60.0}) + series("r1", 1, 18, 2, {2: 60.0, 3: 80.0}))
    found = tables_of_figures.by_seed(tmp_path)
    assert found[["seed", "test_iter", "test_acc_mean", "runs"]].to_numpy().tolist() == [
        [0, 2, 40, 1], [0, 3, 60, 1], [1, 2, 60, 1], [1, 3, 80, 1],
    ]  # fmt: skip


@needs_r
@pytest.mark.parametrize(
    ("figure", "says"),
    [
        ({"table": "experiments.thinking.figures:skoopy"}, "table: experiments.thinking.figures:skoopy, which cannot"),
        ({"table": "nowhere.to.be.found:table"}, "which cannot be loaded: No module named 'nowhere'"),
        ({"table": "tests.thinking.test_figures:broken"}, "broken failed: ValueError('of a mistake')"),
        ({"table": "tests.thinking.test_figures:refusing"}, "figure 'fig': there is nothing yet"),
        ({"table": "tests.thinking.test_figures:leaving"}, "leaving failed: SystemExit('that is all')"),
        ({"table": "tests.thinking.test_figures:returning_nothing"}, "returned a NoneType, not a pandas data frame"),
        ({"table": "tests.thinking.test_figures:of_two_kinds"}, "of_two_kinds has columns of no one kind: "),
        ({"table": "tests.thinking.test_figures:of_lists"}, "figure 'fig': column test_data of the table of "),
        ({"where": {"tset_data": 18}}, "Did you mean 'test_data'"),
        ({"where": {"test_data": 19, "model": "x"}}, "where: test_data: 19, and no row of the table of experiments"),
    ],
)
def test_a_table_that_cannot_be_made_is_told(tmp_path, figure, says):
    with pytest.raises(UserError) as told:
        figures.draw(study_of(tmp_path, **figure))
    assert says in str(told.value)


@needs_r
def test_numbers_are_chosen_by_what_they_are(tmp_path):
    study = study_of(tmp_path, where={"test_data": 18.0, "alpha": 1}, options={"colour": "test_data"})
    figures.draw(study)
    assert set(pd.read_csv(study.figures / "fig.csv")["test_data"]) == {18}


def leaving(folder):
    raise SystemExit("that is all")


def returning_nothing(folder):
    pass


def of_two_kinds(folder):
    return pd.DataFrame({"test_data": [18, "many"]})


def of_lists(folder):
    return pd.DataFrame({"test_data": [[18], [24]]})


def broken(folder):
    raise ValueError("of a mistake")


def refusing(folder):
    raise UserError("there is nothing yet")
