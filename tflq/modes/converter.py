"""What is asked of the converter, whatever the mode."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tflq.strict import AsTuple, Strict


class Converter(Strict):
    """What is asked of the converter, whatever the mode."""

    allow_custom_ops: bool = Field(False, description="Let ops through that no TensorFlow Lite runtime knows.")
    select_tf_ops: bool = Field(False, description="Fall back to TensorFlow's own ops, which need the Flex runtime.")
    per_channel: bool = Field(True, description="One scale per channel for convolution and dense weights.")
    per_channel_dense: bool = Field(True, description="false: one scale for dense weights, for old TFLM and NNAPI.")
    keep_float: Annotated[tuple[str, ...], AsTuple] = Field(
        (), description="Op types or tensor-name globs to leave in float; not available yet."
    )
    bias_correction: Literal["auto", "on", "off"] = Field(
        "auto", description="auto never corrects in this version; on is not available yet."
    )

    @field_validator("keep_float")
    @classmethod
    def _keep_float_is_to_come(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value:
            raise ValueError("keeping single ops in float is not available in this version: leave this out")
        return value

    @field_validator("bias_correction")
    @classmethod
    def _bias_correction_is_to_come(cls, value: str) -> str:
        if value == "on":
            raise ValueError("bias correction is not available in this version: say off, or leave this out")
        return value
