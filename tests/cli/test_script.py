"""Launch scripts: what they hold, how many there are, and that those in ``jobs/`` are of today."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from orchestrator.cli.script import OF_CHECKOUT
from orchestrator.errors import UserError
from orchestrator.launch import Told

HOME = Path(__file__).parents[2]
GRID = """\
study: tiny
command: "echo ${seed} ${size}"   # it's quoted
axes: {seed: 0..4, size: [1, 2]}
resources: {cpus: 2, workers: 2, memory: 3G, time: 90m, prologue: "module load gcc"}
END_OF_GRID: 1
"""
TEXT = GRID.replace("END_OF_GRID: 1\n", "# END_OF_GRID\n")

Orch = Callable[..., Result]


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid of ten tasks in five elements, where there is no scheduler."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("ORCH_CONFIG", str(tmp_path / "config"))
    file = tmp_path / "tiny.yaml"
    file.write_text(TEXT)
    return file


def parsed(text: str) -> tuple[str, Told, str, list[str]]:
    """Return a script's header, what it tells, its grid, and the words of its last command."""
    head, _, rest = text.partition("\nexec ${ORCH_PYTHON" if "\nexec ${" in text else '\nexec "${ORCH_PYTHON')
    command, _, body = rest.rpartition("<<'")[0], None, rest.rpartition("<<'")[2]
    end, _, body = body.partition("'\n")
    grid, _, after = body.partition(f"\n{end}\n")
    assert after == ""
    words = shlex.split('"${ORCH_PYTHON' + command)
    return head, Told.from_json(words[-1]), grid + "\n", words


def test_for_slurm(grid: Path, orch: Orch) -> None:
    done = orch("script", "tiny.yaml", "seed=0..4", "--cluster", "slurm", "--only", "size=1,2")
    assert done.exit_code == 0, done.output
    head, told, text, words = parsed(done.stdout)
    assert text == TEXT
    for line in ("--array=0-4", "--cpus-per-task=2", "--mem=3072M", "--time=90", "--output=orch-tiny.log"):
        assert f"#SBATCH {line}\n" in head
    assert "module load gcc\n" in head
    assert (told.study, told.cluster, told.kind, told.elements) == ("tiny", "slurm", "slurm", 5)
    assert (told.overrides, told.only, told.steward) == (("seed=0..4",), ("size=1,2",), True)
    assert told.root == str(grid.parent / "runs")
    assert told.project == str(grid.parent)  # commands run in the user's own folder
    assert told.resources["memory"] == "3G"
    assert words[-2] == "orchestrator.launch:main"
    assert "10 runs in 10 tasks, 5 elements: sbatch launch.sh" in done.stderr
    assert not (grid.parent / "runs").exists()


def test_for_an_lsf_that_is_elsewhere(grid: Path, orch: Orch) -> None:
    done = orch("script", "tiny.yaml", "--cluster", "lsf", "--runs-per-task", "5", "--no-steward", "-o", "out/run.sh")
    assert done.exit_code == 0, done.output
    file = grid.parent / "out" / "run.sh"
    head, told, text, _ = parsed(file.read_text())
    assert text == TEXT
    for line in ('-J "orch-tiny[1-1]"', "-n 2", "-W 90", "-M 3072MB"):
        assert f"#BSUB {line}\n" in head
    assert (told.kind, told.elements, told.steward, told.resources["lanes"]) == ("lsf", 1, False, 5)
    assert file.stat().st_mode & 0o111
    assert "bsub < out/run.sh" in done.stderr


@pytest.mark.parametrize("kind", ["slurm", "lsf"])
def test_a_shell_can_read_it(grid: Path, orch: Orch, kind: str) -> None:
    text = orch("script", "tiny.yaml", "--cluster", kind, "--checkout").stdout
    bash = shutil.which("bash", path="/bin:/usr/bin")
    assert bash is not None
    # The command line reaches the program as it was meant to, and the grid its standard input.
    stub = grid.parent / "python"
    stub.write_text(f'#!{bash}\nprintf "%s\\0" "$@" > told\nwhile IFS= read -r line; do echo "$line"; done > read\n')
    stub.chmod(0o755)
    text = text.replace("\nmodule load gcc\n", "\ntrue\n")
    done = subprocess.run(
        [bash], input=text, text=True, cwd=grid.parent, env={"ORCH_PYTHON": str(stub)}, stderr=subprocess.PIPE
    )
    written = grid.parent / ("orch-tiny.log" if kind == "lsf" else "nothing")
    assert done.returncode == 0, done.stderr + (written.read_text() if written.exists() else "")
    dash_c, boot, home, target, told, nothing = (grid.parent / "told").read_text().split("\0")
    assert (dash_c, home, target, nothing) == ("-c", str(grid.parent), "orchestrator.launch:main", "")
    compile(boot, "boot", "exec")
    assert Told.from_json(told).root == "runs"
    assert (grid.parent / "read").read_text() == TEXT


