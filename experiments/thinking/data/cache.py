"""A cache of generated data on the disk: each entry is there whole or not at all, and one process makes it.

An entry is a folder ``<generator>-v<version>-<name>=<value>-…`` below :func:`root`:

- ``<array>.npy`` for each array: uint8 (n, bytes), the zeros and ones of a sample packed eight to a byte, the most
  significant bit first, rows filled up with zeros;
- ``about.json``: ``key`` (generator, version and what was asked), ``arrays`` ({name: {shape, blake2b}}).

A process that finds an entry missing takes the lock ``<entry>.lock`` and makes it; others that want it wait for the
lock and then read. Locks go with their process, so a maker that dies leaves none behind. The folder appears by
renaming. An entry that is damaged is made again. Where the folder cannot be written, data are made every time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

VARIABLE = "ORCH_DATA_CACHE"
"""Environment variable: the folder of the cache; without it, ``data`` in the user's cache of orch."""

Array = npt.NDArray[np.uint8]
Arrays = dict[str, Array]


def root() -> Path:
    """Return the folder that entries lie in."""
    import platformdirs

    return Path(os.environ.get(VARIABLE) or Path(platformdirs.user_cache_dir("orch")) / "data")


def fetch(generator: str, version: int, key: Mapping[str, object], make: Callable[[], Arrays]) -> Arrays:
    """Return arrays of zeros and ones from the cache, where they are made if they are not there.

    Parameters
    ----------
    generator, version
        What makes them.
    key
        What decides them beside: size, seed, count, part …
    make
        Makes them: uint8 (n, …) each.
    """
    named = {"generator": generator, "version": version, **key}
    entry = root() / "-".join([generator, f"v{version}", *(f"{name}={value}" for name, value in key.items())])
    if (found := read(entry, named)) is not None:
        return found
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return make()
    with _locked(entry.with_name(entry.name + ".lock")):
        if (found := read(entry, named)) is not None:
            return found
        made = make()
        with contextlib.suppress(OSError):  # a full disk or a read-only folder costs time at the next run, not this one
            _publish(entry, named, made)
        return made


def read(entry: Path, named: Mapping[str, object]) -> Arrays | None:
    """Read an entry; None where it is missing, damaged, or of another key."""
    try:
        about = json.loads((entry / "about.json").read_text(encoding="utf-8"))
        if about["key"] != json.loads(json.dumps(named)):
            return None
        return {name: _unpack(entry / f"{name}.npy", **facts) for name, facts in about["arrays"].items()}
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _unpack(path: Path, shape: list[int], blake2b: str) -> Array:
    packed = np.load(path, allow_pickle=False)
    if _digest(packed) != blake2b:
        raise ValueError(f"{path} is damaged")
    count = int(np.prod(shape[1:], dtype=int))
    return np.unpackbits(packed, axis=1, count=count).reshape(shape)


def _digest(array: Array) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()


def _publish(entry: Path, named: Mapping[str, object], arrays: Arrays) -> None:
    aside = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".making-"))
    try:
        whole = aside / "entry"
        whole.mkdir()
        facts = {}
        for name, array in arrays.items():
            packed = np.packbits(array.reshape(len(array), -1), axis=1)
            np.save(whole / f"{name}.npy", packed, allow_pickle=False)
            facts[name] = {"shape": list(array.shape), "blake2b": _digest(packed)}
        (whole / "about.json").write_text(json.dumps({"key": named, "arrays": facts}, indent=1), encoding="utf-8")
        if entry.exists():
            entry.rename(aside / "damaged")
        whole.rename(entry)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock while no other process does; without one where the file system has none."""
    import fcntl

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            fcntl.flock(stack.enter_context(path.open("w")), fcntl.LOCK_EX)
        yield
