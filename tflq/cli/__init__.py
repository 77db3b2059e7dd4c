"""The commands. Each command imports its modules when it runs, so that `--help` is fast."""

from __future__ import annotations

from tflq.cli.main import main

__all__ = ["main"]
