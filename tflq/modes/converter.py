"""What is asked of the converter, whatever the mode."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from tflq.strict import AsTuple, Strict, or_words


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


Choice = Literal["auto", "on", "off"]
Headroom = Literal["expected"] | Annotated[float, Field(ge=1, le=8)]


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
    bias_correction: Choice = Field(
        "auto",
        description="Take out of each bias what rounded weights add to the output's mean. auto: this and all below"
        " that is left at auto, where calibration samples held back come out nearer to the float model so, or less of"
        " it where that is better; in dynamic, too, where the recipe has calibration.",
    )
    rounding: Choice = Field(
        "auto",
        description="Round the weights of a layer together, so that its output changes least; on, off, or auto as"
        " bias_correction has it, and off where that is off.",
    )
    equalization: Choice = Field(
        "auto",
        description="Bring the channels of an activation nearer in size, the layers around it taking it back; on, off,"
        " or auto as rounding has it, which for int16 is off.",
    )
    headroom: Annotated[Literal["auto"] | Headroom, or_words("a number from 1 to 8", "auto", "expected")] = Field(
        "auto",
        description="How many times as wide as calibrated the ranges of activations are made, since other data has"
        " larger values. expected: from 1 to 2 for each end that leaves nothing out, for the least squared error to"
        " be expected of other samples, by how much those of calibration differ there. auto: expected for int8, where"
        " samples held back come out nearer so; 2 for int16, which costs one bit of 16; 1 where bias_correction is"
        " off.",
    )
