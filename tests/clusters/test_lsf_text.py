"""What the commands of LSF print: transcripts of a relative of LSF, and the formats that IBM documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.clusters import lsf_text as text
from orchestrator.clusters.batch import QueueFacts
from orchestrator.clusters.lsf_text import DELIMITED, JSON, WIDE, Listing, Product, Row, Story

# --- bsub -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "job_id"),
    [
        ("Job <1> is submitted to default queue <normal>.\n", "1"),
        ("Job <1234567> is submitted to queue <gpu>.\n", "1234567"),
        ("*** Maintenance on 1 Dec ***\nproject 17 is charged\nJob <8> is submitted to queue <q>.\nBye\n", "8"),
        ("MEMLIMIT is set to 4096 by esub\nJob <9> is submitted to default queue <x>.\n", "9"),
        ("Request aborted by esub. Job not submitted.\n", None),
        ("", None),
    ],
)
def test_ids_are_found_among_banners(said, job_id):
    assert text.read_submitted(said) == job_id


# --- bjobs ------------------------------------------------------------------------------------------------------------


def test_ibm_fields():
    said = (
        "7^1^RUN^-^-^orch-x-1.0-abcdef12[1]^host7\n"
        "7^2^EXIT^137^TERM_MEMLIMIT: job killed after reaching LSF memory usage limit^orch-x-1.0-abcdef12[2]^4*host8\n"
        "7^3^PEND^-^-^orch-x-1.0-abcdef12[3]^-\n"
        "9^0^DONE^-^-^alone^host1\n"
        "11[4]^4^USUSP^-^-^shown[4]^host1\n"  # LSB_BJOBS_DISPLAY_ENH
    )
    assert text.read_delimited(said) == [
        Row("7", 1, "RUN", host="host7", name="orch-x-1.0-abcdef12"),
        Row("7", 2, "EXIT", "137", "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", "4*host8",
            "orch-x-1.0-abcdef12"),
        Row("7", 3, "PEND", name="orch-x-1.0-abcdef12"),
        Row("9", 0, "DONE", host="host1", name="alone"),
        Row("11", 4, "USUSP", host="host1", name="shown"),
    ]  # fmt: skip


def test_the_table_of_a_relative():
    said = (
        "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"
        "1       lsfuser DONE  normal     vm          vm          arr[1]     Nov 21 04:13\n"
        "1       lsfuser PEND  normal     vm                      arr[12]    Nov 21 04:13\n"
        "2       lsfuser RUN   normal     vm          vm          my job     Nov 21 04:13\n"
        "605     user1   SSUSP idle       hostQ       hostC       Test4      Oct 17 18:07\n"
    )
    rows = text.read_wide(said)
    assert rows[:2] == [Row("1", 1, "DONE", host="vm", name="arr"), Row("1", 12, "PEND", name="arr")]
    assert [(row.job_id, row.number, row.word, row.host) for row in rows[2:]] == [
        ("2", 0, "RUN", "vm"),
        ("605", 0, "SSUSP", "hostC"),
    ]


RECORDS = """\
{
\t"COMMAND":\t"bjobs",
\t"JOBS":\t2,
\t"RECORDS":\t[{
\t\t\t"JOBID":\t"1",
\t\t\t"STAT":\t"DONE",
\t\t\t"JOB_NAME":\t"arr[1]"
\t\t}, {
\t\t\t"JOBID":\t"999",
\t\t\t"ERROR":\t"Job <999> is not found"
\t\t}]
}
"""


def test_json_records():
    assert text.read_json(f"Welcome to {{1}} {{}}\n{RECORDS}Bye\n") == [Row("1", 1, "DONE", name="arr")]
    assert text.read_listing(JSON, RECORDS, "", 0) == Listing(
        (Row("1", 1, "DONE", name="arr"),), frozenset({("999", 0)}), True
    )
    assert not text.read_listing(JSON, RECORDS[:60], "", 0).whole
    assert text.read_listing(JSON, '{"COMMAND":"bjobs","JOBS":0,"RECORDS":[]}\n', "", 255) == Listing((), frozenset())


ROW = "7^1^RUN^-^-^x[1]^host7\n"


@pytest.mark.parametrize(
    ("out", "err", "code", "unknown", "whole"),
    [
        (ROW, "", 0, [], True),
        (ROW, "Job <9> is not found\n", 255, [("9", 0)], True),
        ("", "Job <9> is not found\nJob <8[3]> is not found\n", 255, [("9", 0), ("8", 3)], True),
        ("", "No unfinished job found\n", 255, [], True),
        ("", "", 0, [], True),
        (ROW + "7^2^RUN", "", 0, [], False),  # it was cut off
        (ROW, "", None, [], False),  # it did not end
        (ROW, "", -9, [], False),
        (ROW, "Segmentation fault\n", 139, [], False),
        ("", "Batch library internal error\n", 255, [], False),
        ("usage: bjobs [-h]\n", "bjobs: illegal option -- n\n", 255, [], False),
    ],
)
def test_what_an_answer_is_worth(out, err, code, unknown, whole):
    found = text.read_listing(DELIMITED, out, err, code)
    assert found.unknown == set(unknown)
    assert found.whole is whole
    assert [row.number for row in found.rows] == ([1] if out.startswith(ROW) else [])


def test_foreign_lines_are_no_jobs():
    assert text.read_delimited("a^b^c\n^^^^^^\nJOBID^JOBINDEX^STAT^EXIT_CODE^EXIT_REASON^JOB_NAME^EXEC_HOST\n") == []
    assert text.read_wide("3 users are logged in since Nov 21 04:13 today or so\n") == []


@given(st.text(alphabet="1^7[]-RUNJob <>isfound\n{}\"':, ", max_size=200), st.sampled_from([DELIMITED, JSON, WIDE]))
def test_no_text_breaks_a_reader(said, form):
    listing = text.read_listing(form, said, said, 255)
    assert all(row.job_id.isdecimal() for row in listing.rows)
    text.read_stories(said)
    text.read_pending(said)
    text.read_queues(said)


# --- why jobs wait ----------------------------------------------------------------------------------------------------


def test_pending_reasons():
    said = (
        "JOBID   USER    STAT  QUEUE      FROM_HOST   JOB_NAME   SUBMIT_TIME\n"
        " 7678   user1   PEND  priority   hostD       verilog    Oct 28 13:08\n"
        " Queue's resource requirements not satisfied: 3 hosts;\n"
        " Unable to reach slave lsbatch server: 1 host;\n"
        "19      me      PEND  normal     vm          *4567[3]   Nov  1 04:13\n"
        " Job array has reached its running element limit;\n"
        "20[1]   me      PSUSP normal     vm          my job[1]  Nov 21 04:13\n"
        " The job was suspended by the user while pending;\n"
        "Summary\n"
    )
    assert text.read_pending(said) == {
        ("7678", 0): (
            "Queue's resource requirements not satisfied: 3 hosts",
            "Unable to reach slave lsbatch server: 1 host",
        ),
        ("19", 3): ("Job array has reached its running element limit",),
        ("20", 1): ("The job was suspended by the user while pending",),
    }


# --- how jobs went ----------------------------------------------------------------------------------------------------

BHIST = """\

