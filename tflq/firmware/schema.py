"""The recipe's `artifacts`: what is made beside the .tflite files."""

from __future__ import annotations

from pydantic import Field

from tflq.strict import Strict


class Artifacts(Strict):
    """Files for firmware, and what is taken out of the .tflite files. This holds for every variant."""

    c_array: bool = Field(
        False,
        description="Write each file as C++ source for TensorFlow Lite Micro, with the size of its arena, its ops, its"
        " scales, and golden vectors.",
    )
    strip: bool = Field(
        False,
        description="Take names of tensors, empty buffers and metadata out of each file. Its outputs stay the same.",
    )
