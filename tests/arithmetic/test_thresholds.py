"""Thresholds and gold errors, against the tables that the papers' code ships."""

import csv
import io
import subprocess
import sys

import numpy as np
import pytest

from experiments.arithmetic import gold, thresholds
from experiments.arithmetic.published import ZERO_THRESHOLDS

# Mean squared errors at gold weights, inputs from U[0, 1e-8) to U[0, 1): the data of Figure 5.
GOLD = {
    ("easy", "NRU"): [1.024e5, 3.295e3, 60.50, 0.1727, 8.673e-4, 4.244e-5, 2.445e-7, 1.438e-9, 4.572e-11],
    ("easy", "Real NPU"): [1.800e20, 1.798e18, 1.784e16, 1.684e14, 1.153e12, 2.046e9, 4.910e5, 55.25, 5.590e-3],
    ("easy", "Real NPU (eps=0)"): [
        3.743e7, 4.500e5, 7.061e3, 60.93, 0.3017, 8.122e-4, 1.433e-5, 8.941e-8, 9.267e-10,
    ],
    ("easy", "NMRU"): [1.012e5, 3.296e3, 60.57, 0.1845, 3.669e-3, 4.185e-5, 2.443e-7, 1.438e-9, 4.532e-11],
    ("medium", "NRU"): [1.781e5, 3.394e3, 35.97, 0.05686, 8.079e-4, 9.149e-6, 5.677e-8, 7.089e-9, 3.364e-11],
    ("medium", "Real NPU"): [1.813e20, 1.812e18, 1.800e16, 1.722e14, 1.310e12, 3.463e9, 1.115e6, 132.2, 1.345e-2],
    ("medium", "Real NPU (eps=0)"): [
        2.575e7, 4.345e5, 8.432e3, 45.59, 0.1836, 4.077e-3, 1.259e-5, 7.459e-8, 1.055e-9,
    ],
    ("medium", "NMRU"): [1.781e5, 3.395e3, 36.03, 0.06806, 2.808e-3, 9.149e-6, 5.677e-8, 7.089e-9, 3.365e-11],
    ("hard", "NRU"): [9.44e-12, 1.16e-11, 3.23e-11, 1.45e-11, 9.47e-12, 3.24e-11, 2.08e-11, 2.07e-11, 2.16e-11],
    ("hard", "Real NPU"): [3.969e3, 3.965e3, 3.931e3, 3.703e3, 2.531e3, 401.3, 8.685, 0.09694, 9.814e-4],
    ("hard", "Real NPU (eps=0)"): [
        1.69e-9, 1.56e-9, 1.12e-9, 1.10e-9, 1.65e-9, 5.89e-10, 3.27e-10, 2.75e-10, 3.64e-10,
    ],
    ("hard", "NMRU"): [3.979e3, 1.836e3, 26.02, 2.243, 3.273e-2, 8.956e-5, 4.399e-7, 1.815e-8, 1.849e-11],
}  # fmt: skip


def test_gold_errors_are_figure_5s():
    rows = gold.errors(["easy", "medium", "hard"], list(thresholds.GOLD_HIGHS))
    found = {(row.level, row.module, row.high): row.error for row in rows}
    close = 0
    for (level, module), published in GOLD.items():
        ours = [found[level, module, high] for high in thresholds.GOLD_HIGHS]
        if module == "Real NPU (eps=0)":  # exponential and logarithm round as the library likes
            np.testing.assert_allclose(ours, published, rtol=0.6)
        else:
            np.testing.assert_allclose(ours, published, rtol=5e-3)
        close += np.isclose(ours, published, rtol=5e-3).sum()
    assert close >= 88


def test_thresholds_of_small_numbers_are_the_published_ones_to_the_rounding_of_the_library():
    rows = {(row["parameter"], row["range.b"]): row for row in thresholds.zero_ranges()}
    assert len(rows) == 45
    suffix = {"NRU": "", "Real NPU": ".realnpu", "NMRU": ".nmru"}
    for (level, module), published in ZERO_THRESHOLDS.items():
        for high, value in zip(thresholds.ZERO_HIGHS, published, strict=True):
            row = rows[f"zero.range.{level}{suffix[module]}", high]
            assert row["published"] == value
            assert row["epsilon"] == pytest.approx(value, rel=2e-5)


def test_an_nru_cannot_reach_five_of_its_thresholds():
    """Its gated form adds 1 to every factor and takes it off again."""
    missed = {
        (level, high)
        for level in gold.TASKS
        for high, threshold in zip(thresholds.ZERO_HIGHS, ZERO_THRESHOLDS[level, "NRU"], strict=True)
        if gold.reachable(level, high) > threshold
    }
    assert missed == {("easy", 1e-4), ("medium", 1e-4), ("hard", 1e-4), ("hard", 1e-3), ("hard", 1e-2)}


def test_the_division_papers_table():
    rows = [row for row in thresholds.division() if row["parameter"] == "extrapolation.range"]
    assert len(rows) == 4 * 9 + 1
    assert {row["epsilon"] for row in rows} == {1e-5}
    texts = [row["extrapolation.range"] for row in rows if row["operation"] == "op-div"]
    assert texts == [
        "U[-40,-20]", "U[-6,-2]", "U[-6.1,-1.2]", "U[-2,-0.2]", "U[-6,-2] & U[2,6]", "U[0.2,2]", "U[2,6]", "U[1.2,6]",
        "U[20,40]", "U[2,6] & U[-6,-2]",
    ]  # fmt: skip
    assert thresholds.text(0, 1e-4) == "U[0,0.0001]"


