"""Converter options that all modes share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from tflq.strict import AsTuple, Strict, or_words


def _as_selector(value: Any) -> Any:
    if value is None or value == "":
        raise ValueError("is empty. If you meant #12: YAML reads # as the start of a comment, so write 12 or '#12'")
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return f"#{value}" if is_number else value


Selector = Annotated[
    str,
    BeforeValidator(_as_selector),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 0}]}),
]
"""A name, pattern or number of ops of the float32 file."""


Choice = Literal["auto", "on", "off"]
Headroom = Literal["expected"] | Annotated[float, Field(ge=1, le=8)]


class FileOptions(Strict):
    """Options of the file: its kinds of ops, the granularity of its weights, and what single ops compute in."""

    allow_custom_ops: bool = Field(False, description="Allow custom ops. The runtime needs a kernel for each of them.")
    select_tf_ops: bool = Field(
        False, description="Allow TensorFlow ops where TensorFlow Lite has none. They need the Flex runtime."
    )
    per_channel: bool = Field(
        True,
        description="Use one scale per output channel for weights of convolutions and dense layers. `false`: one scale"
        " per tensor.",
    )
    per_channel_dense: bool = Field(
        True, description="`false`: use one scale per tensor for dense weights, as old versions of TFLM and NNAPI need."
    )
    keep_float: Annotated[tuple[Selector, ...], AsTuple] = Field(
        (),
        description="Ops that stay in float, by type (`SOFTMAX`), layer or scope (`block_1/conv`), tensor-name pattern"
        ' (`"*/Softmax"`) or number (`12`). `tflq ops` lists them.',
    )
    keep_int16: Annotated[tuple[Selector, ...], AsTuple] = Field(
        (),
        description="Ops of an int8 file that get 16-bit activations, named as in `keep_float`. They stay integer.",
    )
    sparse: Literal["on", "off"] = Field(
        "off",
        description="`on`: store weights with many zeros sparsely, as pruning makes them. Sparse int8 weights need a"
        " runtime without LiteRT's default delegate.",
    )
    bias_type: Literal["auto", "int32", "int64"] = Field(
        "auto",
        description="Type of the biases beside int16 activations. `int32`: in CONV_2D and FULLY_CONNECTED where no sum"
        " can exceed it, for which LiteRT has faster kernels since runtime 2.15. `int64`: in all ops, as the stock"
        " converter does. `auto`: `int32` in int16x8, `int64` in int16x8_only.",
    )


class Converter(FileOptions):
    """Converter options. Not every mode supports all of them."""

    bias_correction: Choice = Field(
        "auto",
        description="Bias correction: remove the mean error that weight rounding adds to each layer. `auto` decides on"
        " hold-out calibration samples.",
    )
    rounding: Choice = Field(
        "auto",
        description="GPTQ: round the weights of a layer so that the error of the layer's output is small. With int16"
        " activations, layers also compensate for the errors of earlier layers. `auto`: decided like `bias_correction`,"
        " and off if that is off.",
    )
    equalization: Choice = Field(
        "auto",
        description="Cross-layer equalization: scale channels between layers so that one activation scale fits all."
        " `auto`: decided like `rounding`; off for int16, and for large models with few samples, for which it"
        " takes too long.",
    )
    headroom: Annotated[Literal["auto"] | Headroom, or_words("a number from 1 to 8", "auto", "expected")] = Field(
        "auto",
        description="Widen activation ranges for unseen data. A number multiplies every range. `expected`: estimate a"
        " factor from 1 to 2 for each end of a range from how much calibration samples differ. `auto`: for int8,"
        " `expected` unless it loses on hold-out samples; for int16, 2. With `bias_correction: off`, 1.",
    )


REFINEMENTS = tuple(key for key in Converter.model_fields if key not in FileOptions.model_fields)
"""Options that change the float model, or its ranges, before it is quantized. Each is in `refine.CORRECTIONS`, too."""
