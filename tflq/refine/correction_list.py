"""All corrections."""

from __future__ import annotations

from tflq.modes import REFINEMENTS
from tflq.refine.bias_correction import BIAS_CORRECTION
from tflq.refine.correction import Correction, LayerwiseCorrection, ModelCorrection
from tflq.refine.cross_layer_equalization import EQUALIZATION
from tflq.refine.range_levels import HEADROOM
from tflq.refine.rounding import ROUNDING

CORRECTIONS: tuple[Correction, ...] = (BIAS_CORRECTION, HEADROOM, EQUALIZATION, ROUNDING)
"""In the order in which `auto` compares them. Rounding takes longest, so it is fitted to few models."""
BY_KEY = {key: next(each for each in CORRECTIONS if each.key == key) for key in REFINEMENTS}
"""In the order of the keys in recipes, which is that in reports."""
SWITCHES = tuple(key for key in BY_KEY if key != HEADROOM.key)
"""The keys of corrections that are on or off: all but headroom."""
MODEL_CORRECTIONS = tuple(each for each in CORRECTIONS if isinstance(each, ModelCorrection))
LAYERWISE_CORRECTIONS = tuple(
    sorted(
        (each for each in CORRECTIONS if isinstance(each, LayerwiseCorrection)),
        key=lambda each: "weights" not in each.changes,
    )
)
"""In the order in which they are applied to a layer: a bias makes up for the errors of all weights."""
