"""What bsub is asked for, and what is done without where an installation does not know an option."""

import pytest

from orchestrator.clusters.lsf_options import (
    Ask,
    Dialect,
    element,
    elements_of,
    listed_options,
    minutes,
    quoted,
    script,
    warned,
)  # fmt: skip
from orchestrator.clusters.lsf_text import DELIMITED, JSON, WIDE, Product
from orchestrator.errors import UserError

SPECTRUM = Product("IBM Spectrum LSF Standard 10.1.0.6", (10, 1, 0, 6))
BEFORE_SUFFIXES = Product("IBM Spectrum LSF Standard 10.1.0.1", (10, 1, 0, 1))
VOLCLAVA = Product("Volclava project 2.2", (2, 2))

OF_OLD = frozenset({"-J", "-o", "-q", "-P", "-n", "-W", "-M", "-R", "-w", "-r", "-h"})
NEW = OF_OLD | {"-gpu", "-wa", "-wt", "-Q"}


def options(ask, dialect):
    return [line.removeprefix("#BSUB ") for line in script(ask, dialect, []).splitlines() if line.startswith("#BSUB")]


def test_a_script_says_all_and_does_what_it_is_told():
    ask = Ask(
        "orch-x", elements=20, parallel=3, cpus=4, gpus=2, gpu_type="A100", memory=2**31, seconds=2401, warning=100,
        queue="short", project="p 1", select="avx2", after="ended(7) && ended(8)", extra=("-app deep", "-x"),
    )  # fmt: skip
    assert script(ask, Dialect(SPECTRUM, {"bsub": NEW}), ["true", "exec false"]) == (
        "#!/bin/bash\n"
        '#BSUB -J "orch-x[1-20]%3"\n'
        "#BSUB -o /dev/null\n"
        "#BSUB -q short\n"
        '#BSUB -P "p 1"\n'
        "#BSUB -n 4\n"
        "#BSUB -W 41\n"
        "#BSUB -M 2048MB\n"
        '#BSUB -R "select[avx2] rusage[mem=2048MB] span[hosts=1]"\n'
        "#BSUB -gpu num=2:gmodel=A100\n"
        '#BSUB -w "ended(7) && ended(8)"\n'
        "#BSUB -wa USR2\n"
        "#BSUB -wt 2\n"
        "#BSUB -app deep\n"
        "#BSUB -x\n"
        "\n"
        "true\n"
        "exec false\n"
    )


def test_an_old_installation_gets_only_what_it_lists():
    """It would take ``-wa USR2`` for ``-w a``, and begin the command with USR2, without a complaint."""
    ask = Ask("x", gpus=1, memory=2**30, seconds=600, warning=100)
    asked = options(ask, Dialect(VOLCLAVA, {"bsub": OF_OLD}))
    assert asked == [
        "-J x", "-o /dev/null", "-n 1", "-W 10", "-M 1024", '-R "rusage[mem=1024,ngpus_excl_p=1] span[hosts=1]"',
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"Volclava.*'A100': leave `gpu_type` out"):
        options(ask._replace(gpu_type="A100"), Dialect(VOLCLAVA, {"bsub": OF_OLD}))


@pytest.mark.parametrize(
    ("product", "listed", "known"),
    [
        (SPECTRUM, NEW, True),
        (SPECTRUM, OF_OLD, False),  # a list is believed before a version
        (SPECTRUM, frozenset({"-h", "-V"}), True),  # this is no list
        (BEFORE_SUFFIXES, frozenset(), False),
        (VOLCLAVA, frozenset(), False),
        (Product(), frozenset(), False),
    ],
)
def test_which_options_are_known(product, listed, known):
    assert Dialect(product, {"bsub": listed}).knows("bsub", "-gpu") is known


def test_help_is_read_for_options():
    usage = (
        'Usage: bsub [-h] [-V] [-x] [-J job_name|"job_name[index_list]%job_slot_limit"]\n'
        "            [-W [hour:]minute] [-wa 'signal'] pre-exec -gpu: see lsb.params, -cwd"
    )
    assert listed_options(usage) == {"-h", "-V", "-x", "-J", "-W", "-wa", "-gpu", "-cwd"}


@pytest.mark.parametrize(
    ("product", "listed", "form"),
    [
        (Product(), frozenset({"-J", "-o", "-noheader", "-json"}), DELIMITED),
        (Product(), frozenset({"-J", "-o", "-json"}), JSON),
        (SPECTRUM, frozenset({"-J", "-w"}), WIDE),
        (SPECTRUM, frozenset(), DELIMITED),
        (Product("Platform LSF 8.3", (8, 3)), frozenset(), WIDE),
    ],
)
def test_how_jobs_are_listed(product, listed, form):
    assert Dialect(product, {"bjobs": listed}).listing is form


