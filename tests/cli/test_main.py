"""What holds for every command: help, errors in a sentence, exit codes, imports, pipes, colours, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli.main import COMMANDS, cli, main
from tests.cli.conftest import Mixed

NAMES = [name for section in COMMANDS.values() for name in section]
CODE = "import sys; from orchestrator.cli.main import main; sys.exit(main())"


def shell(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, **options)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(name: str) -> None:
    done = CliRunner().invoke(cli, [name, "--help"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Usage:")
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_every_module_of_a_command_is_listed() -> None:
    folder = Path(__file__).parents[2] / "orchestrator" / "cli"
    helpers = {"__init__", "main", "common", "settings", "grids"}
    assert {path.stem for path in folder.glob("*.py")} - helpers == set(NAMES)


def loaded_by(*words: str) -> set[str]:
    code = (
        "import sys\nbefore = set(sys.modules)\nfrom orchestrator.cli.main import main\nmain(sys.argv[1:])\n"
        "print(*(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_help_imports_click_and_nothing_else() -> None:
    third = {name for name in loaded_by("--help") if name not in sys.stdlib_module_names}
    assert third - {"orchestrator"} == {"click"}


@pytest.mark.parametrize("words", [("status",), ("status", "mixed"), ("status", "mixed", "--json")])
def test_status_imports_click_and_rich_at_most(mixed: Mixed, words: tuple[str, ...]) -> None:
    third = {name for name in loaded_by(*words, "--root", mixed.root) if name not in sys.stdlib_module_names}
    assert third <= {"orchestrator", "click", "rich"}
    assert "rich" not in third or "--json" not in words


def test_status_reads_no_entry_points(mixed: Mixed) -> None:
    code = f"import sys; {CODE.replace('sys.exit(main())', 'main()')}; assert 'importlib.metadata' not in sys.modules"
    subprocess.run(
        [sys.executable, "-c", code, "status", "mixed", "--root", mixed.root], check=True, capture_output=True
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stauts"], "Did you mean 'status'?"),
        (["status", "nowhere"], "there is no study 'nowhere'"),
        (["status", "--nonsense"], "No such option"),
        (["plan", "nowhere.yaml"], "nowhere.yaml"),
        (["experiments", "nothing"], "there is no experiment 'nothing'"),
        (["export"], "name either a study or a --logdir"),
        (["retry", "mixed", "--from-nothing"], "needs the runs to be named"),
        (["logs", "mixed", "zzzz"], "has no run 'zzzz'"),
        (["cancel", "mixed", "ab"], "too short"),
        (["cancel", "mixed", "colour=red"], "there is no axis or parameter 'colour'"),
        (["explain", "mixed", "layer=nru"], "names 6 runs"),
        (["status", "mixed", "--by", "sed"], "Did you mean 'seed'?"),
    ],
)
def test_a_mistake_is_a_sentence_and_exit_code_2(
    mixed: Mixed, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCH_ROOT", mixed.root)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert "Traceback" not in err
    assert out == ""


def test_naming_the_grid_instead_of_the_study_is_explained(
    mixed: Mixed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCH_ROOT", mixed.root)
    assert main(["status", "grid.yaml"]) == 2
    assert "name its study instead" in capsys.readouterr().err


def test_a_folder_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    grid = tmp_path / "grid.yaml"
    grid.write_text("study: s\ncommand: 'true'\n")
    done = shell("submit", str(grid), "--root", str(tmp_path / "file" / "runs"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_no_command_prints_help() -> None:
    done = shell()
    assert "Usage: orch" in done.stdout + done.stderr
    assert done.returncode == 2


def test_a_reader_that_goes_away_is_no_error(mixed: Mixed) -> None:
    words = [sys.executable, "-c", CODE, "status", "mixed", "--root", mixed.root]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


def test_no_colour_where_none_is_wanted(mixed: Mixed) -> None:
    words = ["status", "mixed", "--root", mixed.root]
    assert "\x1b" not in shell(*words).stdout
    colourful = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    colourful.pop("NO_COLOR", None)
    assert "\x1b[3" in shell(*words, env=colourful).stdout
    assert "\x1b[3" not in shell(*words, env={**colourful, "NO_COLOR": "1"}).stdout


def test_interrupt_is_130(mixed: Mixed) -> None:
    words = [sys.executable, "-c", CODE, "watch", "mixed", "--root", mixed.root, "--interval", "0.1"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stderr is not None
        assert "mixed" in watcher.stderr.readline()  # it watches
        watcher.send_signal(signal.SIGINT)
        _, err = watcher.communicate(timeout=180)
    assert watcher.returncode == 130
    assert "Traceback" not in err


def test_shell_completion_knows_commands_and_studies(mixed: Mixed) -> None:
    env = {**os.environ, "_ORCH_COMPLETE": "bash_complete", "ORCH_ROOT": mixed.root}
    done = shell(env={**env, "COMP_WORDS": "orch stat", "COMP_CWORD": "1"})
    assert done.stdout.split() == ["plain,status"]
    done = shell(env={**env, "COMP_WORDS": "orch status mi", "COMP_CWORD": "2"})
    assert done.stdout.split() == ["plain,mixed"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("orch ")


def test_json_of_all_studies(mixed: Mixed) -> None:
    done = shell("status", "--json", "--root", mixed.root)
    assert [study["study"] for study in json.loads(done.stdout)["studies"]] == ["mixed"]
