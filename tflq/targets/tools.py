"""The tools that verdicts rest on, if they are installed: TensorFlow Lite Micro's interpreter and the compiler Vela."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tflq.targets.schema import Target

_LACKING = "not installed"
_DISTRIBUTION, _PACKAGE, _MODULE, _EXECUTABLE = "ethos-u-vela", "ethosu", "ethosu.vela", "vela"
_TIMEOUT = 60
"""The seconds after which a call that asks the compiler for its version is stopped."""


def tool_versions(targets: Sequence[Target]) -> dict[str, str]:
    """Return the version of each interpreter and compiler that the targets have, or that it is not installed."""
    return dict(_tool_versions(targets))


def _tool_versions(targets: Sequence[Target]) -> Iterator[tuple[str, str]]:
    if any(target.memory for target in targets):
        yield "tflite-micro", importlib.metadata.version("tflite-micro") if has_micro() else _LACKING
    if any(target.vela_options for target in targets):
        yield _DISTRIBUTION, vela_version() or _LACKING


def has_micro() -> bool:
    """Return whether TensorFlow Lite Micro's interpreter is installed."""
    return importlib.util.find_spec("tflite_micro") is not None


@functools.cache
def vela_command() -> tuple[str, ...] | None:
    """Return the command that calls the compiler: that of this environment, or `vela` on the PATH; None without it."""
    if importlib.util.find_spec(_PACKAGE) and importlib.util.find_spec(_MODULE):
        return (sys.executable, "-m", _MODULE)
    executable = shutil.which(_EXECUTABLE)
    return (executable,) if executable else None


def vela_version() -> str:
    """Return the version of the compiler; empty if it is not installed, or does not say it."""
    command = vela_command()
    return _version(command) if command else ""


@functools.cache
def _version(command: tuple[str, ...]) -> str:
    if command[0] == sys.executable:
        return importlib.metadata.version(_DISTRIBUTION)
    asked = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    return asked.stdout.strip() if asked.returncode == 0 else ""
