from tests.worker.conftest import tmp_path  # noqa: F401
