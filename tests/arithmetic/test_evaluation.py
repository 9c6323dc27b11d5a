"""The evaluation of runs against numbers that the papers publish, down to the seeds."""

import numpy as np
import pytest

from export.describe import Dictionary
from export.summary import Criterion, Verdicts, best, summarise

# The seven runs of 100 that learned to subtract with two linear layers (results of "Neural Arithmetic Units"): where
# they were solved, and how sparse their best row was, by seed.
LINEAR_SUB = {
    23: (2_384_000, 0.48470985889434814),
    42: (4_621_000, 0.372726708650589),
    43: (3_248_000, 0.38637831807136536),
    48: (4_000, 1.0018022060394287),
    67: (3_332_000, 0.2985790967941284),
    81: (3_440_000, 0.05992426723241806),
    93: (4_261_000, 0.43599361181259155),
}


def group(solved, runs):
    """Return the statistics of one group of runs, of which some are solved."""
    seeds = np.arange(runs)
    steps = np.array([solved.get(seed, (-1, 0))[0] for seed in seeds])
    sparsity = np.array([solved.get(seed, (0, np.nan))[1] for seed in seeds])
    nothing = np.full(runs, np.nan)
    verdicts = Verdicts(steps, nothing, nothing, sparsity, steps >= 0, steps)
    by = Dictionary("model", np.zeros(runs, np.int64), ["Linear"])
    return summarise([by], seeds, np.ones(runs, bool), verdicts).to_pylist()[0]


def test_a_group_of_the_papers_results_seed_by_seed():
    row = group(LINEAR_SUB, 100)
    assert (row["runs"], row["solved"], row["success"]) == (100, 7, 0.07)
    assert row["success_lower"] == pytest.approx(0.03431926106727269, rel=1e-12)
    assert row["success_upper"] == pytest.approx(0.13749514739073498, rel=1e-12)
    assert row["solved_at_median"] == 3_332_000
    # A fit that R's optimiser leaves where it stands, roughly: its interval's ends agree to a few parts in a thousand.
    assert row["solved_at_published"] == pytest.approx(1_446_751, rel=0.02)
    assert row["solved_at_published_lower"] == pytest.approx(836_626, rel=0.02)
    assert row["solved_at_published_upper"] == pytest.approx(2_147_484, rel=0.02)
    assert row["solved_at_mean"] > 3_000_000  # what the papers print is no mean
    assert row["sparsity_published"] == pytest.approx(0.17611058502027438, rel=0.02)
    assert row["sparsity_published_lower"] == pytest.approx(0.11805021625167934, rel=0.02)
    assert row["sparsity_published_upper"] == pytest.approx(0.248256538732922, rel=0.02)


def test_a_window_of_5000_rows_leaves_out_the_first_of_5001():
    """The best validation error of all is that of row 0: the papers' window does not see it."""
    rows = 5001
    select = np.linspace(1, 0.5, rows)
    select[0] = 0.0
    error = np.full(rows, 1.0)
    error[0] = 0.0
    run, step = np.zeros(rows, np.int64), np.arange(rows) * 1000
    found = best(run, step, select, error, error, 1, Criterion("v", "t", 1e-5, window=5000))
    assert (found.step[0], bool(found.solved[0])) == (5_000_000, False)
    assert found.solved_at[0] == 0  # solved at looks at every row
    assert best(run, step, select, error, error, 1, Criterion("v", "t", 1e-5)).solved[0]
