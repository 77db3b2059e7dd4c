"""The stages of one run, each a call in worker processes: from values to values."""

from __future__ import annotations

from tflq.job.draft import Base, Draft, file_name
from tflq.job.make import Begun, Calibrations, Maker, Source, make
from tflq.job.measure import Judge
from tflq.job.shelf import FLOAT32, Shelf
from tflq.job.trained import with_trained

__all__ = [
    "FLOAT32",
    "Base",
    "Begun",
    "Calibrations",
    "Draft",
    "Judge",
    "Maker",
    "Shelf",
    "Source",
    "file_name",
    "make",
    "with_trained",
]
