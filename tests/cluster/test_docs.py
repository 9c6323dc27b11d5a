"""The page on clusters: its files are written and its commands run, in order, on real schedulers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.lab import Lab

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("kind", ["slurm", "lsf"])
def test_the_page_runs_as_it_stands(
    kind: str, slurm: Lab, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "lsf":
        request.getfixturevalue("make_lsf")(terminate_interval=1.0)
    for name in [name for name in os.environ if name.startswith("ORCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    ran = 0
    for language, text in BLOCKS:
        first, _, _ = text.partition("\n")
        if language in ("python", "yaml") and first.startswith("# "):
            (tmp_path / first.removeprefix("# ")).write_text(text)
        if language == "sh":
            words = text.replace("--cluster slurm", f"--cluster {kind}")
            done = subprocess.run(["sh", "-eux", "-c", words], cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            ran += 1
    assert ran >= 5
    slurm.wait(lambda: not slurm.queue(), "an empty queue")
    assert (tmp_path / "runs" / "first" / "tables").is_dir()
    assert (tmp_path / "config" / "clusters" / "alpine.yaml").read_text().count(f"kind: {kind}") == 1
    assert (tmp_path / "launch.sh").is_file()
