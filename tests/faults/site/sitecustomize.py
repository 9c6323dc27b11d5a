"""Loaded by every Python process of a test that has this folder on its path: installs the fault that was ordered."""

import importlib.util
import os
from pathlib import Path

if "ORCH_TEST_FAULT" in os.environ:
    spec = importlib.util.spec_from_file_location("orch_test_inject", Path(__file__).parents[1] / "inject.py")
    assert spec is not None
    assert spec.loader is not None
    inject = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(inject)
    inject.obey()
