"""Figures with a real R, where there is one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from export import figures, lineage
from export.figures import draw
from export.manifest import Manifest
from export.stale import SCRIPTS, stale
from export.tables import export_study
from orchestrator.cli.main import cli
from orchestrator.cli.run import products
from orchestrator.errors import UserError
from orchestrator.study.study import Study
from tests.export.studies import SUMMARY, finish, finished_study, log, make_points, make_study, submit
from tests.needs import do_without, needs_r

FIGURE = {"name": "fig", "script": "range_success", "x": "range", "colour": "model", "options": {}}


def study_with(root: Path, **figure: Any) -> Study:
    return finished_study(root, figures=[FIGURE | figure], summary=SUMMARY)


def text_of(pdf: Path) -> str:
    if shutil.which("pdftotext") is None:
        do_without("pdftotext", "pdftotext is not installed")
    return subprocess.run(["pdftotext", "-layout", pdf, "-"], capture_output=True, text=True, check=True).stdout


def beginning(*words: object, folder: Path, **more: str) -> subprocess.Popen[str]:
    command = ["Rscript", str(SCRIPTS / "range_success.R"), *map(str, words)]
    return subprocess.Popen(
        command, cwd=folder, env={**os.environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def script(*words: object, folder: Path, **more: str) -> tuple[int, str, str]:
    """Run the script, and return its code, and what it said."""
    process = beginning(*words, folder=folder, **more)
    said, complained = process.communicate()
    return process.returncode, said, complained


def clipped(pdf: Path) -> list[str]:
    """Return the words that reach beyond the page."""
    if shutil.which("pdftotext") is None:
        do_without("pdftotext", "pdftotext is not installed")
    told = subprocess.run(["pdftotext", "-bbox", pdf, "-"], capture_output=True, text=True, check=True).stdout
    (page,) = re.findall(r'<page width="([\d.]+)"', told)
    words = re.findall(r'<word xMin="([-\d.]+)" yMin="[-\d.]+" xMax="([-\d.]+)" yMax="[-\d.]+">(.*?)</word>', told)
    assert words
    return [word for low, high, word in words if float(low) < 0 or float(high) > float(page)]


@needs_r
def test_a_figure_of_a_study(tmp_path: Path) -> None:
    study = study_with(tmp_path)
    paths = draw(study)
    assert [path.name for path in paths] == ["fig.pdf", "fig.png"]
    assert paths[0].read_bytes().startswith(b"%PDF")
    assert paths[1].read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in study.figures.iterdir()) == ["fig.csv", "fig.pdf", "fig.png"]
    drawn = pd.read_csv(study.figures / "fig.csv")
    summary = pd.read_csv(study.tables / "summary.csv")
    pd.testing.assert_frame_equal(drawn, summary)
    text = text_of(paths[0])
    assert "n = 3 seeds per point, 12 of 12 runs" in text
    for words in ("Success rate", "Solved at iteration step", "Sparsity error", "Real NPU", "NMRU"):
        assert words in text


@needs_r
def test_the_caption_counts_what_is_missing(tmp_path: Path) -> None:
    study = make_study(tmp_path, make_points(2), figures=[FIGURE], summary=SUMMARY)
    incarnation = submit(study)
    for lane in range(7):
        log(study, incarnation, lane, range(0, 50, 10))
    finish(incarnation, range(7))
    assert "n = 1 to 2 seeds per point, 7 of 8 runs" in text_of(draw(study)[0])


@needs_r
def test_a_figure_by_a_parameter_and_without_colour(tmp_path: Path) -> None:
    study = study_with(tmp_path, x="learning_rate", colour=None, options={"facets": "success", "x_label": "rate"})
    text = text_of(draw(study)[0])
    assert pd.read_csv(study.figures / "fig.csv")["param.learning_rate"].tolist() == [0.005, 1.0]
    assert "n = 6 runs per point, 12 of 12 runs" in text.replace("\n", " ").replace("  ", " ")
    assert "Sparsity" not in text


@needs_r
def test_a_figure_of_some_of_the_points(tmp_path: Path) -> None:
    study = study_with(tmp_path, where={"range": "U[1,2)", "model": ["NMRU"]})
    draw(study)
    table = pd.read_csv(study.figures / "fig.csv")
    assert table[["range", "model"]].values.tolist() == [["U[1,2)", "NMRU"]]


@needs_r
def test_nothing_solved_is_drawn_as_zero(tmp_path: Path) -> None:
    study = make_study(tmp_path, figures=[FIGURE], summary=SUMMARY)
    incarnation = submit(study)
    for lane in range(12):
        log(study, incarnation, lane, range(0, 50, 10), error=1.0)
    finish(incarnation)
    assert text_of(draw(study)[0]).count("no run solved") == 2


@needs_r
def test_tables_of_an_older_grid_are_made_again(tmp_path: Path) -> None:
    study = study_with(tmp_path)
    export_study(study)
    info = {"experiment": "test", "version": 1, "export": {"summary": SUMMARY}, "figures": [FIGURE]}
    study.publish_generation("study: study\n# fewer\n", info, make_points(2))
    assert "8 of 8 runs" in text_of(draw(study)[0])


@needs_r
def test_a_script_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.R"
    own.write_text(
        "given <- commandArgs(trailingOnly = TRUE)\n"
        "plot(1)\n"  # leaves Rplots.pdf behind
        'writeLines(given, given[2]); writeLines("png", sub("pdf$", "png", given[2]))\n'
    )
    study = study_with(tmp_path / "runs", script=str(own), options={"size": 2, "wide": True})
    words = draw(study)[0].read_text().splitlines()
    assert words[0] == str(study.figures / "fig.csv")
    assert words[2:] == ["x=range", "colour=model", "size=2", "wide=true", "unit=seeds"]
    assert sorted(path.name for path in study.figures.iterdir()) == ["fig.csv", "fig.pdf", "fig.png"]


@needs_r
def test_a_failing_script_leaves_the_old_figure(tmp_path: Path) -> None:
    own = tmp_path / "own.R"
    own.write_text('stop("no such luck")\n')
    study = study_with(tmp_path / "runs", script=str(own))
    study.figures.mkdir()
    (study.figures / "fig.pdf").write_text("old")
    with pytest.raises(UserError, match=r"own\.R: .*no such luck") as caught:
        draw(study)
    assert caught.value.exit_code != 0
    assert (study.figures / "fig.pdf").read_text() == "old"


@needs_r
def test_an_unknown_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shape is no option of range_success.R; there are: x, colour"):
        draw(study_with(tmp_path, options={"shape": 1}))


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ({"where": {"model": "NMRV"}}, "where: model: NMRV, and no point has that.*Did you mean 'NMRU'"),
        ({"where": {"mode": "NMRU"}}, "where: mode, which is neither an axis"),
        ({"x": "rang"}, "x: rang, which is neither an axis of the grid nor a parameter.*Did you mean 'range'"),
        ({"script": "range_sucess"}, "scripts that come with orch are .*range_success, .*Did you mean 'range_success'"),
    ],
)
@needs_r
def test_mistakes_in_the_grid(tmp_path: Path, figure: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw(study_with(tmp_path, **figure))


def test_names_of_figures(tmp_path: Path) -> None:
    study = study_with(tmp_path)
    with pytest.raises(UserError, match="declares no figure 'fog'; it declares: fig. Did you mean 'fig'"):
        draw(study, ["fog"])
    assert draw(finished_study(tmp_path / "none")) == []


@needs_r
def test_a_grid_without_a_criterion(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="write `summary:"):
        draw(finished_study(tmp_path, figures=[FIGURE]))


def test_without_r_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install r-base-core r-cran-ggplot2") as caught:
        draw(study_with(tmp_path))
    assert caught.value.exit_code != 0


def test_without_a_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "Rscript"
    fake.write_text("#!/bin/sh\necho readr dplyr\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UserError, match="packages readr, dplyr: apt-get install r-cran-readr r-cran-dplyr"):
        figures.check()


# --- the script by itself


@needs_r
def test_the_script_runs_alone(tmp_path: Path) -> None:
    study = study_with(tmp_path)
    export_study(study)
    done = script(study.tables / "summary.csv", "out.pdf", "estimate=published", folder=tmp_path)
    assert done == (0, "", "")
    assert (tmp_path / "out.pdf").exists()
    assert (tmp_path / "out.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.pdf", "out.png", "study"]


@needs_r
def test_the_script_says_what_it_misses(tmp_path: Path) -> None:
    study = study_with(tmp_path)
    export_study(study)
    summary = study.tables / "summary.csv"
    cases = (
        (["absent.csv", "out.pdf"], "there is no table absent.csv"),
        ([study.tables / "runs.csv", "out.pdf"], "is not a summary table"),
        ([summary, "out.pdf", "x=rate"], "the table has no column rate for x; it has: range, model"),
        ([summary, "out.pdf", "x=range", "colour="], "several rows for one range"),
        ([summary], "usage: Rscript range_success.R table.csv out.pdf"),
        ([summary, "out.pdf", "estimate=mode"], "estimate is mean or published"),
        ([summary, "out.pdf", "facets=speed"], "facets are some of success,solved_at,sparsity"),
    )
    processes = [beginning(*words, folder=tmp_path) for words, _ in cases]
    for process, (_, said) in zip(processes, cases, strict=True):
        _, complaint = process.communicate()
        assert process.returncode == 1
        assert said in complaint
        assert len(complaint.strip().splitlines()) == 1, "a sentence, and no traceback"
    assert not (tmp_path / "out.pdf").exists()


@needs_r
def test_the_script_without_a_package(tmp_path: Path) -> None:
    """An R that finds its base packages alone."""
    profile = tmp_path / "profile.R"
    profile.write_text(
        ".libPaths(character(0), include.site = FALSE)\nassign('.lib.loc', .Library, envir = environment(.libPaths))\n"
    )
    done = subprocess.run(
        ["Rscript", str(SCRIPTS / "range_success.R"), "a.csv", "b.pdf"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "R_PROFILE_USER": str(profile), "R_LIBS_SITE": str(tmp_path), "R_LIBS": ""},
    )
    if "R lacks" not in done.stderr:
        pytest.skip("this R keeps all packages in one library")
    assert done.returncode == 1
    assert "apt-get install r-cran-ggplot2" in done.stderr


@needs_r
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_labels_in_any_alphabet_and_locale(tmp_path: Path, locale: str) -> None:
    study = study_with(tmp_path)
    export_study(study)
    table = pd.read_csv(study.tables / "summary.csv", dtype=str, keep_default_na=False)
    table["model"] = table["model"].replace({"NMRU": 'NAC₊ (größe), "x"', "Real NPU": "1e-3"})
    table["range"] = table["range"].replace({table["range"][0]: "a label of many words, the first"})
    table.to_csv(tmp_path / "odd.csv", index=False)
    origin = "n = 12345 of 12345 runs read; runs.csv 0123456789abcdef"
    done = script("odd.csv", "out.pdf", "facets=success", folder=tmp_path, LC_ALL=locale, ORCH_LINEAGE=origin)
    assert done == (0, "", "")
    assert not clipped(tmp_path / "out.pdf")
    text = text_of(tmp_path / "out.pdf")
    assert "größe" in text
    assert "1e-3" in text


# --- lineage


def info_of(pdf: Path) -> str:
    if shutil.which("pdfinfo") is None:
        pytest.skip("pdfinfo is not installed")
    return subprocess.run(["pdfinfo", pdf], capture_output=True, text=True, check=True).stdout


@needs_r
def test_a_figure_says_where_it_comes_from(tmp_path: Path) -> None:
    study = study_with(tmp_path)
    (pdf, _) = draw(study)
    found = lineage.read(pdf)
    assert found is not None
    manifest = Manifest.load(study.tables)
    assert manifest is not None
    assert (found.study, found.read, found.expected) == ("study", 12, 12)
    assert found.table == hashlib.blake2b((study.figures / "fig.csv").read_bytes(), digest_size=16).hexdigest()
    assert found.runs in {file.blake2b for file in manifest.files}
    information = info_of(pdf)
    assert "n = 12 of 12 runs" in information
    assert re.search(r"^Title: +study: fig$", information, re.MULTILINE)
    assert found.table in information
    assert f"n = 12 of 12 runs read; table {found.table[:12]}" in text_of(pdf)


@needs_r
def test_a_stale_figure_is_noticed(tmp_path: Path) -> None:
    study = make_study(tmp_path, figures=[FIGURE], summary=SUMMARY)
    incarnation = submit(study)
    for lane in range(12):
        log(study, incarnation, lane, range(0, 50, 10))
    finish(incarnation, range(11))
    assert stale(study) == [], "there is none yet"
    draw(study)
    assert stale(study) == []
    export_study(study, formats=["csv"], layouts=["wide"])
    assert stale(study) == [], "the same runs"
    finish(incarnation, range(11, 12))
    export_study(study)
    assert stale(study) == ["fig"]
    line = "figure fig is older than the tables, the grid or the script: `orch plot study fig` draws anew"
    out = CliRunner().invoke(cli, ["status", "study", "--root", str(tmp_path)])
    assert line in out.output.splitlines(), out.output
    told = CliRunner().invoke(cli, ["status", "study", "--root", str(tmp_path), "--json"])
    assert json.loads(told.stdout)["stale_figures"] == ["fig"]
    page = CliRunner().invoke(cli, ["report", "study", "--root", str(tmp_path), "-o", "-"]).stdout
    assert "fig: older than the tables, the grid or the script" in page
    assert [path.name for path in products(study)][:2] == ["fig.pdf", "fig.png"], "drawn anew"
    assert stale(study) == []
    assert line not in CliRunner().invoke(cli, ["status", "study", "--root", str(tmp_path)]).output
    info = {"experiment": "test", "version": 1, "export": {"summary": SUMMARY}, "figures": [FIGURE | {"x": "model"}]}
    study.publish_generation("study: study\n# other\n", info, make_points())
    assert stale(study) == ["fig"]


@needs_r
def test_figures_are_of_all_runs(tmp_path: Path) -> None:
    study = study_with(tmp_path)
    export_study(study, where=["seed=0"])
    assert "12 of 12 runs" in text_of(draw(study)[0])


@pytest.mark.parametrize("data", [b"", b"words", b"%PDF-1.5\nno table\nstartxref\n9\n%%EOF\n"])
def test_what_is_no_pdf_is_left_alone(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    lineage.stamp(path, lineage.Lineage("s", 1, 2, "a", "b", "c"))
    assert path.read_bytes() == data
    assert lineage.read(path) is None


@pytest.mark.parametrize("streams", [False, True])
def test_both_kinds_of_pdf_take_a_lineage(tmp_path: Path, streams: bool) -> None:
    """Files with a cross-reference table, and those with a stream in its place."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
               "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>"]  # fmt: skip
    data, places = b"%PDF-1.5\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += f"{number} 0 obj\n{content}\nendobj\n".encode()
    start = len(data)
    if streams:
        entries = b"".join(b"\1" + place.to_bytes(4, "big") for place in [*places, start])
        data += (
            f"4 0 obj\n<< /Type /XRef /Size 5 /W [1 4 0] /Index [1 4] /Root 1 0 R /Length {len(entries)} >>\n".encode()
        )
        data += b"stream\n" + entries + b"\nendstream\nendobj\n"
    else:
        lines = "".join(f"{place:010d} 00000 n \n" for place in places)
        data += f"xref\n0 4\n0000000000 65535 f \n{lines}trailer\n<< /Size 4 /Root 1 0 R >>\n".encode()
    path = tmp_path / "a.pdf"
    path.write_bytes(data + f"startxref\n{start}\n%%EOF\n".encode())
    wanted = lineage.Lineage("größe", 1, 2, "a", "b", "c")
    lineage.stamp(path, wanted)
    assert lineage.read(path) == wanted
    assert "n = 1 of 2 runs" in info_of(path)
