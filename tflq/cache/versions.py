"""The packages whose change may change what is made of a recipe."""

from __future__ import annotations

from functools import cache
from importlib import metadata

PACKAGES = ("tflq", "tensorflow", "ai-edge-litert", "numpy", "keras", "tf-keras", "pillow")
TRAINING = ("tensorflow-model-optimization",)


def versions(trains: bool) -> dict[str, str]:
    """The version of each; `trains` says whether what trains models is among them."""
    return {package: _version(package) for package in (*PACKAGES, *(TRAINING if trains else ()))}


@cache
def _version(package: str) -> str:
    return metadata.version(package)
