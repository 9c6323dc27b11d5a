"""Scripts of the arithmetic figures: what they draw, and what they say of tables that are none of theirs."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.needs import needs_pdftotext, needs_r

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import mnist_success  # noqa: E402


def script(name, *words, folder):
    command = ["Rscript", str(ROOT / "r_plots" / f"{name}.R"), *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def drawn(folder, name="out"):
    assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


STATISTICS = [
    f"{quantity}_{kind}{end}"
    for quantity in ("solved_at", "sparsity")
    for kind in ("mean", "published")
    for end in ("", "_lower", "_upper")
] + [f"{quantity}_{kind}" for quantity in ("solved_at", "sparsity") for kind in ("median", "max")]


def summary(column, values):
    rows = []
    for model in ("NMU", "NAC*"):
        for value in values:
            row = {"model": model, column: value, "runs": 5, "n": 5, "solved": 3, "success": 0.6}
            row |= {"success_lower": 0.2, "success_upper": 0.9} | dict.fromkeys(STATISTICS, 0.1)
            rows.append(row)
    return pd.DataFrame(rows)


@needs_r
@needs_pdftotext
@pytest.mark.parametrize(("name", "words"), [("range_success", ["x=size"]), ("parameter", ["x=size"])])
def test_sparsity_errors_of_zero_are_drawn_as_zero(tmp_path, name, words):
    """The published fit lifts them to 1e-16, which is no scale for an axis."""
    table = summary("size", ["a", "b"])
    sparsity = [column for column in table if column.startswith("sparsity_published")]
    table[sparsity] = 1.0000000000000003e-16
    table.to_csv(tmp_path / "t.csv", index=False)
    done = script(name, "t.csv", "out.pdf", "estimate=published", "facets=sparsity", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    text = subprocess.run(["pdftotext", "out.pdf", "-"], cwd=tmp_path, capture_output=True, text=True).stdout
    assert "Sparsity error" in text
    assert re.search(r"^0$", text, re.MULTILINE)
    assert not re.search(r"10\s*[−-]", text), text


@needs_r
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([2, 3, 10], []),
        ([1e-3, 1e-2], ["log=true", "estimate=median"]),
        (["a", "b"], ["facets=success", "estimate=published"]),
    ],
)
def test_success_against_a_parameter(tmp_path, values, words):
    summary("size", values).to_csv(tmp_path / "t.csv", index=False)
    done = script("parameter", "t.csv", "out.pdf", "x=size", "colour=model", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    drawn(tmp_path)


@needs_r
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["x=sise"], "no column sise"),
        (["x=size", "log=true"], "needs an x of positive numbers"),
        (["x=size", "estimate=mode"], "mean, published or median"),
        (["x=size", "colour="], "several rows for one size"),
    ],
)
def test_success_against_a_parameter_says_what_is_wrong(tmp_path, words, says):
    summary("size", ["a", "b"]).to_csv(tmp_path / "t.csv", index=False)
    done = script("parameter", "t.csv", "out.pdf", *words, folder=tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
    assert not (tmp_path / "out.pdf").exists()


@needs_r
@pytest.mark.parametrize(("name", "module"), [("gold_errors", "thresholds gold"), ("loss_landscape", "landscape")])
def test_figures_without_training(tmp_path, name, module):
    words = [sys.executable, "-m", *f"experiments.arithmetic.{module}".split()]
    table = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (tmp_path / "t.csv").write_text(table)
    done = script(name, "t.csv", "out.pdf", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    drawn(tmp_path)
    (tmp_path / "other.csv").write_text("a,b,c,d\n1,2,3,4\n")
    done = script(name, "other.csv", "none.pdf", folder=tmp_path)
    assert done.returncode == 1
    assert "it has no column module" in done.stderr


def test_the_landscape_is_lowest_where_the_weights_are_right():
    from experiments.arithmetic import landscape

    at = np.array([0.999, 0.5])
    for name in ("NAC*, epsilon 1e-7", "NMU", "NRU, |w|", "NRU, tanh"):
        loss = landscape.surface(name, at, at)
        assert loss[0, 0] < 0.2
        assert loss[1, 1] > 5
    assert pytest.approx(13.2) == landscape.TARGET


def mnist(errors, models):
    """A wide table: three rows for each run, the second of which has the least validation error."""
    rows = []
    for run, (error, model) in enumerate(zip(errors, models, strict=True)):
        for row, (valid, factor) in enumerate([(2.0, 20.0), (1.0, 1.0), (1.5, 0.1)]):
            rows.append(
                {
                    "run": f"r{run}", "seed": run, "model": model, "step": row * 10, "metric/valid/mse": valid,
                    "metric/test/extrapolation/1/mse": error * factor,
                    "metric/test/extrapolation/10/mse": 10 * error * factor,
                    "network/1/nac/W/sparsity_error": 0.1,
                }
            )  # fmt: skip
    rows.append({"run": "r0", "seed": 0, "model": models[0], "step": 5})  # a row of losses alone
    return pd.DataFrame(rows)


def test_mnist_by_length_with_the_references_threshold(tmp_path):
    reference = mnist([0.1, 0.2, 0.3], ["solved"] * 3)
    study = mnist([0.05, 0.4, 0.39, 0.9], ["NMU", "NMU", "LSTM", "LSTM"])
    for name, table in (("study", study), ("reference", reference)):
        (tmp_path / name / "tables").mkdir(parents=True)
        table.to_parquet(tmp_path / name / "tables" / "wide.parquet")
    words = [sys.executable, str(ROOT / "benchmarks" / "mnist_success.py"), str(tmp_path / "study")]
    done = subprocess.run([*words, str(tmp_path / "reference")], capture_output=True, text=True, cwd=ROOT, check=True)
    (tmp_path / "t.csv").write_text(done.stdout)
    found = pd.read_csv(tmp_path / "t.csv")
    # 0.2 + 2.896 · 0.1 / √3 = 0.367, and ten times that at length 10.
    assert found[["length", "model", "n", "solved"]].to_numpy().tolist() == [
        [1, "NMU", 2, 1], [1, "LSTM", 2, 0], [10, "NMU", 2, 1], [10, "LSTM", 2, 0],
    ]  # fmt: skip
    assert found["solved_at_mean"].iloc[0] == 10  # its first row is above the threshold
    missing = subprocess.run([*words, str(tmp_path / "none")], capture_output=True, text=True, cwd=ROOT)
    assert missing.returncode == 1
    assert "write it with: orch export" in missing.stderr


def test_seeds_of_the_reference_can_be_left_out(tmp_path):
    reference = mnist([0.1, 0.2, 50.0], ["solved"] * 3)
    study = mnist([1.0], ["NMU"])
    kept = reference[reference["seed"].isin([0, 1])]
    some = mnist_success.summarise(study[study["metric/valid/mse"].notna()], kept[kept["metric/valid/mse"].notna()])
    everything = mnist_success.summarise(study.dropna(), reference.dropna())
    assert some["solved"].tolist() == [0, 0]
    assert everything["solved"].tolist() == [1, 1]
