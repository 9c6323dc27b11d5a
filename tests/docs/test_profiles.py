"""Every cluster profile that the documentation and ``jobs/`` show is one."""

import re
from pathlib import Path

import pytest

from orchestrator.cli import settings
from orchestrator.clusters import profiles
from orchestrator.grid import Resources

HOME = Path(__file__).parents[2]
PAGE = (HOME / "docs" / "clusters.md").read_text()
BLOCKS = [block for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "kind:" in block]
FILES = sorted((HOME / "jobs" / "clusters").glob("*.yaml"))


def test_there_are_examples():
    assert BLOCKS
    assert len(FILES) >= 3


@pytest.mark.parametrize("text", [*BLOCKS, *(file.read_text() for file in FILES)])
def test_an_example_is_a_profile(text, tmp_path, monkeypatch):
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path))
    profiles.write("example", text)
    profile = profiles.read("example")
    assert profile.resources
    found = settings.resources(Resources(cluster="example"), Resources.model_fields)
    assert {name: getattr(found, name) for name in profile.resources if name not in ("limits", "steward")} == {
        name: value for name, value in profile.resources.items() if name not in ("limits", "steward")
    }


def test_every_resource_of_the_table_exists():
    names = re.findall(r"^\| ((?:`\w+`(?: · )?)+) \|", PAGE, re.MULTILINE)
    listed = [name for cell in names for name in re.findall(r"`(\w+)`", cell)]
    assert len(listed) > 8
    assert set(listed) <= set(Resources.model_fields)