# From function_task_static_mse_expectation.csv.
TWO_LAYER = {
    ("add", 100, 25, 12): 1.47849102e-05,
    ("sub", 100, 25, 12): 1.38545600e-08,
    ("mul", 100, 25, 12): 0.160052341,
    ("div", 100, 25, 12): 4.95475908e-12,
    ("squared", 100, 25, 12): 0.159465862,
    ("root", 100, 25, 12): 8.95296106e-09,
    ("mul", 4, 1, 0): 7.10447e-08,
    ("mul", 10, 2, 1): 1.50963e-05,
    ("mul", 50, 12, 6): 0.0100301,
    ("mul", 300, 75, 37): 12.970183,
    ("mul", 100, 5, 2): 0.0288477,
    ("mul", 100, 50, 25): 0.00222144,
    ("mul", 100, 25, 25): 0.159487,
}
SPANS = {(-6.0, -2.0): 0.160034, (1.0, 5.0): 0.0507586, (0.2, 2.0): 9.20448e-04, (20.0, 40.0): 505.511906}


@pytest.mark.parametrize("case", TWO_LAYER, ids=str)
def test_trap_20_two_layer_thresholds_with_an_input_too_many_in_each_subset(case):
    found = thresholds.two_layer_threshold(*case, samples=40_000)
    assert found == pytest.approx(TWO_LAYER[case], rel=0.06 if case[0] == "sub" else 0.02)


@pytest.mark.parametrize("span", SPANS, ids=str)
def test_two_layer_thresholds_by_range(span):
    assert thresholds.two_layer_threshold("mul", 100, 25, 12, span, samples=40_000) == pytest.approx(
        SPANS[span], rel=0.02
    )
    mirrored = thresholds.two_layer_threshold("mul", 100, 25, 12, mirror=True, samples=100_000)
    assert mirrored == pytest.approx(2.30791e-04, rel=0.05)


@pytest.mark.parametrize(
    ("operation", "threshold"), [("add", 2.66721340e-08), ("mul", 2.15698498e-06), ("sub", 2.66448915e-08)]
)
def test_thresholds_of_the_simple_task(operation, threshold):
    found = thresholds.two_layer_threshold(operation, 4, 1, 0, simple=True, samples=200_000)
    assert found == pytest.approx(threshold, rel=0.02)


PRIMER = {
    (20.0, 40.0): (3.667e-05, 3.484e-02, 4.666e-08, 9.033e-04, 9.003e-02),
    (2.0, 6.0): (6.667e-07, 1.202e-05, 5.777e-08, 1.613e-05, 1.601e-03),
    (-6.1, -1.2): (5.729e-07, 9.391e-06, 8.372e-08, 1.352e-05, 1.334e-03),
    (0.2, 2.0): (5.380e-08, 8.761e-08, 1.480e-07, 1.237e-06, 1.213e-04),
    (1.2, 6.0): (5.568e-07, 8.856e-06, 8.265e-08, 1.315e-05, 1.298e-03),
}


@pytest.mark.parametrize("span", PRIMER, ids=str)
def test_the_primers_thresholds_in_closed_form(span):
    cases = [("add", 2), ("mul", 2), ("div", 2), ("add", 10), ("sub", 100)]
    found = [thresholds.primer_threshold(operation, inputs, *span) for operation, inputs in cases]
    np.testing.assert_allclose(found, PRIMER[span], rtol=3e-4)


@pytest.mark.parametrize(("operation", "inputs"), [("add", 2), ("sub", 10), ("mul", 2), ("div", 2)])
def test_the_primers_closed_form_is_what_a_simulation_gives(operation, inputs):
    e, rng = thresholds.PRIMER_EPSILON, np.random.default_rng(0)
    x = rng.uniform(1.2, 6, size=(400_000, inputs))
    wrong, right = {
        "add": (x[:, 0] + x[:, 1] - e * x.sum(1), x[:, 0] + x[:, 1]),
        "sub": (x[:, 0] - x[:, 1] - e * x.sum(1), x[:, 0] - x[:, 1]),
        "mul": ((1 - e) ** 2 * x[:, 0] * x[:, 1], x[:, 0] * x[:, 1]),
        "div": ((1 - e) / (1 + e) * x[:, 0] / x[:, 1], x[:, 0] / x[:, 1]),
    }[operation]
    assert np.mean((wrong - right) ** 2) == pytest.approx(
        thresholds.primer_threshold(operation, inputs, 1.2, 6), rel=0.01
    )


def test_trap_21_the_reference_threshold_has_eight_degrees_of_freedom():
    errors = np.array([1.0, 2.0, 3.0, 4.0])
    assert thresholds.reference_threshold(errors) == pytest.approx(2.5 + 2.896459 * errors.std(ddof=1) / 2)


@pytest.mark.parametrize("table", ["primer", "division"])
def test_the_command_writes_a_table(table):
    made = subprocess.run(
        [sys.executable, "-m", "experiments.arithmetic.thresholds", table], capture_output=True, text=True, check=True
    )
    rows = list(csv.DictReader(io.StringIO(made.stdout)))
    assert len(rows) == {"primer": 64, "division": 82}[table]
    assert {"operation", "epsilon", "extrapolation.range"} <= set(rows[0])
