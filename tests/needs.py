"""What tests need of the machine beside Python. Without it they are skipped, and say so; or they run and fail, where
``ORCH_TESTS_REQUIRE`` names it: ``slurm``, ``r``, ``pdftotext``, ``mount``, separated by commas."""

import os
import shutil
from typing import NoReturn

import pytest

from export.figures import check
from orchestrator.errors import UserError

REQUIRED = frozenset(os.environ.get("ORCH_TESTS_REQUIRE", "").split(","))


def have_r() -> bool:
    """Return whether R and the packages of the figures are there."""
    try:
        check()
    except UserError:
        return False
    return True


def do_without(what: str, why: str) -> NoReturn:
    """Skip the test that needs something which is not there; fail it where that is required."""
    if what in REQUIRED:
        pytest.fail(why)
    pytest.skip(why)


needs_r = pytest.mark.skipif("r" not in REQUIRED and not have_r(), reason="R and its packages are not installed")
needs_pdftotext = pytest.mark.skipif(
    "pdftotext" not in REQUIRED and shutil.which("pdftotext") is None, reason="poppler-utils are not installed"
)