Job <19[2]>, Job Name <arr[1-6]%2>, User <lsfuser>, Project <default>, Command <
                     sleep 1000>
Sat Nov 21 04:13:00: Submitted from host <vm>, to Queue <normal>, CWD <$HOME/a/v
                     ery/long/folder>;
Sat Nov 21 04:14:31: Dispatched to <vm>;
Sat Nov 21 04:14:31: Starting (Pid 13508);
Sat Nov 21 04:15:39: Exited with exit code 3. The CPU time used is 0.0 seconds;
Sat Nov 21 04:15:40: Pending: Job has been requeued;
Sat Nov 21 04:16:00: Dispatched to <vm2>;
Sat Nov 21 04:16:33: Signal <KILL> requested by user or administrator <lsfuser>
                     ;
Sat Nov 21 04:16:56: Exited by signal 9. The CPU time used is 0.0 seconds;

Summary of time in seconds spent in various states by  Sat Nov 21 04:17:00
  PEND     PSUSP    RUN      USUSP    SSUSP    UNKWN    TOTAL
  1        0        62       0        0        0        63
------------------------------------------------------------------------------

Job <20>, Job Name <x>, User <lsfuser>, Project <default>, Command <true>
Sat Nov 21 04:14:31: Dispatched to <vm>;
Sat Nov 21 04:23:49: Pending: Requeued job is waiting for rescheduling: 1 host; (exit code 99)
Sat Nov 21 04:24:00: Dispatched 1 Task(s) on Host(s) <hostB>, Allocated 1 Slot(s
                     ) on Host(s) <hostB>, Effective RES_REQ <select[type == lo
                     cal]>;
