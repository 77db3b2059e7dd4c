"""The choice of ranges as a refinement: their headroom, and the method that they are selected by."""

from __future__ import annotations

from tflq.calibrate.schema import Method, Percentile
from tflq.modes import Headroom
from tflq.refine.correction import Correction

HEADROOM = Correction(key="headroom", in_words="ranges", searched_values=("expected", 1.0))
HEADROOM_OF_INT16 = 2.0
"""The factor of all ranges of int16 activations if headroom is auto; it costs one bit of sixteen."""
RANGE_LEVELS: tuple[tuple[Headroom, Method | None], ...] = (
    (1.0, None),
    ("expected", None),
    ("expected", "mse"),
    (1.0, Percentile(percentile=99.999)),
    (1.0, Percentile(percentile=99.99)),
)
"""The headroom and the method of ranges that `auto` chooses from; the method None is that of the recipe."""
