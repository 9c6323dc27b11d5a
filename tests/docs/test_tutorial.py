"""The files of these pages are written and their commands run, in order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tutorial", "daily"])
def test_a_page_runs_as_it_stands(name, tmp_path):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")} | {"PATH": path}
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", (DOCS / f"{name}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert {kind for kind, _ in blocks} == {"python", "yaml", "sh"}
    for kind, text in blocks:
        if kind != "sh":
            (tmp_path / text.split("\n", 1)[0].removeprefix("# ")).write_text(text)
            continue
        done = subprocess.run(["sh", "-eux", "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
