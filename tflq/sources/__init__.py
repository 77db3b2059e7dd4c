"""The kinds of float model, their export as a SavedModel with known shapes, and their predictions in TensorFlow."""

from __future__ import annotations

from tflq.sources.prepare import SIGNATURE, PreparedSource, SourceDescription, describe, prepare, reference
from tflq.sources.schema import GRAPH_FILES, KERAS_SUFFIXES, KINDS, Keras, Model, SavedModel, spelled_out
from tflq.sources.shapes import refuse_strangers

__all__ = [
    "GRAPH_FILES",
    "KERAS_SUFFIXES",
    "KINDS",
    "SIGNATURE",
    "Keras",
    "Model",
    "PreparedSource",
    "SavedModel",
    "SourceDescription",
    "describe",
    "prepare",
    "reference",
    "refuse_strangers",
    "spelled_out",
]
