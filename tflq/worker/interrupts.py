"""Defer Ctrl-C while it would leave a process behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Defer a Ctrl-C inside the context until the context is left."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread is interrupted
        yield
        return
    signals: list[int] = []

    def remember(number: int, _: FrameType | None) -> None:
        signals.append(number)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)  # None: the handler was not set by Python
        if signals:
            signal.raise_signal(signal.SIGINT)
