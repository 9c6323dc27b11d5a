"""Which runs train the same net: parameters that only say how it is tested are left out of the comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

UNFELT = ("quick_test", "val_period", "save_period", "log_batches")
"""What weights do not depend on, beside the parameters called ``test_*``."""


def trained(settings: Mapping[str, Any]) -> str:
    """Return a digest of how a net is trained, its seed included.

    Parameters
    ----------
    settings
        Parameters by name.
    """
    felt = {name: value for name, value in settings.items() if not name.startswith("test_") and name not in UNFELT}
    return blake2b(json.dumps(felt, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()
