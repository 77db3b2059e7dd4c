"""The versions of the tools that verdicts rest on."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence

from tflq.targets.micro_run import has_micro
from tflq.targets.schema import Target
from tflq.targets.vela import vela_version

_LACKING = "not installed"


def tool_versions(targets: Sequence[Target]) -> dict[str, str]:
    """Return the version of each interpreter and compiler that the targets have, or that it is not installed."""
    return dict(_tool_versions(targets))


def _tool_versions(targets: Sequence[Target]) -> Iterator[tuple[str, str]]:
    if any(target.memory for target in targets):
        yield "tflite-micro", importlib.metadata.version("tflite-micro") if has_micro() else _LACKING
    if any(target.vela_options for target in targets):
        yield "ethos-u-vela", vela_version() or _LACKING
