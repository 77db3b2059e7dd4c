"""The dataset kinds: each a model of its YAML keys, with `count()` and `rows()`."""

from tflq.datasets.dataset import KINDS, Dataset
from tflq.datasets.python import Python
from tflq.datasets.random import Random
from tflq.datasets.rows import RandomRow, Row, Sample, TensorSpec, brackets
from tflq.datasets.sampling import Selection, select

__all__ = [
    "KINDS",
    "Dataset",
    "Python",
    "Random",
    "RandomRow",
    "Row",
    "Sample",
    "Selection",
    "TensorSpec",
    "brackets",
    "select",
]
