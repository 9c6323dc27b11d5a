"""The cache: entries whole or absent, made once however many ask, made again where they are damaged."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from experiments.thinking.data import cache
from tests.worker.helpers import eventually

MAKER = """
import importlib.util, sys, time
from pathlib import Path
import numpy as np

# By its file: the package would import torch, which takes seconds.
spec = importlib.util.spec_from_file_location("cache", sys.argv[3])
cache = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cache)

folder, wait = Path(sys.argv[1]), sys.argv[2]

def make():
    (folder / f"made-{time.monotonic_ns()}").touch()
    while not (folder / wait).exists():
        time.sleep(0.01)
    return {"a": np.eye(5, dtype=np.uint8)}

print(cache.fetch("toy", 1, {"size": 5}, make)["a"].sum())
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ORCH_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def arrays():
    return {"inputs": np.tile(np.eye(5, dtype=np.uint8), (3, 2, 1, 1)), "targets": np.ones((3, 7), np.uint8)}


def fetch(calls, key=None, version=1):
    def make():
        calls.append(1)
        return arrays()

    return cache.fetch("toy", version, key or {"size": 5, "seed": 0}, make)


def same(found):
    return all((found[name] == array).all() and found[name].dtype == np.uint8 for name, array in arrays().items())


def test_what_was_made_is_read_the_next_time():
    calls = []
    assert same(fetch(calls))
    assert same(fetch(calls))
    assert len(calls) == 1


@pytest.mark.parametrize(("key", "version"), [({"size": 6, "seed": 0}, 1), ({"size": 5, "seed": 1}, 1), (None, 2)])
def test_another_key_or_version_is_another_entry(key, version):
    calls = []
    fetch(calls)
    fetch(calls, key, version)
    assert len(calls) == 2
    fetch(calls)
    assert len(calls) == 2


def test_the_documented_layout(folder):
    fetch([])
    entry = folder / "cache" / "toy-v1-size=5-seed=0"
    assert sorted(path.name for path in entry.iterdir()) == ["about.json", "inputs.npy", "targets.npy"]
    about = json.loads((entry / "about.json").read_text())
    assert about["key"] == {"generator": "toy", "version": 1, "size": 5, "seed": 0}
    assert about["arrays"]["inputs"]["shape"] == [3, 2, 5, 5]
    packed = np.load(entry / "inputs.npy")
    assert packed.shape == (3, 7)  # 50 bits
    assert (np.unpackbits(packed, axis=1)[:, :50].reshape(3, 2, 5, 5) == arrays()["inputs"]).all()
    assert not list((folder / "cache").glob(".making-*"))


def damages(entry):
    file = entry / "inputs.npy"
    raw = file.read_bytes()
    yield lambda: file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 128]))
    yield lambda: file.write_bytes(raw[:-1])
    yield lambda: file.write_bytes(b"")
    yield file.unlink
    yield lambda: (entry / "about.json").write_text("{")
    yield (entry / "about.json").unlink


@pytest.mark.parametrize("number", range(6))
def test_a_damaged_entry_is_made_again(folder, number):
    calls = []
    fetch(calls)
    list(damages(folder / "cache" / "toy-v1-size=5-seed=0"))[number]()
    assert same(fetch(calls))
    assert same(fetch(calls))
    assert len(calls) == 2
    assert not list((folder / "cache").glob(".making-*"))


def test_a_folder_that_cannot_be_made_costs_time_alone(folder, monkeypatch):
    (folder / "file").touch()
    monkeypatch.setenv("ORCH_DATA_CACHE", str(folder / "file" / "cache"))
    calls = []
    assert same(fetch(calls))
    assert same(fetch(calls))
    assert len(calls) == 2


def start(folder, wait):
    words = [sys.executable, "-c", MAKER, str(folder), wait, cache.__file__]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def made(folder):
    return len(list(folder.glob("made-*")))


def test_one_makes_what_many_ask_for(folder):
    processes = [start(folder, "go") for _ in range(4)]
    eventually(lambda: made(folder) == 1)
    assert not (folder / "cache" / "toy-v1-size=5").exists()
    (folder / "go").touch()
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == ["5"] * 4
    assert made(folder) == 1


def test_a_maker_that_is_killed_leaves_nothing_and_the_next_one_makes_it(folder):
    first = start(folder, "never")
    eventually(lambda: made(folder) == 1)
    second = start(folder, "go")
    first.send_signal(signal.SIGKILL)
    first.wait()
    eventually(lambda: made(folder) == 2)
    (folder / "go").touch()
    assert second.communicate(timeout=60)[0].strip() == "5"
    assert (folder / "cache" / "toy-v1-size=5").is_dir()
