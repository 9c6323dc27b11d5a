from pathlib import Path

import pytest

from orchestrator.grid import load

HERE = Path(__file__).parent
HEAD = "study: s\nexperiment: toy_experiment:EXP\n"


@pytest.fixture
def toy():
    """Load a grid of the toy experiment from the lines after its head."""

    def build(body, *overrides, head=HEAD):
        return load(head + body, file="grid.yaml", overrides=overrides, project=HERE)

    return build