Sat Nov 21 04:25:04: Done successfully. The CPU time used is 0.0 seconds.

MEMORY USAGE:
MAX MEM: 2.5 Gbytes;  AVG MEM: 2 Gbytes
------------------------------------------------------------------------------

Job <21>, User <lsfuser>, Project <default>, Command <./pi>
Thu Jun 12 15:49:02: Unknown; unable to reach the execution host;
Thu Jun 12 16:10:32: Running;
Thu Jun 12 16:10:38: Exited with exit code 140. The CPU time used is 3.1 seconds
                     ;
Thu Jun 12 16:10:38: Completed <exit>; TERM_RUNLIMIT: job killed after reaching
                     LSF run time limit.
"""


def test_histories():
    stories = text.read_stories(BHIST)
    assert stories["19", 2] == Story(signal=9, host="vm2", asked=("KILL", "lsfuser"))
    assert stories["20", 0] == Story(done=True, host="hostB", memory="2.5 Gbytes")
    assert stories["21", 0].code == 140
    assert stories["21", 0].reason.startswith("TERM_RUNLIMIT: job killed after reaching")
    assert stories["21", 0].unreachable
    assert all(story.ended for story in stories.values())


def test_a_job_that_was_requeued_last_has_not_ended():
    said = BHIST[: BHIST.index("Sat Nov 21 04:16:00")]
    assert text.read_stories(said) == {("19", 2): Story(host="vm")}
    assert not text.read_stories(said)["19", 2].ended


@given(st.integers(40, 120))
def test_lines_are_joined_wherever_they_are_broken(width):
    line = "Sat Nov 21 04:16:56: Exited by signal 9. The CPU time used is 0.0 seconds; TERM_ADMIN: job killed by root;"
    broken = [line[:width], *(line[at : at + 59] for at in range(width, len(line), 59))]
    said = "Job <7[2]>, User <me>, Command <x>\n" + f"\n{' ' * 21}".join(part for part in broken if part) + "\n"
    story = text.read_stories(said)["7", 2]
    assert (story.signal, story.reason) == (9, "TERM_ADMIN: job killed by root")


def test_accounting():
    said = """\
Accounting information about jobs that are:
  - submitted by all users.
------------------------------------------------------------------------------

Job <5[1]>, Job Name <a[1-2]>, User <me>, Project <p>, Status <EXIT>, Queue <normal>, Co
                     mmand <x>
Tue Jul 11 15:18:00: Submitted from host <h1>, CWD <$HOME>;
Tue Jul 11 15:18:01: Dispatched 1 Task(s) on Host(s) <h2>;
Tue Jul 11 15:19:47: Completed <exit>; TERM_MEMLIMIT: job killed after reaching LSF me
                     mory usage limit.

Accounting information about this job:
     CPU_T     WAIT     TURNAROUND   STATUS     HOG_FACTOR    MEM    SWAP
      0.04        1             62     exit         0.0006     2M     20M
------------------------------------------------------------------------------

Job <5[2]>, Job Name <a[1-2]>, User <me>, Project <p>, Status <DONE>, Queue <normal>, Command <x>
Tue Jul 11 15:19:47: Completed <done>;
"""
    stories = text.read_stories(said)
    assert stories["5", 1] == Story(reason="TERM_MEMLIMIT: job killed after reaching LSF memory usage limit", host="h2")
    assert stories["5", 2] == Story(done=True)


# --- what a site has set ----------------------------------------------------------------------------------------------


def test_parameters():
    said = """\
System default queues for automatic queue selection:
    DEFAULT_QUEUE = normal interactive

