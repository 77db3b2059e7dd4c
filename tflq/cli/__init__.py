"""The commands. Each imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

from tflq.cli.main import main

__all__ = ["main"]
