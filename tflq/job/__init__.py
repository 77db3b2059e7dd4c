"""The stages of one run, each a call in worker processes: from values to values."""

from __future__ import annotations

from tflq.job.draft import Base, Draft, file_name
from tflq.job.known import Begun, Calibrations, Source
from tflq.job.make import Maker, make
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
