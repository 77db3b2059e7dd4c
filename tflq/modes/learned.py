"""The kinds of mode whose ranges come out of quantization-aware training."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from tflq.modes.ignored import GRANULARITY, REFINEMENTS
from tflq.modes.kinds import INPUT_TYPE, OUTPUT_TYPE, Integer


class _Trained(Integer):
    """A mode whose ranges were learned: they are in the model, and nothing is calibrated."""

    needs_ranges: ClassVar[bool] = False
    ignored: ClassVar[tuple[str, ...]] = (*GRANULARITY, "keep_float", *REFINEMENTS)
    trained: bool = Field(True, description="Always so.")

    @field_validator("trained")
    @classmethod
    def _is_trained(cls, value: bool) -> bool:
        if not value:
            raise ValueError("what is learned is always of the trained model: leave this out")
        return value

    def _ask(self, converter: Any, tf: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # and no other set of ops: that would want samples


class QatInt8(_Trained):
    """int8, with scales that quantization-aware training learned; layers left out of it stay in float."""

    io_types: ClassVar[tuple[str, ...]] = ("float32", "int8", "uint8")
    mode: Literal["qat_int8"] = "qat_int8"


class QatInt8Only(_Trained):
    """int8 throughout by quantization-aware training; a single op in float breaks the contract."""

    io_types: ClassVar[tuple[str, ...]] = ("int8", "uint8", "float32")
    is_strict: ClassVar[bool] = True
    mode: Literal["qat_int8_only"] = "qat_int8_only"
    inference_input_type: str = Field("int8", description=INPUT_TYPE)
    inference_output_type: str = Field("int8", description=OUTPUT_TYPE)
