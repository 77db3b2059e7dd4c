"""The kinds of dataset. Each class has the YAML keys of a kind, and three methods.

`count()` returns the number of rows, or None if it is unknown. `rows(indices, specs)` yields the rows at increasing
indices. `files()` returns the files that the rows depend on, or None if they are unknown. All raise DatasetError if the
data cannot be read.
"""

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
