"""What all tests share."""

import os
import signal

from hypothesis import HealthCheck, settings

# A busy machine takes its time over an example, and that is no fault of what is tested.
settings.register_profile("busy", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# A shell that starts something in the background has it ignore Ctrl-C, and every child inherits that: tests that
# interrupt a command would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One thread, as workers have: on a busy machine threads wait for each other longer than tests compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What whoever runs the tests has set for their own studies must not decide where those of the tests are.
for name in [name for name in os.environ if name.startswith("ORCH_") and not name.startswith("ORCH_TESTS_")]:
    del os.environ[name]
