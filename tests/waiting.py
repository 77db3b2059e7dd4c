"""Waiting for what other processes do, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 900
"""Seconds after which a test gives up. No test that passes comes near it, also where others keep all cores busy."""
POLL_SECONDS = 0.02


def until(condition: Callable[[], object]) -> None:
    """Return once the condition is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"gave up after {PATIENCE} s"
        time.sleep(POLL_SECONDS)
