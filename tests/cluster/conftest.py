"""A real Slurm for a session, or for a test that will break it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.lab import Lab, missing
from tests.cluster.lsf.site import Site
from tests.cluster.project import ClusterProject
from tests.needs import do_without
from tests.worker.conftest import tmp_path  # noqa: F401


def folder() -> Path:
    """Return a new folder for a lab; in memory where that is possible."""
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="orch-lab-", dir=shared if shared.is_dir() else None))


def started(**options: Any) -> Lab:
    """Start a lab, or skip the test."""
    why = missing(accounting=options.get("accounting", False))
    if why is not None:
        do_without("slurm", why)
    return Lab(folder(), **options).start()


def entered(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Have this process, and what it starts, speak to a lab; leave it without jobs."""
    for name in os.environ:
        if name.startswith(("SLURM", "SBATCH_")):
            monkeypatch.delenv(name)
    for name, value in lab.environment.items():
        monkeypatch.setenv(name, value)
    yield lab
    try:
        lab.clear()
    except AssertionError:
        lab.restart()  # this test has failed; the next ones shall not fail with it
        raise


@pytest.fixture(scope="session")
def slurm_of_session() -> Iterator[Lab]:
    """A Slurm without accounting, whose queue soon forgets what ended."""
    with ExitStack() as stack:
        lab = started(min_job_age=2)
        stack.callback(lab.close)
        yield lab


@pytest.fixture(scope="session")
def slurm_accounting_of_session() -> Iterator[Lab]:
    """A Slurm with slurmdbd."""
    with ExitStack() as stack:
        lab = started(accounting=True, gpus=2)
        stack.callback(lab.close)
        yield lab


@pytest.fixture
def slurm(slurm_of_session: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The session's Slurm without accounting."""
    yield from entered(slurm_of_session, monkeypatch)


@pytest.fixture
def slurm_accounting(slurm_accounting_of_session: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The session's Slurm with accounting."""
    yield from entered(slurm_accounting_of_session, monkeypatch)


@pytest.fixture
def make_slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Lab]]:
    """Start a Slurm for one test, with options of :class:`Lab`; it goes with the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> Lab:
            lab = started(**options)
            stack.callback(lab.close)
            for name in os.environ:
                if name.startswith(("SLURM", "SBATCH_")):
                    monkeypatch.delenv(name)
            for name, value in lab.environment.items():
                monkeypatch.setenv(name, value)
            return lab

        yield make


@pytest.fixture
def make_lsf(slurm: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """Install LSF's commands over the session's Slurm, with settings of :data:`tests.cluster.lsf.site.DEFAULTS`."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Site:
            at = folder()
            stack.callback(shutil.rmtree, at, ignore_errors=True)
            site = Site.install(at, slurm.environment, **settings)
            monkeypatch.delenv("SLURM_CONF")  # who speaks LSF knows of no Slurm
            for name, value in site.environment.items():
                monkeypatch.setenv(name, value)
            return site

        yield make
        slurm.clear()


@pytest.fixture
def project(slurm: Lab, tmp_path: Path) -> ClusterProject:  # noqa: F811
    """A project on a Slurm without accounting."""
    return ClusterProject(tmp_path, "slurm", slurm)


@pytest.fixture
def project_accounting(slurm_accounting: Lab, tmp_path: Path) -> ClusterProject:  # noqa: F811
    """A project on a Slurm with accounting."""
    return ClusterProject(tmp_path, "slurm", slurm_accounting)
