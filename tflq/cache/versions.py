"""The packages whose versions may change the results of a recipe."""

from __future__ import annotations

from functools import cache
from importlib import metadata

PACKAGES = ("tflq", "tensorflow", "ai-edge-litert", "numpy", "keras", "tf-keras", "pillow")
TRAINING = ("tensorflow-model-optimization",)


def versions(trains: bool) -> dict[str, str]:
    """Return the version of each package. If `trains`, the packages for training are included."""
    return {package: _version(package) for package in (*PACKAGES, *(TRAINING if trains else ()))}


@cache
def _version(package: str) -> str:
    return metadata.version(package)
