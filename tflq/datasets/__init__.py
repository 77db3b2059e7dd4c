"""The kinds of dataset. Each class has the YAML keys of a kind and the members of `DatasetKind`."""

from tflq.datasets.dataset import DATASETS, KINDS, Dataset
from tflq.datasets.python import Python
from tflq.datasets.random import Random
from tflq.datasets.rows import RandomRow, Row, Sample, TensorSpec, brackets
from tflq.datasets.sampling import Selection, select

__all__ = [
    "DATASETS",
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