def test_what_a_profile_says_is_in_it(grid: Path, orch: Orch) -> None:
    folder = grid.parent / "config" / "clusters"
    folder.mkdir(parents=True)
    (folder / "alpine.yaml").write_text("kind: slurm\npartition: short\nlimits: {array: 5}\n")
    # The command's own environment was emptied of ORCH_CONFIG by the fixture: it is given again.
    done = orch("script", "tiny.yaml", "--cluster", "alpine", env={"ORCH_CONFIG": str(grid.parent / "config")})
    head, told, _, _ = parsed(done.stdout)
    assert "#SBATCH --partition=short\n" in head
    assert (told.cluster, told.kind, told.resources["partition"]) == ("alpine", "slurm", "short")


def test_more_than_an_array_may_have_is_several_scripts(grid: Path, orch: Orch) -> None:
    words = ("script", "tiny.yaml", "--cluster", "slurm", "resources.limits={array: 2}")
    refused = orch(*words).exception
    assert isinstance(refused, UserError)
    assert re.search(r"one script is not enough for 5 elements.*-o FOLDER.* 3 scripts", str(refused))
    done = orch(*words, "-o", "scripts")
    assert done.exit_code == 0, done.output
    files = sorted((grid.parent / "scripts").iterdir())
    assert [file.name for file in files] == ["launch-1.sh", "launch-2.sh", "launch-3.sh"]
    assert [parsed(file.read_text())[1].elements for file in files] == [2, 2, 1]


def test_unlike_resources_are_several_scripts(grid: Path, orch: Orch) -> None:
    grid.write_text(TEXT + "also:\n  - {axes: {size: [3]}, resources: {gpus: 1, workers: 1}}\n")
    done = orch("script", "tiny.yaml", "--cluster", "slurm", "-o", "scripts")
    assert done.exit_code == 0, done.output
    files = sorted((grid.parent / "scripts").iterdir())
    told = [parsed(file.read_text())[1] for file in files]
    assert [one.elements for one in told] == [5, 5]
    assert [dict(one.job) for one in told] == [{}, {"gpus": 1, "workers": 1}]
    assert ["--gres=gpu:1" in file.read_text() for file in files] == [False, True]


def test_this_machine_needs_no_script(grid: Path, orch: Orch) -> None:
    assert "name one with --cluster" in str(orch("script", "tiny.yaml").exception)


COMMAND = {
    kind: f"orch script jobs/demo.yaml --cluster {kind} --checkout -o jobs/launch_{kind}.sh"
    for kind in ("slurm", "lsf")
}


@pytest.mark.parametrize("kind", COMMAND)
def test_the_scripts_in_jobs_are_of_today(grid: Path, orch: Orch, kind: str) -> None:
    (grid.parent / "jobs").mkdir()
    shutil.copy(HOME / "jobs" / "demo.yaml", grid.parent / "jobs")
    done = orch(*COMMAND[kind].split()[1:])
    assert done.exit_code == 0, done.output
    today = (grid.parent / "jobs" / f"launch_{kind}.sh").read_text()
    assert (HOME / "jobs" / f"launch_{kind}.sh").read_text() == today, f"write it anew: {COMMAND[kind]}"
    _, told, text, words = parsed(today)
    assert text == (HOME / "jobs" / "demo.yaml").read_text()
    assert (told.root, told.project) == ("runs", None)
    assert words[0] == f"${{ORCH_PYTHON:-{OF_CHECKOUT}}}"
    assert str(HOME) not in today
    assert not re.search(r"/(root|home|tmp)/", today)
