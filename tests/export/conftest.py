from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.events import series
from tests.export.folders import write


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Five runs of two tags."""
    for run in range(5):
        write(tmp_path / "logs" / f"run_{run}", series("loss", range(20), run), series("metric/x", range(0, 20, 2)))
    return tmp_path / "logs"
