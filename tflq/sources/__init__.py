"""The float-model kinds: to a SavedModel with one signature of known shapes, and to reference predictions."""

from __future__ import annotations

from tflq.sources.kinds import Keras, Model, SavedModel
from tflq.sources.prepare import SIGNATURE, Described, Prepared, describe, prepare, reference
from tflq.sources.shapes import refuse_strangers

__all__ = [
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
]
