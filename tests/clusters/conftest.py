"""What tests of schedulers share: a fake Slurm on PATH."""

import pytest

from tests.clusters.fakes.slurm import COMMANDS, FakeSlurm
from tests.worker.conftest import tmp_path  # noqa: F401


@pytest.fixture
def make_fake(tmp_path, monkeypatch):  # noqa: F811
    """Put a fake Slurm on PATH, and nothing else."""

    def make(commands=COMMANDS):
        fake = FakeSlurm(tmp_path / "slurm", commands)
        for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PATH", str(fake.folder / "bin"))
        monkeypatch.setenv("FAKE_SLURM", str(fake.folder))
        monkeypatch.setenv("ORCH_PATIENCE", "20")
        return fake

    return make


@pytest.fixture
def fake(make_fake):
    return make_fake()


@pytest.fixture
def away(monkeypatch, make_fake):
    """For tests of a scheduler that never answers; asked for after the fake."""
    monkeypatch.setenv("ORCH_PATIENCE", "0.5")
