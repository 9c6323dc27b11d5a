"""What a study's numbers were made with: sources, engine, packages. Each is written once, and never changed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.study import atomic
from orchestrator.study import code as sources
from orchestrator.study.layout import Layout, read_object
from orchestrator.study.provenance import origins


class Pinned(Layout):
    """The sources, engine and packages in a study's folder."""

    def freeze_code(self, roots: Mapping[str, Path], limit: int = sources.LIMIT) -> str:
        """Freeze sources under ``code/<digest>/<name>`` and return the digest; nothing happens if they are there.

        Parameters
        ----------
        roots
            Name in the snapshot to folder; see :func:`orchestrator.study.code.roots`.
        limit
            Bytes that all files together may have.
        """
        files = sources.collect(roots, limit)
        digest = sources.digest(files)
        atomic.publish_folder(self.code_dir(digest), files)
        if not self._origins(digest).exists():
            with contextlib.suppress(FileExistsError):
                atomic.publish(self._origins(digest), json.dumps(origins(roots.values())).encode())
        return digest

    def origins(self, digest: str) -> dict[str, dict[str, Any]]:
        """Return the commits that frozen sources come from; see :func:`orchestrator.study.provenance.origins`."""
        return read_object(self._origins(digest)) or {}

    def _origins(self, digest: str) -> Path:
        return self.path / "code" / f"{digest}.json"

    def pin_engine(self, engine: Mapping[str, Any]) -> dict[str, Any]:
        """Pin the study's engine: the first to come decides. Returns what is pinned."""
        path = self.path / "engine.json"
        with contextlib.suppress(FileExistsError):
            atomic.publish(path, json.dumps(dict(engine), sort_keys=True).encode())
        pinned: dict[str, Any] = json.loads(path.read_bytes())
        return pinned

    def engine(self) -> dict[str, Any] | None:
        """Return the pinned engine, if one is."""
        return read_object(self.path / "engine.json")

    def record_packages(self, packages: Mapping[str, str]) -> str:
        """Keep a list of installed packages, ``{name: version}``, and return its digest."""
        data = json.dumps(dict(sorted(packages.items())), indent=0).encode()
        digest = sources.digest({"packages": (data, 0)})
        folder = self.path / "packages"
        atomic.make_folder(folder)
        with contextlib.suppress(FileExistsError):
            atomic.publish(folder / f"{digest}.json", data)
        return digest

    def packages(self, digest: str) -> dict[str, str] | None:
        """Return a recorded list of packages."""
        return read_object(self.path / "packages" / f"{digest}.json")
