"""What is asked of the converter, whatever the mode."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from tflq.strict import AsTuple, Strict


def _as_selector(value: Any) -> Any:
    if value is None or value == "":
        raise ValueError(
            "names nothing; a number with # stands in quotes, since # begins a comment: '#12', or 12 alone"
        )
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return f"#{value}" if is_number else value


Selector = Annotated[
    str,
    BeforeValidator(_as_selector),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}),
]
"""Names ops of the float32 file."""


class Converter(Strict):
    """What is asked of the converter, whatever the mode."""

    allow_custom_ops: bool = Field(False, description="Let ops through that no TensorFlow Lite runtime knows.")
    select_tf_ops: bool = Field(False, description="Fall back to TensorFlow's own ops, which need the Flex runtime.")
    per_channel: bool = Field(True, description="One scale per channel for convolution and dense weights.")
    per_channel_dense: bool = Field(True, description="false: one scale for dense weights, for old TFLM and NNAPI.")
    keep_float: Annotated[tuple[Selector, ...], AsTuple] = Field(
        (),
        description="Ops that stay in float: types (SOFTMAX), layers or scopes (block_1/conv), tensor-name globs"
        ' (`"*/Softmax"`), numbers (12 or `"#12"`), all as `tflq ops` lists them.',
    )
    bias_correction: Literal["auto", "on", "off"] = Field(
        "auto", description="auto never corrects in this version; on is not available yet."
    )

    @field_validator("bias_correction")
    @classmethod
    def _bias_correction_is_to_come(cls, value: str) -> str:
        if value == "on":
            raise ValueError("bias correction is not available in this version: say off, or leave this out")
        return value
