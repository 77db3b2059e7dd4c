"""The float-model kinds: to a SavedModel with one signature of known shapes, and to reference predictions."""

from __future__ import annotations

from tflq.sources.prepare import SIGNATURE, Described, Prepared, describe, prepare, reference
from tflq.sources.schema import KERAS_SUFFIXES, KINDS, Keras, Model, SavedModel, spelled_out
from tflq.sources.shapes import refuse_strangers

__all__ = [
    "KERAS_SUFFIXES",
    "KINDS",
    "SIGNATURE",
    "Described",
    "Keras",
    "Model",
    "Prepared",
    "SavedModel",
    "describe",
    "prepare",
    "reference",
    "refuse_strangers",
    "spelled_out",
]
