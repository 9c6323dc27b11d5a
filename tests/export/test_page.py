"""The page on export: its files are written and its commands run, in order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from export.describe import OWN
from export.manifest import Manifest

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    pytest.importorskip("torch.utils.tensorboard")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")} | {"PATH": path}
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert {kind for kind, _ in blocks} == {"python", "sh"}
    for kind, text in blocks:
        if kind == "python":
            (tmp_path / text.split("\n", 1)[0].removeprefix("# ")).write_text(text)
            continue
        done = subprocess.run(["sh", "-eux", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


def test_every_field_of_the_manifest_is_described() -> None:
    text = PAGE.read_text()
    for name in Manifest("x").to_json():
        assert name == "schema" or f"`{name}`" in text, name


def test_every_column_is_described() -> None:
    text = PAGE.read_text()
    for name in OWN:
        stem = re.match(r"success|solved_at_|sparsity_", name)
        assert f"`{name}`" in text or (stem and f"`{stem[0]}` …" in text), name
