"""What a fake Slurm allows, and what can be found out about it."""

import pytest

from orchestrator.clusters import slurm_site
from orchestrator.clusters.slurm import SlurmCluster, facts
from orchestrator.errors import ExitCode, UserError
from tests.clusters.fakes.slurm import UNREACHABLE

SLURM = SlurmCluster("slurm")

# --- limits -----------------------------------------------------------------------------------------------------------

ASSOCIATIONS = "{0}|lab|lab||normal||500|\n{0}|lab|lab|gpu|normal||50|\n{0}|lab|other||normal|high|7|\n"
QOS = "normal|300||\nhigh||4|\nlong|9||20\n"


def test_limits_of_a_plain_cluster(fake):
    fake.add(7, ["RUNNING", "COMPLETED", *["PENDING"] * 8])
    assert SLURM.limits({}) == (1001, 9999 - 9)
    assert SLURM.limits({"limits": {"array": 10, "jobs": 12}}) == (10, 3)
    assert SLURM.limits({"limits": {"array": 5000, "jobs": 4}}) == (1001, 0)
    assert not fake.calls("sacctmgr")


def test_the_configuration_is_asked_for_once(fake):
    for _ in range(3):
        SLURM.limits({})
    assert len(fake.calls("scontrol")) == 1


@pytest.mark.parametrize(
    ("resources", "room"),
    [
        ({}, 300 - 1),  # the QOS that the association falls back on
        ({"partition": "gpu"}, 50 - 1),
        ({"account": "other"}, 4),  # its default QOS counts no job of the others
        ({"account": "other", "qos": "long"}, 7),
        ({"qos": "long"}, 9),
        ({"account": "nosuch"}, 9999 - 1),
    ],
)
def test_limits_of_accounting(fake, resources, room):
    fake.configure(AccountingStorageEnforce="associations,limits,qos")
    fake.set("sacctmgr user", ASSOCIATIONS.format("me"))
    fake.set("sacctmgr qos", QOS)
    fake.add(7, ["RUNNING"])
    assert SLURM.limits(resources).room == room


def test_a_partition_s_own_qos_counts_the_jobs_in_it(fake):
    fake.configure(AccountingStorageEnforce="safe,limits")
    fake.set("sacctmgr user", "me|lab|lab||normal||||\n")
    fake.set("sacctmgr qos", QOS)
    fake.set("partition", "PartitionName=main Default=YES QoS=long State=UP\nPartitionName=gpu Default=NO QoS=N/A\n")
    fake.add(7, ["RUNNING"])  # handed in under another QOS, and yet counted
    assert SLURM.limits({}).room == 9 - 1


def test_limits_that_cannot_be_asked_for_are_left_to_slurm(fake):
    fake.configure(AccountingStorageEnforce="limits")
    assert SLURM.limits({}).room == 9999


def test_limits_of_a_slurm_that_is_away(fake, away):
    fake.say("scontrol", *[UNREACHABLE] * 60)
    with pytest.raises(UserError) as caught:
        SLURM.limits({})
    assert caught.value.exit_code == ExitCode.SCHEDULER_UNREACHABLE


# --- when, and what is there ------------------------------------------------------------------------------------------


def test_estimates(fake):
    assert SLURM.estimate({"time": "1h"}, 5) == "at once"
    [call] = fake.calls()
    assert call["command"] == ["sbatch", "--test-only"]
    fake.say(
        "sbatch", {"err": "allocation failure: Requested node configuration is not available\n", "code": 1}, UNREACHABLE
    )
    assert SLURM.estimate({}, 5) is None
    assert SLURM.estimate({}, 5) is None


def test_facts_of_a_cluster_without_accounting(fake):
    fake.configure(MinJobAge="5 sec", PreemptMode="GANG,CANCEL")
    fake.set(
        "sinfo",
        "main*|up|1-00:00:00|3|2|4000|(null)|OFF\nmain*|up|1-00:00:00|1|8|64000+|gpu:a100:2(S:0-1),gpu:4|OFF\n"
        "low|drain|infinite|2|4|8000|gpu:v100:1|REQUEUE\n",
    )
    found = facts()
    assert found.reachable
    assert (found.version, found.cluster, found.controller) == ("22.05.8", "fake", "head")
    main, low = found.queues
    assert (main.name, main.default, main.max_time, main.nodes, main.cpus) == ("main", True, 86400, 4, 8)
    assert main.memory == 64000 * 2**20
    assert main.gpus == ("a100", "gpu")
    assert (low.state, low.max_time, low.preempt, low.default) == ("drain", None, "REQUEUE", False)
    assert (found.max_array, found.max_jobs, found.submit_limit, found.queued) == (1001, 10_000, None, 0)
    assert not found.accounting
    assert (found.remembers, found.grace) == (5, 30)
    assert any("cancelled" in note for note in found.notes)
    assert any("MinJobAge" in note for note in found.notes)


def test_facts_of_a_cluster_with_accounting(fake):
    fake.configure(AccountingStorageEnforce="limits")
    fake.set("sacctmgr user", ASSOCIATIONS.format("me"))
    fake.set("sacctmgr qos", QOS)
    fake.set("sacctmgr cluster", "fake\n")
    found = facts()
    assert found.accounting
    assert found.accounts == ("lab", "other")
    assert found.submit_limit == 300
    assert found.notes == ()


def test_facts_of_a_slurm_that_is_away(fake, away):
    fake.say("scontrol", *[UNREACHABLE] * 60)
    found = facts()
    assert not found.reachable
    assert "connect failure" in found.problem


def test_what_nothing_bounds_has_any_room():
    assert slurm_site.room([], []) is None
