"""Turns a float TensorFlow model into the .tflite files that ship: asked, made, checked, measured.

    from tflq import load, run

    result = run(load("recipe.yaml"))

Work is done in child processes, so a script that calls `run` needs the usual `if __name__ == "__main__":`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tflq.pipeline import Settings, run
    from tflq.recipe import load

__all__ = ["Settings", "load", "run"]


def __getattr__(name: str) -> Any:
    """Import on demand, since the command line answers `--help` without NumPy or pydantic."""
    if name == "load":
        from tflq.recipe import load

        return load
    if name in ("Settings", "run"):
        from tflq import pipeline

        return {"Settings": pipeline.Settings, "run": pipeline.run}[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
