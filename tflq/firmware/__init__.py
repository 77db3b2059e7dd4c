"""Files for firmware beside the .tflite file: the I/O card, C++ source, golden vectors and a stripped file."""

from tflq.firmware.input_scales import input_scale_violations
from tflq.firmware.io_row import IoRow, code_lines, io_rows, with_preprocessing
from tflq.firmware.making import FirmwareFiles, file_inputs, make_artifacts, old_sources
from tflq.firmware.runtime_needs import runtime_needs
from tflq.firmware.schema import Artifacts
from tflq.firmware.strip import stripped

__all__ = [
    "Artifacts",
    "FirmwareFiles",
    "IoRow",
    "code_lines",
    "file_inputs",
    "input_scale_violations",
    "io_rows",
    "make_artifacts",
    "old_sources",
    "runtime_needs",
    "stripped",
    "with_preprocessing",
]
