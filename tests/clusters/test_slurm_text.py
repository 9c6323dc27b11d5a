"""Slurm's texts: transcripts of a real one, and what nobody should ever print."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clusters.slurm_text import (
    Indices,
    Key,
    phrase,
    read_indices,
    read_job_id,
    read_key,
    read_listing,
    read_number,
    read_records,
    read_rows,
    read_settings,
    read_size,
    read_span,
    read_start,
    read_states,
    read_time,
    write_indices,
)

ELEMENTS = st.sets(st.integers(0, 4000), max_size=60)


@given(ELEMENTS, st.sampled_from(["", "%1", "%256"]))
def test_expressions_come_back_as_they_went(elements, throttle):
    text = write_indices(elements)
    if elements:
        for written in (text, f"[{text}{throttle}]", f"{text}{throttle}"):
            assert read_indices(written) == Indices(tuple(sorted(elements)))
    else:
        assert text == ""


@given(ELEMENTS.filter(lambda some: len(some) > 1), st.data())
def test_a_truncated_expression_names_only_what_is_certain(elements, data):
    items = write_indices(elements).split(",")
    kept = items[: data.draw(st.integers(0, len(items) - 1))]
    found = read_indices(f"[{','.join([*kept, '...'])}%3]")
    assert not found.whole
    assert set(found.values) <= elements
    assert found.values == (read_indices(",".join(kept)).values if kept else ())


@given(st.text(alphabet="0123456789-,:%[].…x ", max_size=20))
def test_an_odd_expression_is_refused_and_never_crashes(text):
    key = read_key(f"102_[{text}]")
    assert key is None or key.job_id == "102"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2-9,11%2", [*range(2, 10), 11]),
        ("[1-7:2]", [1, 3, 5, 7]),
        ("4%1", [4]),
        ("0", [0]),
        ("3-300%3", range(3, 301)),
    ],
)
def test_expressions_of_a_real_slurm(text, values):
    assert read_indices(text).values == tuple(values)


@pytest.mark.parametrize("text", ["", "a", "1-", "-3", "1-2-3", "1:2", "N/A", "(null)"])
def test_what_is_no_expression(text):
    with pytest.raises(ValueError, match="no elements"):
        read_indices(text)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("102", Key("102", None)),
        ("102_3", Key("102", Indices((3,)))),
        ("5_[3-5%3]", Key("5", Indices((3, 4, 5)))),
        ("5_[0,7,...]", Key("5", Indices((0, 7), whole=False))),
        ("5_[0,7,...", Key("5", Indices((0, 7), whole=False))),
        ("102+0", None),
        ("JOBID", None),
        ("", None),
        ("102.batch", None),
    ],
)
def test_names_of_jobs(text, key):
    assert read_key(text) == key


BANNER = "Welcome to the cluster!\nMaintenance on 24\nYou have submitted job 12 of 500 today\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Submitted batch job 102\n", "102"),
        ("Submitted batch job 102 on cluster foo\n", "102"),
        (BANNER + "Submitted batch job 102\n" + BANNER, "102"),
        ("102\n", "102"),
        ("102;foo\n", "102"),
        (BANNER + "102;foo\n" + BANNER, "102"),
        (BANNER, None),
        ("", None),
    ],
)
def test_the_id_is_found_among_banners(text, found):
    assert read_job_id(text) == found


def test_states_of_a_real_listing():
    text = """\
