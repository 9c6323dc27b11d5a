"""Tables of figures, which grids name: functions of a study's folder (``table:`` below ``figures:``)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from experiments.thinking import tables


def schoopy(study: Path) -> pd.DataFrame:
    """Return accuracy on hard samples by iteration, for ``r_plots/schoopy.R``.

    Parameters
    ----------
    study
        Folder of a study with tables.

    Raises
    ------
    UserError
        If there is nothing to draw.
    """
    return tables.schoopy(tables.read(study))


def by_seed(study: Path) -> pd.DataFrame:
    """Return the same with a curve for each seed, where some nets train and some do not.

    Parameters
    ----------
    study
        Folder of a study with tables.

    Raises
    ------
    UserError
        If there is nothing to draw.
    """
    return tables.schoopy(tables.read(study), ["seed"])


def extrapolation(study: Path) -> pd.DataFrame:
    """Return accuracy by length or size, for ``r_plots/extrapolation.R``.

    Parameters
    ----------
    study
        Folder of a study with tables.

    Raises
    ------
    UserError
        If there is nothing to draw.
    """
    return tables.extrapolation(tables.read(study))
