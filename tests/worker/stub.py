"""A scheduler that does nothing by itself: tests say by the environment which element a process is."""

import os
from pathlib import Path

from orchestrator.clusters.base import Here
from tests.study.studies import FakeCluster


class StubCluster(FakeCluster):
    def __init__(self, name):
        super().__init__(name)

    def here(self):
        return Here(os.environ["STUB_JOB"], int(os.environ["STUB_ELEMENT"])) if "STUB_JOB" in os.environ else None

    def requeue(self, here):
        if "STUB_REQUEUED" not in os.environ:
            return False
        Path(os.environ["STUB_REQUEUED"]).write_text(here.key)
        os.kill(os.getpid(), 15)  # as a scheduler does
        return True


def main(argv):
    import orchestrator.clusters
    from orchestrator.worker import element

    orchestrator.clusters.KINDS["slurm"] = "tests.worker.stub:StubCluster"
    return element.main(argv)