The amount of time during which finished jobs are kept in core:
    CLEAN_PERIOD = 3600 (second)

The maximum number of jobs in a job array.
    MAX_JOB_ARRAY_SIZE = 10000

Mbatchd reserves resources based on job tasks:
    RESOURCE_RESERVE_PER_TASK = Y
"""
    assert text.read_parameters(said) == {
        "DEFAULT_QUEUE": "normal",
        "CLEAN_PERIOD": "3600",
        "MAX_JOB_ARRAY_SIZE": "10000",
        "RESOURCE_RESERVE_PER_TASK": "Y",
    }
    assert text.read_parameters('# LSF_UNIT_FOR_LIMITS=KB\nLSF_UNIT_FOR_LIMITS="GB"  # since May\nexport X=1\n') == {
        "LSF_UNIT_FOR_LIMITS": "GB"
    }


SPECTRUM = """\
IBM Spectrum LSF Standard 10.1.0.6, Apr 08 2019
Copyright International Business Machines Corp. 1992, 2016.
US Government Users Restricted Rights - Use, duplication or disclosure restricted

My cluster name is c1
My master name is m1.site.org
"""


@pytest.mark.parametrize(
    ("said", "product", "ibm"),
    [
        (
            SPECTRUM,
            Product("IBM Spectrum LSF Standard 10.1.0.6", (10, 1, 0, 6), "c1", "m1.site.org"),
            True,
        ),
        ("Platform LSF 8.3.0.0, May 10 2012\n", Product("Platform LSF 8.3.0.0", (8, 3, 0, 0)), True),
        (
            "IBM Platform LSF Express 9.1.3.0, Jul 04 2014",
            Product("IBM Platform LSF Express 9.1.3.0", (9, 1, 3, 0)),
            True,
        ),
        ("LSF 10.1.0, Jan 5 2016\n", Product("LSF 10.1.0", (10, 1, 0)), True),
        ("openlava project 4.0\n\nMy cluster name is x\n", Product("openlava project 4.0", (4, 0), "x"), False),
        ("Volclava project 2.2\n", Product("Volclava project 2.2", (2, 2)), False),
        ("lsid: getentityname() failed: LIM is down; try later\n", Product(), False),
    ],
)
def test_products(said, product, ibm):
    assert text.read_product(said) == product
    assert text.read_product(said).ibm is ibm


def test_users():
    said = (
        "USER/GROUP          JL/P    MAX  NJOBS   PEND    RUN  SSUSP  USUSP    RSV  MPEND  PJOBS MPJOBS\n"
        "me                     -      -     12     10      2      0      0      0      -     10    500\n"
        "a group: no limits\n"
    )
    [me] = text.read_table(said)
    assert me["MPJOBS"] == "500"
    assert text.read_table("") == []


QUEUES = """\

QUEUE: night
  -- For long jobs.

PARAMETERS/STATISTICS
PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV PJOBS
 20   20  Open:Inact        -    -    -    -     0     0     0     0     0    0     0
Interval for a host to accept two jobs is 0 seconds

DEFAULT LIMITS:
 RUNLIMIT
 30.0 min of hostA

MAXIMUM LIMITS:
 CPULIMIT                 RUNLIMIT
 10.0 min of hostA        480.0 min of hostA
 MEMLIMIT
  4 G

SCHEDULING POLICIES:  PREEMPTABLE[high]  NO_INTERACTIVE
USERS: all
HOSTS:  all
JOB_CONTROLS:
    SUSPEND:  brequeue $LSB_JOBID
------------------------------------------------------------------------------

QUEUE: normal
  -- The default.

PARAMETERS/STATISTICS
PRIO NICE STATUS          MAX JL/U JL/P JL/H NJOBS  PEND   RUN SSUSP USUSP  RSV
 30   20  Open:Active     100   10    -    -     0     0     0     0     0    0

SCHEDULING POLICIES:  FAIRSHARE
"""


def test_queues():
    assert text.read_queues(QUEUES, ["normal"]) == (
        QueueFacts("normal", default=True, state="Open:Active"),
        QueueFacts("night", state="Open:Inact", max_time=480 * 60.0, preempt="brequeue $LSB_JOBID"),
    )
