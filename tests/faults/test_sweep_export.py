"""An export killed at any call: what bears a final name is whole, and the next export writes what it should."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal

import pytest

from export.tables import export_study
from orchestrator.study.study import Study
from tests.faults.forked import ForkCluster, copy, noisy, sample, train
from tests.faults.inject import Mortal, in_child

HOWS = ["before", "after", "torn", "lost"]


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A study of which half is done and exported, and the same when all is done; tables of both."""
    folder = tmp_path_factory.mktemp("export")
    study = noisy(folder, 4)
    ForkCluster("fake").adopt(study)
    for task in ("1-0", "1-1"):
        train(study, task)
    half = copy(study, folder / "half")
    export_study(half)
    whole = copy(half, folder / "whole")
    for task in ("1-2", "1-3"):
        train(whole, task)
    exported = copy(whole, folder / "exported")
    shutil.rmtree(exported.tables)
    export_study(exported)
    return whole, tables(half), tables(exported)


def tables(study):
    """Return digests of the tables, by name; the manifest without what no two exports share."""
    found = {}
    for path in sorted(study.tables.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            data = path.read_bytes()
            if path.name == "manifest.json":
                known = json.loads(data)
                data = json.dumps({k: v for k, v in known.items() if k in ("expected", "read", "finished")}).encode()
            found[path.name] = hashlib.blake2b(data, digest_size=8).hexdigest()
    return found


@pytest.mark.parametrize("how", HOWS)
def test_killed_at_any_call_no_table_is_half_written(studies, tmp_path, how):
    study, before, after = studies
    trial = copy(study, tmp_path / "trial")
    ended = in_child(lambda: export_study(trial), Mortal(trial.path, 0, how))
    assert ended.status == 0
    assert tables(trial) == after
    assert ended.calls > 10
    for k in sample(ended.calls, 12):
        hurt = copy(study, tmp_path / str(k))
        died = in_child(lambda hurt=hurt: export_study(hurt), Mortal(hurt.path, k, how))
        assert died.status == -signal.SIGKILL
        left = tables(hurt)
        assert before.keys() <= left.keys()
        for name, digest in left.items():
            assert digest in (before[name], after[name]), f"{name} is half written after call {k}"
        export_study(Study(hurt.path))
        assert tables(hurt) == after
        shutil.rmtree(hurt.path)
