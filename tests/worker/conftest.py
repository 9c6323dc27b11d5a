"""Studies of these tests live in memory where that is possible: waiting for a busy disk tests nothing."""

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(request):
    shared = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="orch-test-", dir=shared if shared.is_dir() else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
