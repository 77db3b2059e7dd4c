"""Metadata of a file that is edited."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

RUNTIME = b"min_runtime_version"
RUNTIME_BYTES = 16
"""The size of a version in the file, with zeros behind it."""


def add_metadata(model: Any, name: bytes, content: bytes) -> None:
    """Add an entry."""
    model.buffers.append(schema.BufferT(data=np.frombuffer(content, np.uint8)))
    model.metadata = [*(model.metadata or []), schema.MetadataT(name, len(model.buffers) - 1)]


def runtime_version(model: Any) -> str:
    """Return the oldest runtime version that has the ops of the model, or an empty string if the file does not say."""
    for entry in model.metadata or []:
        if entry.name == RUNTIME:
            return bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()
    return ""


def raise_runtime_version(model: Any, version: str) -> None:
    """Write this runtime version, unless the file says nothing or has a higher one."""
    present = runtime_version(model)
    if present and _parts(version) > _parts(present):
        (entry,) = (entry for entry in model.metadata if entry.name == RUNTIME)
        padded = version.encode().ljust(RUNTIME_BYTES, b"\0")
        model.buffers[entry.buffer] = schema.BufferT(data=np.frombuffer(padded, np.uint8))


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
