"""Studies of these tests live in memory where that is possible."""

from tests.worker.conftest import tmp_path

__all__ = ["tmp_path"]
