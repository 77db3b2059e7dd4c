"""The modes whose ranges are learned by quantization-aware training."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from tflq.modes.converter import REFINEMENTS
from tflq.modes.ignored import GRANULARITY, SELECTORS
from tflq.modes.post_training import INPUT_TYPE, OUTPUT_TYPE, Integer


class _QatVariant(Integer):
    """A mode with learned ranges. They are in the trained model, so nothing is calibrated."""

    needs_ranges: ClassVar[bool] = False
    ignored: ClassVar[tuple[str, ...]] = (*GRANULARITY, *SELECTORS, *REFINEMENTS, "bias_type")
    trained: bool = Field(True, description="These modes always convert the trained model.")

    @field_validator("trained")
    @classmethod
    def _is_trained(cls, value: bool) -> bool:
        if not value:
            raise ValueError("qat_int8 and qat_int8_only always use the trained model: remove this key")
        return value

    def _set_options(self, converter: Any, tf: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # another set of ops would need samples


class QatInt8(_QatVariant):
    """int8 with ranges learned by quantization-aware training. Layers that are not trained stay in float."""

    io_types: ClassVar[tuple[str, ...]] = ("float32", "int8", "uint8")
    mode: Literal["qat_int8"] = "qat_int8"


class QatInt8Only(_QatVariant):
    """int8 throughout, also inputs and outputs, with learned ranges. Any op in float is an error."""

    io_types: ClassVar[tuple[str, ...]] = ("int8", "uint8", "float32")
    is_strict: ClassVar[bool] = True
    mode: Literal["qat_int8_only"] = "qat_int8_only"
    inference_input_type: str = Field("int8", description=INPUT_TYPE)
    inference_output_type: str = Field("int8", description=OUTPUT_TYPE)
