"""Take out of a file what no kernel reads: names of tensors, metadata, empty buffers."""

from __future__ import annotations

from typing import Any

from tflq import flatbuffer
from tflq.errors import EvaluationError
from tflq.flatbuffer import edit

KEPT_METADATA = (b"OfflineMemoryAllocation", b"reduced_precision_support")
"""Metadata that changes how a runtime runs the file."""


def stripped(content: bytes) -> bytes:
    """Return the file without names, descriptions, metadata and empty buffers.

    Signatures keep the names of inputs and outputs. Without a signature, the tensors of inputs and outputs keep them.
    EvaluationError if the file has constants behind the flatbuffer.
    """
    if flatbuffer.read(content).outside_buffers:
        raise EvaluationError("it cannot be stripped, because its constants are stored behind the flatbuffer")
    model = edit.unpack(content)
    model.description = model.metadataBuffer = None
    model.metadata = [entry for entry in model.metadata or [] if entry.name in KEPT_METADATA] or None
    for place, subgraph in enumerate(model.subgraphs):
        ends = {*subgraph.inputs, *subgraph.outputs} if place == 0 and not model.signatureDefs else set()
        subgraph.name = None
        for index, tensor in enumerate(subgraph.tensors):
            if index not in ends:
                tensor.name = None
    _join_empty_buffers(model)
    edit.drop_unused_buffers(model)
    return edit.pack(model)


def _join_empty_buffers(model: Any) -> None:
    """Let all tensors without contents refer to the first buffer, which is empty by definition."""
    if model.buffers[0].data is not None and len(model.buffers[0].data):
        return  # in a file of another maker, the first buffer may have contents
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            if not edit.is_constant(model, tensor):
                tensor.buffer = 0
