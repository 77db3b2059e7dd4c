"""The modes with int8 weights and float activations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ValidationInfo, field_validator

from tflq.contract import (
    NO_OPS,
    FloatOp,
    NamedOps,
    broken,
    quantized_activations,
    unexpected_integers,
    unquantized_weights,
)
from tflq.modes.converter import Choice, Headroom
from tflq.modes.ignored import GRANULARITY, REFINEMENTS_OF_INTEGERS
from tflq.modes.post_training import REFINED, BaseMode, require_neutral
from tflq.weight_only import float_weights, hybrid_ops, missed_weights, outside_weights, wrong_blocks

if TYPE_CHECKING:
    from tflq.flatbuffer import Graph
    from tflq.rules.violation import Violation


class _Int8Weights(BaseMode):
    """A mode with int8 weights and float activations, whose biases may be corrected with samples."""

    ignored: ClassVar[tuple[str, ...]] = (*REFINEMENTS_OF_INTEGERS, "keep_int16", "sparse", "bias_type")
    starts_from_float32: ClassVar[bool] = True

    @property
    def reads_samples(self) -> bool:
        return self.bias_correction != "off"

    @field_validator(*REFINEMENTS_OF_INTEGERS)
    @classmethod
    def _needs_integer_activations(cls, value: Choice | Headroom, info: ValidationInfo) -> Choice | Headroom:
        mode = cls.model_fields["mode"].default
        if info.field_name not in cls.ignored:
            return value
        return require_neutral(value, info, f"has no effect in {mode}: use it with {REFINED}, or remove it")

    def _mode_violations(self, graph: Graph, _: NamedOps) -> Iterator[Violation]:
        for violation in unquantized_weights(graph):
            message = "is still a float32 file: keep_float leaves no weights that are large enough to quantize"
            yield broken("the file", message) if self.keep_float else violation
        yield from unexpected_integers(quantized_activations(graph))


class Dynamic(_Int8Weights):
    """Dynamic-range quantization: int8 weights, float32 activations. Some kernels quantize activations at run time."""

    mode: Literal["dynamic"] = "dynamic"

    def _set_options(self, converter: Any, tf: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]


class WeightOnly(_Int8Weights):
    """A mode whose weights become integers in the float32 file, after the converter."""

    def _set_options(self, converter: Any, tf: Any) -> None:
        pass  # the converter makes a float32 file

    def _mode_violations(self, graph: Graph, named: NamedOps) -> Iterator[Violation]:
        yield from super()._mode_violations(graph, named)
        yield from missed_weights(graph, named.in_float)
        yield from hybrid_ops(graph)
        yield from outside_weights(graph)

    def ops_in_float(self, graph: Graph, named: NamedOps = NO_OPS) -> tuple[FloatOp, ...]:
        return tuple(float_weights(graph, named.in_float))


class Weights8(WeightOnly):
    """Weight-only quantization: int8 weights that are converted to float32 once. No kernel quantizes activations."""

    mode: Literal["weights8"] = "weights8"


class Dynamic4(WeightOnly):
    """int4 weights of dense layers in blocks of 32, for models that are mostly dense layers. The rest is `weights8`."""

    ignored: ClassVar[tuple[str, ...]] = (
        *(*GRANULARITY, "keep_int16", "sparse", "bias_type"),
        *(key for key in REFINEMENTS_OF_INTEGERS if key != "rounding"),
    )
    mode: Literal["dynamic4"] = "dynamic4"

    @property
    def reads_samples(self) -> bool:
        return self.bias_correction != "off" or self.rounding == "on"

    @field_validator(*GRANULARITY)
    @classmethod
    def _has_blocks(cls, value: bool, info: ValidationInfo) -> bool:
        return require_neutral(value, info, "has no effect in dynamic4, whose int4 weights have scales of blocks")

    def _mode_violations(self, graph: Graph, named: NamedOps) -> Iterator[Violation]:
        yield from super()._mode_violations(graph, named)
        yield from wrong_blocks(graph)
