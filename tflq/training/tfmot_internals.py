"""Objects of TensorFlow Model Optimization that its public interface does not have."""

from __future__ import annotations

import importlib
from typing import Any

PREFIX = "tensorflow_model_optimization.python.core"


def internal(module: str, name: str) -> Any:
    """Return the object of that name in that module below `PREFIX`."""
    return getattr(importlib.import_module(f"{PREFIX}.{module}"), name)
