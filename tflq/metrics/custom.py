"""A metric that is a Python function of the user."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from tflq.errors import EvaluationError
from tflq.metrics.metric import mean
from tflq.strict import FunctionName, FunctionOfFolder, RecipePath
from tflq.worker import require_own_process


class Custom(FunctionOfFolder):
    """A Python function `fn(output, label) -> float` of one sample. The metric is its mean over samples."""

    EXAMPLE: ClassVar[str] = '{python: "module:function"}'
    """The metric as the recipes of `tflq init` and messages show it."""
    is_mean: ClassVar[bool] = True
    is_right_or_wrong: ClassVar[bool] = False

    python: FunctionName = Field(description="module:function, such as mypackage.metrics:dice")
    higher_is_better: bool = Field(
        True, description="`false` if lower is better, as for an error. Then a rise counts as a drop."
    )
    folder: RecipePath = Field(
        default=Path(),
        validate_default=True,
        description="Folder of the module. Default: the folder of the recipe.",
    )

    @property
    def name(self) -> str:
        return self.python

    def statistics(self, output: np.ndarray, label: np.ndarray) -> np.ndarray:
        return np.array([float(self._function()(output, label)), 1.0])

    def value(self, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return mean(rows, counts)

    def _function(self) -> Callable[[np.ndarray, np.ndarray], float]:
        require_own_process()  # it may change its process, and it may depend on what others changed
        module, _, name = self.python.partition(":")
        sys.path.insert(0, str(self.folder))
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise EvaluationError(f"metric {self.python}: cannot be imported from {self.folder}: {error}") from error
        finally:
            sys.path.remove(str(self.folder))
        return function  # type: ignore[no-any-return]
