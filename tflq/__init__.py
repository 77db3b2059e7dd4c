"""tflq converts a float TensorFlow model into .tflite files, checks each of them, and measures them.

    import tflq

    if __name__ == "__main__":
        result = tflq.convert("recipe.yaml")

docs/python-api.md describes what this package exports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tflq.errors import ConversionError, DatasetError, EvaluationError, RecipeError, SourceError, TflqError

if TYPE_CHECKING:
    from tflq.api import convert
    from tflq.pipeline import Settings, run
    from tflq.recipe import Recipe, load
    from tflq.result import Gate, Result, Variant
    from tflq.worker import Event, Finished, Listener, LogText, Progress, Started

__all__ = [
    "ConversionError",
    "DatasetError",
    "EvaluationError",
    "Event",
    "Finished",
    "Gate",
    "Listener",
    "LogText",
    "Progress",
    "Recipe",
    "RecipeError",
    "Result",
    "Settings",
    "SourceError",
    "Started",
    "TflqError",
    "Variant",
    "convert",
    "load",
    "run",
]

_MODULES = {
    "tflq.api": ("convert",),
    "tflq.pipeline": ("Settings", "run"),
    "tflq.recipe": ("Recipe", "load"),
    "tflq.result": ("Gate", "Result", "Variant"),
    "tflq.worker": ("Event", "Finished", "Listener", "Progress", "LogText", "Started"),
}
"""The names that are imported on first use, since `import tflq` must not import NumPy or pydantic."""


def __getattr__(name: str) -> Any:
    """Import an exported name on its first use."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
