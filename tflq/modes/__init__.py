"""The modes. Each sets the options of the converter and has a contract for the resulting file.

TFLiteConverter often writes a file that is not what its options ask for, without an error. So the contract is checked
on the file itself.
"""

from tflq.modes.converter import REFINEMENTS, Choice, Converter, Headroom
from tflq.modes.guide import GUIDE, GUIDE_COLUMNS, ModeGuide
from tflq.modes.ignored import is_neutral
from tflq.modes.int8_weights import Dynamic, Dynamic4, WeightOnly, Weights8
from tflq.modes.int16x8 import Int16x8, Int16x8Only
from tflq.modes.post_training import (
    Float16,
    Float32,
    Int8,
    Int8Only,
    default_name,
)
from tflq.modes.qat import QatInt8, QatInt8Only
from tflq.modes.variant import (
    CALIBRATED,
    CORRECTABLE,
    MODE_NAMES,
    MODES,
    QAT_MODES,
    WITH_INT16_OPS,
    WITH_ROUNDING,
    Mode,
    ModeName,
    named,
)

__all__ = [
    "CALIBRATED",
    "CORRECTABLE",
    "GUIDE",
    "GUIDE_COLUMNS",
    "MODES",
    "MODE_NAMES",
    "QAT_MODES",
    "REFINEMENTS",
    "WITH_INT16_OPS",
    "WITH_ROUNDING",
    "Choice",
    "Converter",
    "Dynamic",
    "Dynamic4",
    "Float16",
    "Float32",
    "Headroom",
    "Int8",
    "Int8Only",
    "Int16x8",
    "Int16x8Only",
    "Mode",
    "ModeGuide",
    "ModeName",
    "QatInt8",
    "QatInt8Only",
    "WeightOnly",
    "Weights8",
    "default_name",
    "is_neutral",
    "named",
]
