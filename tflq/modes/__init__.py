"""The modes: for each, what is asked of the converter, and the contract of the file that comes out.

The converter accepts almost anything and often makes something else in silence, so a mode's contract is checked on the
file itself.
"""

from tflq.modes.converter import Choice, Converter, Headroom
from tflq.modes.ignored import asks_for_nothing
from tflq.modes.kinds import (
    Dynamic,
    Float16,
    Float32,
    Int8,
    Int8Only,
    Int16x8,
    Int16x8Only,
    ModeName,
    default_name,
)
from tflq.modes.learned import QatInt8, QatInt8Only
from tflq.modes.variant import CALIBRATED, LEARNED, MODES, Mode, named

__all__ = [
    "CALIBRATED",
    "LEARNED",
    "MODES",
    "Choice",
    "Converter",
    "Dynamic",
    "Float16",
    "Float32",
    "Headroom",
    "Int8",
    "Int8Only",
    "Int16x8",
    "Int16x8Only",
    "Mode",
    "ModeName",
    "QatInt8",
    "QatInt8Only",
    "asks_for_nothing",
    "default_name",
    "named",
]
