"""When a run counts as solved: the papers' thresholds on the test error, from their formulas.

::

    python -m experiments.arithmetic.thresholds division   > exp_setups.csv
    python -m experiments.arithmetic.thresholds two-layer  > function_task_static_mse_expectation.csv
    python -m experiments.arithmetic.thresholds primer     > thresholds_primer.csv
    python -m experiments.arithmetic.thresholds gold       > divBy0_test_errors.csv

Every table has the columns and the labels of the papers' own files.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from experiments.arithmetic.published import ZERO_THRESHOLDS

DIVISION = 1e-5
"""The division paper's threshold, whatever the operation and the range."""

TWO_LAYER_EPSILON, PRIMER_EPSILON = 1e-5, 1e-4
"""How far weights may be from their discrete values."""

Range = tuple[float, float]
RANGES: tuple[Range, ...] = (
    (-40, -20), (-6, -2), (-6.1, -1.2), (-2, -0.2), (0.2, 2), (2, 6), (1.2, 6), (20, 40),
)  # fmt: skip
"""Test ranges that are one interval; the ninth is the mirrored (2, 6)."""

LEVELS = {"hard": ("div", 2, 0.5), "easy": ("reciprocal", 1, 1.0), "medium": ("reciprocal", 2, 0.5)}
ZERO_HIGHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
GOLD_HIGHS = (1e-8, 1e-7, 1e-6, 1e-5, *ZERO_HIGHS)
EPS32 = 2.0**-23

Row = Mapping[str, Any]


# --- the division paper -----------------------------------------------------------------------------------------------


def text(low: float, high: float, *, mirror: bool = False) -> str:
    """Return a range as the papers' tables write it: ``U[2,6]``, or ``U[-6,-2] & U[2,6]`` for a mirrored one."""
    if not mirror:
        return f"U[{_number(low)},{_number(high)}]"
    first, second = ((-high, -low), (low, high))
    return f"{text(*first)} & {text(*second)}"


def _number(value: float) -> str:
    return np.format_float_positional(value, trim="-")


def division() -> Iterator[Row]:
    """Yield the rows of ``exp_setups.csv``; mirrored ranges are all written with ``&``."""
    for operation in ("add", "sub", "mul", "div"):
        for place, (low, high) in enumerate([*RANGES[:4], (2.0, 6.0), *RANGES[4:]]):
            mirror = place == 4
            yield _setup("extrapolation.range", operation, 2, 0.5, low, high, mirror, DIVISION)
    yield _setup("extrapolation.range", "div", 2, 0.5, -6, -2, True, DIVISION)
    yield from zero_ranges()


def zero_ranges() -> Iterator[Row]:
    """Yield the thresholds of division by small numbers: a module's error at its gold weights, plus float32's epsilon.

    The column ``epsilon`` is reckoned here, with the library that evaluates runs; ``published`` is the papers' own.
    """
    from experiments.arithmetic.gold import errors

    suffixes = {"NRU": "", "Real NPU": ".realnpu", "NMRU": ".nmru"}
    for gold in errors(list(LEVELS), list(ZERO_HIGHS)):  # type: ignore[arg-type]
        if gold.module in suffixes:
            operation, inputs, ratio = LEVELS[gold.level]
            name = f"zero.range.{gold.level}{suffixes[gold.module]}"
            # The sum is made in single precision, as the papers' script makes it.
            epsilon = float(np.float32(gold.error) + np.float32(EPS32))
            row = _setup(name, operation, inputs, ratio, 0, gold.high, False, epsilon)
            yield {**row, "published": ZERO_THRESHOLDS[gold.level, gold.module][ZERO_HIGHS.index(gold.high)]}


def _setup(
    parameter: str, operation: str, inputs: int, ratio: float, low: float, high: float, mirror: bool, epsilon: float
) -> Row:
    return {
        "operation": f"op-{operation}",
        "parameter": parameter,
        "simple": "FALSE",
        "input.size": inputs,
        "subset.ratio": ratio,
        "overlap.ratio": 0,
        "range.a": low,
        "range.b": high,
        "range.mirror": str(mirror).upper(),
        "epsilon": epsilon,
        "extrapolation.range": text(low, high, mirror=mirror),
        "published": epsilon,
    }


# --- neural arithmetic units ------------------------------------------------------------------------------------------


def two_layer_threshold(
    operation: str,
    inputs: int,
    subset: int,
    overlap: int,
    span: Range = (2.0, 6.0),
    *,
    mirror: bool = False,
    simple: bool = False,
    samples: int = 1_000_000,
    seed: int = 0,
) -> float:
    """Return E[(f(W₁ᵉ) - f(W₁))²], simulated: a first layer that is ε off everywhere, and a second that is exact.

    The papers' script takes ends of the subsets for inclusive, so that both hold an input too many; the published
    thresholds are those, and these are too.
    """
    first, second = slice(0, subset + 1), slice(subset - overlap, 2 * subset - overlap + 1)
    if simple:
        first, second = slice(0, 2), slice(0, 4)
    rng = np.random.default_rng(seed)
    total, done, e = 0.0, 0, TWO_LAYER_EPSILON
    while done < samples:
        rows = min(20_000, samples - done)
        x = rng.uniform(*span, size=(rows, inputs))
        if mirror:
            x *= rng.choice([-1.0, 1.0], size=x.shape)
        everything = x.sum(1)
        exact = [x[:, part].sum(1) for part in (first, second)]
        nearly = [(1 - e) * z + e * (everything - z) for z in exact]
        total += float(np.square(_combined(operation, nearly) - _combined(operation, exact)).sum())
        done += rows
    return total / samples


