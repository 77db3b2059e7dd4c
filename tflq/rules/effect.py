"""The effects of broken rules: the runtimes that refuse the file or answer wrongly.

This was found by running planted files in LiteRT 2.3.0, with and without XNNPACK, and in TensorFlow Lite Micro, on
x86_64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Effect:
    """A way to break a rule. It is an error if a runtime refuses the file or answers wrongly."""

    rule: str
    fact: str
    """The fault in a few words."""
    severity: Severity
    runtimes: str
    """The runtimes that suffer, and how they do."""


WEIGHT_ZERO_POINT = Effect(
    "V1", "weights with a zero point", "error", "LiteRT refuses the file; TensorFlow Lite Micro takes it as 0"
)
DENSE_ZERO_POINT = Effect(
    "V1",
    "dense int8 weights with a zero point beside int8 activations",
    "warning",
    "against the specification; LiteRT and TensorFlow Lite Micro use it",
)
LOWEST_WEIGHT = Effect(
    "V1",
    "weights of -128, or of -8 in int4",
    "warning",
    "against the specification; LiteRT and TensorFlow Lite Micro answer rightly on x86_64; kernels that add two"
    " products in 16 bits overflow",
)
ZERO_POINT_COUNT = Effect(
    "V2",
    "another number of zero points than of scales",
    "error",
    "LiteRT refuses the file; TensorFlow Lite Micro does not",
)
SCALE_DIMENSION = Effect(
    "V2", "scales along a dimension that does not have as many indices", "error", "LiteRT refuses the file"
)
BIAS_DIMENSION = Effect(
    "V2",
    "scales of a bias along a dimension that it does not have, as old converters wrote",
    "warning",
    "LiteRT refuses the file; TensorFlow Lite Micro does not read the dimension and answers rightly",
)
CHANNEL_DIMENSION = Effect(
    "V2",
    "scales of weights along another dimension than the channels",
    "error",
    "LiteRT and TensorFlow Lite Micro refuse",
)
ACTIVATION_SCALES = Effect(
    "V3",
    "an activation with several scales",
    "error",
    "LiteRT answers wrongly; TensorFlow Lite Micro uses the first one",
)
INT16_ZERO_POINT = Effect(
    "V3", "an int16 activation with a zero point", "error", "LiteRT and TensorFlow Lite Micro refuse"
)
UNUSABLE_SCALE = Effect(
    "V4", "a scale of 0, below 0, NaN or infinite", "error", "LiteRT and TensorFlow Lite Micro abort or answer wrongly"
)
UNUSUAL_SCALE = Effect("V4", "a scale far too small or too large", "warning", "")
NO_SCALE = Effect("V4", "integers without a scale", "error", "LiteRT and TensorFlow Lite Micro abort or answer wrongly")
BIAS_TYPE = Effect("V5", "a bias of another dtype", "error", "LiteRT refuses the file")
BIAS_ZERO_POINT = Effect(
    "V5", "a bias with a zero point", "error", "LiteRT with XNNPACK refuses; TensorFlow Lite Micro takes it as 0"
)
BIAS_SCALE_COUNT = Effect(
    "V5", "another number of scales of the bias than of the weights", "error", "LiteRT with XNNPACK refuses"
)
BIAS_SCALE = Effect(
    "V6", "a bias with another scale than the products", "error", "all runtimes add its integers as they are"
)
CLIPPED_BIAS = Effect("V6", "a bias that is clipped to int32", "error", "all runtimes answer wrongly")
LARGE_BIAS = Effect("V6", "a bias close to the limit of int32", "warning", "sums may overflow in all runtimes")
SHARED_BIAS = Effect("V7", "a bias that several ops share and that fits one", "error", "all runtimes answer wrongly")
SHARED_CONSTANT = Effect("V7", "constants of several sizes in one buffer", "error", "all runtimes answer wrongly")
KNOWN_RANGE = Effect(
    "V8",
    "another scale than the one that the kernel writes",
    "error",
    "LiteRT and TensorFlow Lite Micro refuse most of them",
)
COPIED_SCALE = Effect(
    "V9",
    "an op that copies integers to another scale",
    "error",
    "LiteRT and TensorFlow Lite Micro refuse, or answer wrongly",
)
ZERO_POINT_RANGE = Effect(
    "V10",
    "a zero point that the dtype cannot hold",
    "error",
    "LiteRT with XNNPACK refuses or crashes; other kernels answer wrongly",
)
SIGNATURE = Effect(
    "V12", "a signature that does not fit its subgraph", "error", "calls by signature fail; calls by index do not"
)
TOO_LARGE = Effect("V12", "a file of 2 GB or more", "error", "most runtimes refuse the file")
LOST_VARIABLE = Effect(
    "V15", "a variable that is read but never assigned", "error", "LiteRT fails, or answers with what is in memory"
)
EFFECTS = tuple(value for value in list(globals().values()) if isinstance(value, Effect))
"""All ways to break a rule, in the order of the rules."""
