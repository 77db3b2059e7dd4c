"""The kinds of float model, their copies with one signature and known shapes, and their predictions in TensorFlow."""

from __future__ import annotations

from tflq.sources.prepare import describe, prepare, reference
from tflq.sources.prepared import SIGNATURE, PreparedSource, SourceDescription
from tflq.sources.schema import (
    FILE_SUFFIXES,
    GRAPH_FILES,
    KIND_CLASSES,
    KINDS,
    Keras,
    Model,
    SavedModel,
    TFLite,
    kind_of,
    spelled_out,
)
from tflq.sources.shapes import refuse_strangers
from tflq.sources.tflite_file import PREPARED_TFLITE

__all__ = [
    "FILE_SUFFIXES",
    "GRAPH_FILES",
    "KINDS",
    "KIND_CLASSES",
    "PREPARED_TFLITE",
    "SIGNATURE",
    "Keras",
    "Model",
    "PreparedSource",
    "SavedModel",
    "SourceDescription",
    "TFLite",
    "describe",
    "kind_of",
    "prepare",
    "reference",
    "refuse_strangers",
    "spelled_out",
]