@pytest.mark.parametrize(
    ("product", "parameters", "limit", "reserved"),
    [
        (SPECTRUM, {}, "-M 1537MB", "mem=1537MB"),
        (SPECTRUM, {"LSF_UNIT_FOR_LIMITS": "GB"}, "-M 1537MB", "mem=1537MB"),
        (BEFORE_SUFFIXES, {}, "-M 1572865", "mem=1537"),
        (BEFORE_SUFFIXES, {"LSF_UNIT_FOR_LIMITS": "GB"}, "-M 2", "mem=2"),
        (BEFORE_SUFFIXES, {"LSF_UNIT_FOR_LIMITS": "mb"}, "-M 1537", "mem=1537"),
        (VOLCLAVA, {}, "-M 1537", "mem=1537"),
        (VOLCLAVA, {"LSF_UNIT_FOR_LIMITS": "KB"}, "-M 1572865", "mem=1572865"),
        (Product(), {}, "-M 1572865", "mem=1537"),
    ],
)
def test_memory_is_said_in_the_site_s_unit_and_rounded_up(product, parameters, limit, reserved):
    asked = options(Ask("x", memory=1536 * 2**20 + 1), Dialect(product, {"bsub": OF_OLD}, parameters))
    assert limit in asked
    assert f'-R "rusage[{reserved}] span[hosts=1]"' in asked


def test_memory_per_core_is_a_share():
    dialect = Dialect(SPECTRUM, {"bsub": NEW}, {"RESOURCE_RESERVE_PER_TASK": "Y"})
    asked = options(Ask("x", cpus=4, memory=2**30), dialect)
    assert '-R "rusage[mem=256MB] span[hosts=1]"' in asked
    assert "-M 1024MB" in asked


def test_the_size_of_an_array_is_bounded_even_where_nothing_is_said():
    assert Dialect().max_array == 1000
    assert Dialect(parameters={"MAX_JOB_ARRAY_SIZE": "75000"}).max_array == 75000
    assert Dialect(parameters={"MAX_JOB_ARRAY_SIZE": "many"}).max_array == 1000


@pytest.mark.parametrize(("seconds", "said"), [(1, 1), (60, 1), (61, 2), (2400, 40), (2400.5, 41)])
def test_times_are_rounded_up(seconds, said):
    assert minutes(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "warning", "said"), [(600, 90, 2), (120, 90, 1), (60, 90, None), (600, 0, None), (None, 90, None)]
)
def test_a_warning_comes_within_the_limit(seconds, warning, said):
    assert warned(Ask("x", seconds=seconds, warning=warning), Dialect(SPECTRUM, {"bsub": NEW})) == said


def test_further_options_overrule_ours():
    ask = Ask("x", seconds=60, queue="a", extra=("-W 2:00", "-q b", '-R "select[big]"'))
    asked = options(ask, Dialect(SPECTRUM, {"bsub": NEW}))
    assert asked == ["-J x", "-o /dev/null", "-n 1", '-R "span[hosts=1]"', "-W 2:00", "-q b", '-R "select[big]"']


def test_a_whole_requirement_stands_as_it_is():
    asked = options(Ask("x", select="select[mem>1000] order[ut]"), Dialect())
    assert '-R "select[mem>1000] order[ut] span[hosts=1]"' in asked


@pytest.mark.parametrize(
    ("select", "said"),
    [
        (None, "select[hname!='h1' && hname!='h-2']"),
        ("a || b", "select[(a || b) && hname!='h1' && hname!='h-2']"),
        ("order[ut]", "select[hname!='h1' && hname!='h-2'] order[ut]"),
        ("order[ut] select[a]", "order[ut] select[(a) && hname!='h1' && hname!='h-2']"),
    ],
)
def test_machines_are_excluded_in_the_only_select(select, said):
    asked = options(Ask("x", select=select, exclude=("h1", "h-2")), Dialect())
    assert f'-R "{said} span[hosts=1]"' in asked


@pytest.mark.parametrize(
    ("value", "said"),
    [("plain/x.y:1", "plain/x.y:1"), ("a b", '"a b"'), ('a "b"', "'a \"b\"'"), ("x[1-2]%3", '"x[1-2]%3"')],
)
def test_quoting(value, said):
    assert quoted(value) == said


def test_elements_are_named_in_spans():
    assert (element("7", 0), element("7", 3)) == ("7", "7[3]")
    assert elements_of("7", [3, 1, 2, 8, 8]) == "7[1-3,8]"


def test_people_are_told_what_is_done_without():
    assert len(list(Dialect(VOLCLAVA, {"bsub": OF_OLD}, {"RESOURCE_RESERVE_PER_TASK": "Y"}).notes())) == 4
    assert list(Dialect(SPECTRUM, {"bsub": NEW}, {"ABS_RUNLIMIT": "Y"}).notes()) == []
