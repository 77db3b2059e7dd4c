"""Rewrite Normalization and Rescaling as layers of one op each, so that a range fits between the ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

KINDS = ("Normalization", "Rescaling")


def is_rescaling(layer: Any) -> bool:
    return layer.__class__.__name__ in KINDS


def rescaled(layer: Any, x: Any) -> Any:
    """Return the output of a Normalization or Rescaling, computed by a Rescaling for each op.

    The last Rescaling has the name of the layer.
    """
    import tf_keras

    steps = list(_steps(layer)) or [("scale", 1.0)]
    for number, (option, value) in enumerate(steps, 1):
        name = layer.name if number == len(steps) else f"{layer.name}_{option}"
        factors = {"scale": 1.0, "offset": 0.0} | {option: np.asarray(value, np.float32).tolist()}
        x = tf_keras.layers.Rescaling(**factors, name=name)(x)
    return x


def _steps(layer: Any) -> Iterator[tuple[str, Any]]:
    """Yield the ops in their order: `scale` multiplies, and `offset` adds. An op without effect is left out."""
    is_normalization = layer.__class__.__name__ == "Normalization"
    if is_normalization:
        mean, deviation = np.asarray(layer.mean), np.maximum(np.sqrt(layer.variance), np.float32(1e-7))
        ops = [("offset", -mean), ("scale", 1 / deviation)]
        ops = [("scale", deviation), ("offset", mean)] if layer.invert else ops
    else:
        ops = [("scale", layer.scale), ("offset", layer.offset)]
    neutral = {"scale": 1.0, "offset": 0.0}
    yield from (op for op in ops if not np.all(np.equal(op[1], neutral[op[0]])))
