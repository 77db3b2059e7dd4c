"""The modes with int8 weights and int16 activations in every op."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from tflq.modes.post_training import INPUT_TYPE, OUTPUT_TYPE, Integer


class Int16x8(Integer):
    """int8 weights and int16 activations. Ops without such a kernel stay in float."""

    io_types: ClassVar[tuple[str, ...]] = ("float32", "int16")
    activations: ClassVar[str] = "int16"
    ignored: ClassVar[tuple[str, ...]] = ("keep_int16", "sparse")
    mode: Literal["int16x8"] = "int16x8"

    def _set_options(self, converter: Any, tf: Any) -> None:
        ops = tf.lite.OpsSet
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [
            ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            ops.TFLITE_BUILTINS,
        ]


class Int16x8Only(Integer):
    """int16x8 throughout, also inputs and outputs. An op in float is an error unless `keep_float` names it."""

    io_types: ClassVar[tuple[str, ...]] = ("int16", "float32")
    activations: ClassVar[str] = "int16"
    ignored: ClassVar[tuple[str, ...]] = ("keep_int16", "sparse")
    is_strict: ClassVar[bool] = True
    mode: Literal["int16x8_only"] = "int16x8_only"
    inference_input_type: str = Field("int16", description=INPUT_TYPE)
    inference_output_type: str = Field("int16", description=OUTPUT_TYPE)

    def _set_options(self, converter: Any, tf: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        only = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [only]