5_[3-6%3]|PENDING
6_[1-5:2]|PENDING
7|PENDING
1_3|RUNNING
5_0|RUNNING
5_1|COMPLETING
5_2|PREEMPTED
999_4|RUNNING
odd|name|RUNNING
102+1|RUNNING
8_[0,2,...]|PENDING
9_0|SOMETHING_NEW
"""
    assert read_states(text, ["5", "6", "7", "8", "9", "11"]) == {
        "5": "gone", "5_0": "running", "5_1": "running", "5_2": "unknown", "5_3": "pending", "5_4": "pending",
        "5_5": "pending", "5_6": "pending",
        "6": "gone", "6_1": "pending", "6_3": "pending", "6_5": "pending",
        "7": "pending",
        "8": "pending", "8_0": "pending", "8_2": "pending",  # what is not named may still be waiting
        "9": "gone", "9_0": "unknown",
        "11": "gone",
    }  # fmt: skip


def test_an_element_listed_twice_is_what_is_more_alive():
    for text in ("5_0|COMPLETED\n5_0|PENDING\n", "5_0|PENDING\n5_0|COMPLETED\n"):
        assert read_states(text, ["5"])["5_0"] == "pending"


@pytest.mark.parametrize(
    "reason",
    [
        "launch failed requeued held", "(launch_failed_requeued_held)", "user env retrieval failed requeued held",
        "JobHoldMaxRequeue",
    ],
)  # fmt: skip
def test_what_waits_for_somebody_to_release_it_after_a_failed_launch_is_gone(reason):
    text = f"5_0|PENDING|{reason}\n5_1|RUNNING|None\n6|PENDING|{reason}\n7_[0-1]|PENDING|JobHeldUser\n"
    states = read_states(text, ["5", "6", "7"])
    assert states.get("5_0", states["5"]) == states["6"] == "gone"
    assert (states["5_1"], states["7_0"]) == ("running", "pending")


@given(st.text(max_size=200))
def test_any_text_is_a_listing_of_something(text):
    assert list(read_listing(text)) is not None
    assert set(read_states(text, ["5"])) >= {"5"}
    assert list(read_records(text)) is not None
    assert read_settings(text) is not None
    assert list(read_rows(text, "a,b")) is not None


def test_records_whose_values_hold_spaces():
    text = (
        "JobId=4 ArrayJobId=1 ArrayTaskId=2 JobName=a b=c JobState=FAILED Reason=JobLaunchFailure "
        "ReqB:S:C:T=0:0:*:* CPUs/Task=1 NodeList= ExitCode=0:53 Comment=it said: no\n"
    )
    [record] = read_records(text)
    assert record["ArrayTaskId"] == "2"
    assert record["JobState"] == "FAILED"
    assert record["NodeList"] == ""
    assert record["CPUs/Task"] == "1"
    assert record["Comment"] == "it said: no"


def test_settings_of_scontrol():
    text = "Configuration data as of 2026\nMaxArraySize            = 2001\nSlurmctldHost[0]        = vm(127.0.0.1)\n\n"
    assert read_settings(text) == {"MaxArraySize": "2001", "SlurmctldHost[0]": "vm(127.0.0.1)"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-02:03:04", 93784), ("02:03:04", 7384), ("03:04", 184), ("0:00", 0), ("UNLIMITED", None), ("infinite", None),
     ("Partition_Limit", None), ("", None), ("00:00:05.123", 5)],
)  # fmt: skip
def test_spans(text, seconds):
    assert read_span(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("500M", 500 << 20), ("2Gn", 2 << 30), ("500Mc", 500 << 20), ("312K", 312 << 10), ("4000+", 4000 << 20),
     ("1.50G", 1536 << 20), ("", None), ("0", 0), ("?", None)],
)  # fmt: skip
def test_sizes(text, size):
    assert read_size(text) == size


def test_a_size_without_a_unit_is_in_the_one_that_is_said():
    assert read_size("2048", "K") == 2 << 20


def test_numbers():
    assert [read_number(text) for text in ("300 sec", "2+", "", "UNLIMITED", "0")] == [300, 2, None, None, 0]


NOW = datetime(2026, 11, 21, 14, 0)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("2026-11-21T13:59:00", "at once"),
        ("2026-11-21T14:05:00", "14:05 today"),
        ("2026-11-22T00:30:00", "00:30 tomorrow"),
        ("2026-12-24T09:30:00", "09:30 on 24 Dec"),
        ("2029-01-01T00:00:00", "not within a year"),
    ],
)
def test_when_it_would_start(start, said):
    line = f"sbatch: Job 28 to start at {start} using 8 processors on nodes n[1-4] in partition high\n"
    assert phrase(read_start(BANNER + line + "sbatch:   Preempts: 1,12\n"), NOW) == said


@pytest.mark.parametrize(
    "text",
    [
        "allocation failure: Requested node configuration is not available\n",
        "sbatch: Job 27 to start at 14276-01-29T21:46:00 using 1 processors on nodes n3 in partition main\n",
        "",
    ],
)
def test_when_it_would_start_cannot_be_told(text):
    assert read_start(text) is None


def test_times():
    assert read_time("Unknown") is None
    assert read_time("2026-11-21T14:00:00") == NOW