def _combined(operation: str, z: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    match operation:
        case "add":
            return z[0] + z[1]
        case "sub":
            return z[0] - z[1]
        case "mul":
            return z[0] * z[1]
        case "div":
            return z[0] / z[1]
        case "squared":
            return np.square(z[0])
        case _:
            return np.sqrt(z[0])


def two_layer(samples: int = 1_000_000) -> Iterator[Row]:
    """Yield the rows of ``function_task_static_mse_expectation.csv``."""
    default: dict[str, Any] = {
        "inputs": 100,
        "subset_ratio": 0.25,
        "overlap_ratio": 0.5,
        "span": (2.0, 6.0),
        "mirror": False,
    }
    spans = [(-6, -2), (2, 6), (1, 5), (0.2, 2), (2, 6), (1.2, 6), (20, 40)]
    cases: list[tuple[str, str, dict[str, Any]]] = [
        *(("default", operation, {}) for operation in ("mul", "div", "add", "sub", "root", "squared")),
        *(("simple", operation, {"inputs": 4, "simple": True}) for operation in ("mul", "add", "sub")),
        *(("input.size", "mul", {"inputs": n}) for n in (4, 10, *range(25, 301, 25))),
        *(("subset.ratio", "mul", {"subset_ratio": ratio}) for ratio in (0.05, 0.1, 0.25, 0.5)),
        *(("overlap.ratio", "mul", {"overlap_ratio": ratio}) for ratio in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)),
        *(("extrapolation.range", "mul", {"span": span, "mirror": n == 1}) for n, span in enumerate(spans)),
    ]
    for parameter, operation, changes in cases:
        case: dict[str, Any] = default | changes
        subset = int(case["subset_ratio"] * case["inputs"])
        overlap = int(case["overlap_ratio"] * subset)
        simple = bool(case.get("simple", False))
        low, high = case["span"]
        threshold = two_layer_threshold(
            operation, case["inputs"], subset, overlap, case["span"],
            mirror=case["mirror"], simple=simple, samples=samples,
        )  # fmt: skip
        yield {
            "operation": f"op-{operation}",
            "parameter": parameter,
            "simple": str(simple).upper(),
            "input.size": case["inputs"],
            "subset.ratio": "NA" if simple else case["subset_ratio"],
            "overlap.ratio": "NA" if simple else case["overlap_ratio"],
            "range.a": low,
            "range.b": high,
            "range.mirror": str(case["mirror"]).upper(),
            "epsilon": TWO_LAYER_EPSILON,
            "threshold": threshold,
            "extrapolation.range": text(low, high, mirror=case["mirror"]).replace("&", "∪"),
        }


# --- the primer -------------------------------------------------------------------------------------------------------


def primer_threshold(operation: str, inputs: int, low: float, high: float) -> float:
    """Return E[(y_ε - y)²] of |x| from U[low, high), exactly: no simulation is needed.

    ``inputs`` matters for sums alone; products and quotients are of two inputs.
    """
    e, (low, high) = PRIMER_EPSILON, sorted((abs(low), abs(high)))
    first, second = (low + high) / 2, (high**3 - low**3) / (3 * (high - low))  # moments of |x|
    match operation:
        case "add" | "sub":
            return e**2 * (inputs * second + inputs * (inputs - 1) * first**2)
        case "mul":
            return ((1 - e) ** 2 - 1) ** 2 * second**2
        case _:
            return ((1 - e) / (1 + e) - 1) ** 2 * second / (low * high)


def primer() -> Iterator[Row]:
    """Yield a threshold for each operation, number of inputs and test range of the primer."""
    for operation in ("add", "sub", "mul", "div"):
        for inputs in (2, 10, 100) if operation in ("add", "sub") else (2,):
            for low, high in RANGES:
                yield {
                    "operation": f"op-{operation}",
                    "input.size": inputs,
                    "epsilon": PRIMER_EPSILON,
                    "threshold": primer_threshold(operation, inputs, low, high),
                    "extrapolation.range": text(low, high),
                }


# --- sequential MNIST -------------------------------------------------------------------------------------------------

MNIST_QUANTILE = 2.8964594477
"""t₀.₉₉ with 8 degrees of freedom, which the papers' script has for 7 and for 10 reference runs alike."""


def reference_threshold(errors: npt.NDArray[np.float64]) -> float:
    """Return the upper end of a one-sided 99 % interval of the mean error of the solved reference runs."""
    return float(np.mean(errors) + MNIST_QUANTILE * np.std(errors, ddof=1) / np.sqrt(len(errors)))


# --- the command ------------------------------------------------------------------------------------------------------


def gold() -> Iterator[Row]:
    """Yield the rows of Figure 5's table."""
    from experiments.arithmetic.gold import errors

    for row in errors(["easy", "medium", "hard"], list(GOLD_HIGHS)):
        yield {"module": row.module, "parameter": row.level, "test.mse": row.error, "range": f"U[0,{row.high:g})"}


TABLES = {"division": division, "two-layer": two_layer, "primer": primer, "gold": gold}


def write(name: str, to: TextIO) -> None:
    """Write one of the tables as CSV."""
    rows = list(TABLES[name]())
    writer = csv.DictWriter(to, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def main() -> None:
    """Write the table that the command line names."""
    import click

    @click.command(help=__doc__)
    @click.argument("table", type=click.Choice(list(TABLES)))
    def command(table: str) -> None:
        write(table, sys.stdout)

    command()


if __name__ == "__main__":
    main()
