"""The kinds of float model, their copies with one signature and known shapes, and their predictions in TensorFlow."""

from __future__ import annotations

from tflq.sources.fused_lstm import write_fused
from tflq.sources.keras_file import Keras
from tflq.sources.outputs import end_model, notes_about
from tflq.sources.prepare import describe, prepare, reference
from tflq.sources.prepared import EXPORTED, SIGNATURE, PreparedSource, SourceDescription
from tflq.sources.saved_model import GRAPH_FILES, SavedModel
from tflq.sources.schema import (
    FILE_SUFFIXES,
    KIND_CLASSES,
    KINDS,
    Model,
    TFLite,
    is_converted_from_tflite,
    kind_of,
    spelled_out,
)
from tflq.sources.shapes import refuse_strangers
from tflq.sources.tflite_file import PREPARED_TFLITE, outputs_of

__all__ = [
    "EXPORTED",
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
    "end_model",
    "is_converted_from_tflite",
    "kind_of",
    "notes_about",
    "outputs_of",
    "prepare",
    "reference",
    "refuse_strangers",
    "spelled_out",
    "write_fused",
]
