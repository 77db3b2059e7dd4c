"""The modes without training: the options of the converter, and the contract of the resulting file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from typing_extensions import Self

from tflq.activation_widths import wrong_widths
from tflq.contract import (
    NO_OPS,
    FloatOp,
    NamedOps,
    broken,
    float_ops,
    has_integer_op,
    left_in_float,
    outside_ops,
    tensors,
    unexpected_integers,
    weights_left_in_float,
)
from tflq.modes.converter import REFINEMENTS, Choice, Converter, Headroom
from tflq.modes.ignored import GRANULARITY, SELECTORS, is_neutral, refuse_in_schema
from tflq.strict import FileName, did_you_mean

if TYPE_CHECKING:
    from tflq.flatbuffer import Graph
    from tflq.rules.violation import Violation

T = TypeVar("T")
REFINED = "int8, int8_only, int16x8 or int16x8_only"
"""The modes that support every refinement."""
TRAINED = "trained_"
"""Prefix of the default name of a variant with `trained: true`."""


def _extend_schema(schema: dict[str, Any], kind: type[BaseMode]) -> None:
    """Make the JSON Schema refuse what the validators refuse, so that editors mark it."""
    schema["required"] = ["mode"]
    for side in ("inference_input_type", "inference_output_type"):
        schema["properties"][side]["enum"] = list(kind.io_types)
    schema["properties"]["inference_output_type"]["enum"] += kind.wide_outputs
    refuse_in_schema(schema["properties"], kind.ignored)
    if kind.model_fields["trained"].default:
        schema["properties"]["trained"]["enum"] = [True]


INPUT_TYPE = "Type of the inputs that are float32 in the model."
OUTPUT_TYPE = "Type of the outputs that are float32 in the model."


def default_name(mode: str, is_trained: bool) -> str:
    """Return the name of a variant that has none in the recipe."""
    return mode if mode.startswith("qat_") or not is_trained else TRAINED + mode


class BaseMode(Converter):
    """A variant: a mode with a name, the types of its inputs and outputs, and converter options."""

    model_config = ConfigDict(json_schema_extra=_extend_schema)

    needs_ranges: ClassVar[bool] = False
    """Whether activation ranges are computed from calibration samples."""
    starts_from_float32: ClassVar[bool] = False
    """Whether the file can be made from the float32 file, which differs only in its weights."""
    is_integer: ClassVar[bool] = False
    """Whether activations are integers, so that the report lists ops that stay in float."""
    io_types: ClassVar[tuple[str, ...]] = ("float32",)
    wide_outputs: ClassVar[tuple[str, ...]] = ()
    """Further types of outputs, if ops that keep_int16 names write them."""
    activations: ClassVar[str] = "float32"
    is_strict: ClassVar[bool] = False
    """Whether an op in float breaks the contract."""
    ignored: ClassVar[tuple[str, ...]] = ("keep_int16", "sparse", "bias_type")
    """Converter options that have no effect in this mode."""

    mode: str = ""
    name: FileName = Field(
        "", description="End of the file name. Default: the mode, with `trained_` in front if `trained` is true."
    )
    trained: bool = Field(False, description="Convert the pruned or clustered model instead of the given one.")
    inference_input_type: str = Field("float32", description=INPUT_TYPE)
    inference_output_type: str = Field("float32", description=OUTPUT_TYPE)

    @field_validator("inference_input_type", "inference_output_type")
    @classmethod
    def _is_possible(cls, value: str, info: ValidationInfo) -> str:
        types = (*cls.io_types, *(cls.wide_outputs if info.field_name == "inference_output_type" else ()))
        if value not in types:
            mode, possible = cls.model_fields["mode"].default, ", ".join(types)
            raise ValueError(
                f"mode {mode} does not support {value!r}; it supports {possible}{did_you_mean(value, types)}"
            )
        return value

    @field_validator("sparse")
    @classmethod
    def _can_be_sparse(cls, value: str, info: ValidationInfo) -> str:
        mode = cls.model_fields["mode"].default
        reason = f"is not possible in {mode}: use it with float32, int8, int8_only, qat_int8 or qat_int8_only"
        return require_neutral(value, info, reason) if "sparse" in cls.ignored else value

    @field_validator("bias_type")
    @classmethod
    def _has_16_bit_activations(cls, value: str, info: ValidationInfo) -> str:
        reason = (
            f"has no effect in {cls.model_fields['mode'].default}: use it with int16x8 or int16x8_only, or remove it"
        )
        return require_neutral(value, info, reason) if "bias_type" in cls.ignored else value

    @field_validator("keep_int16")
    @classmethod
    def _has_8_bit_activations(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        reason = f"has no effect in {cls.model_fields['mode'].default}: use it with int8 or int8_only, or remove it"
        return require_neutral(value, info, reason) if "keep_int16" in cls.ignored else value

    def model_post_init(self, _: Any) -> None:
        if not self.name:
            self.__dict__["name"] = default_name(self.mode, self.trained)

    @property
    def activation_bits(self) -> int:
        """Bits of integer activations."""
        return 16 if self.activations == "int16" else 8

    @property
    def reads_samples(self) -> bool:
        """Whether this variant uses calibration samples if there are any."""
        return self.needs_ranges

    def with_defaults(self, converter: Converter) -> Self:
        """Return the variant. Options that it does not set are those of `converter`."""
        own = self.model_fields_set | set(self.ignored)
        return self.model_copy(update={k: getattr(converter, k) for k in Converter.model_fields if k not in own})

    def configure(self, converter: Any) -> None:
        """Set the options of TFLiteConverter for this mode, except calibration data."""
        import tensorflow as tf

        converter.allow_custom_ops = self.allow_custom_ops
        converter._experimental_disable_per_channel = not self.per_channel
        converter._experimental_disable_per_channel_quantization_for_dense_layers = not self.per_channel_dense
        converter.inference_input_type = tf.dtypes.as_dtype(self.inference_input_type)
        converter.inference_output_type = tf.dtypes.as_dtype(self.inference_output_type)
        self._set_options(converter, tf)
        if self.select_tf_ops:
            converter.target_spec.supported_ops = [*converter.target_spec.supported_ops, tf.lite.OpsSet.SELECT_TF_OPS]

    def _set_options(self, converter: Any, tf: Any) -> None:
        raise NotImplementedError

    def violations(self, graph: Graph, named: NamedOps = NO_OPS) -> Iterator[Violation]:
        """Yield each violation of this mode's contract. `named` are the ops that the recipe names."""
        yield from outside_ops(graph, self.allow_custom_ops, self.select_tf_ops)
        yield from self._mode_violations(graph, named)

    def _mode_violations(self, graph: Graph, named: NamedOps) -> Iterator[Violation]:
        raise NotImplementedError

    def ops_in_float(self, graph: Graph, named: NamedOps = NO_OPS) -> tuple[FloatOp, ...]:
        """Return the ops that the report lists as left in float."""
        return tuple(float_ops(graph, named.in_float)) if self.is_integer else ()

    def input_dtype(self, source: str) -> str:
        """The dtype that an input of the file should have if the model's input has the dtype `source`."""
        return self.inference_input_type if source == "float32" else source

    def output_dtype(self, source: str) -> str:
        """The dtype that an output of the file should have if the model's output has the dtype `source`."""
        return self.inference_output_type if source == "float32" else source


def require_neutral(value: T, info: ValidationInfo, reason: str) -> T:
    """Return the value if it changes nothing. Otherwise raise ValueError with the reason."""
    if not is_neutral(info.field_name or "", value):
        raise ValueError(reason)
    return value


class _Floating(BaseMode):
    """A mode without integers and without calibration samples."""

    ignored: ClassVar[tuple[str, ...]] = (*GRANULARITY, *SELECTORS, *REFINEMENTS, "sparse", "bias_type")

    @field_validator(*GRANULARITY)
    @classmethod
    def _has_no_scales(cls, value: bool, info: ValidationInfo) -> bool:
        return require_neutral(
            value, info, "has no effect in float32 and float16, whose weights have no scales: remove it"
        )

    @field_validator(*REFINEMENTS)
    @classmethod
    def _needs_samples(cls, value: Choice | Headroom, info: ValidationInfo) -> Choice | Headroom:
        reason = f"needs calibration samples: use it with {REFINED}, or remove it"
        return require_neutral(value, info, reason)

    @field_validator("keep_float")
    @classmethod
    def _quantizes_no_ops(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        reason = "has no effect in float32 and float16, which quantize no ops: remove it"
        return require_neutral(value, info, reason)


class Float32(_Floating):
    """Weights and activations are float32. Every variant is compared with this float32 baseline."""

    starts_from_float32: ClassVar[bool] = True
    ignored: ClassVar[tuple[str, ...]] = (*GRANULARITY, *SELECTORS, *REFINEMENTS, "bias_type")
    mode: Literal["float32"] = "float32"

    def _set_options(self, converter: Any, tf: Any) -> None:
        pass

    def _mode_violations(self, graph: Graph, _: NamedOps) -> Iterator[Violation]:
        yield from unexpected_integers(tensor for tensor in tensors(graph) if tensor.quantization)
        for tensor in tensors(graph):
            if tensor.dtype == "float16":
                yield broken(tensor.name, "is float16, but all tensors should be float32")


class Float16(_Floating):
    """float16 weights, half the size of float32. Computation is float32 unless a delegate supports float16."""

    starts_from_float32: ClassVar[bool] = True
    mode: Literal["float16"] = "float16"

    def _set_options(self, converter: Any, tf: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    def _mode_violations(self, graph: Graph, _: NamedOps) -> Iterator[Violation]:
        if not any(tensor.is_constant and tensor.dtype == "float16" for tensor in tensors(graph)):
            yield broken("the file", "has no float16 constant, so nothing became smaller")
        yield from unexpected_integers(tensor for tensor in tensors(graph) if tensor.quantization)


class Integer(BaseMode):
    """A mode with integer activations, whose ranges are computed from calibration samples."""

    needs_ranges: ClassVar[bool] = True
    is_integer: ClassVar[bool] = True
    activations: ClassVar[str] = "int8"

    def _mode_violations(self, graph: Graph, named: NamedOps) -> Iterator[Violation]:
        if not has_integer_op(graph, self.activations) and not named.in_int16:
            yield broken("the file", f"has no {self.activations} op at all: it computes in float")
        kept = named.in_float
        whole, most = left_in_float(graph, kept), weights_left_in_float(graph, self.activations, kept)
        yield from whole if self.is_strict else most
        if self.activations == "int8":
            yield from wrong_widths(graph, named.in_int16)


class Int8(Integer):
    """int8 weights and activations. Ops without an int8 kernel stay in float."""

    io_types: ClassVar[tuple[str, ...]] = ("float32", "int8", "uint8")
    wide_outputs: ClassVar[tuple[str, ...]] = ("int16",)
    ignored: ClassVar[tuple[str, ...]] = ("bias_type",)
    mode: Literal["int8"] = "int8"

    def _set_options(self, converter: Any, tf: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]


class Int8Only(Integer):
    """int8 throughout, also inputs and outputs. An op in float is an error unless `keep_float` names it."""

    io_types: ClassVar[tuple[str, ...]] = ("int8", "uint8", "float32")
    wide_outputs: ClassVar[tuple[str, ...]] = ("int16",)
    ignored: ClassVar[tuple[str, ...]] = ("bias_type",)
    is_strict: ClassVar[bool] = True
    mode: Literal["int8_only"] = "int8_only"
    inference_input_type: str = Field("int8", description=INPUT_TYPE)
    inference_output_type: str = Field("int8", description=OUTPUT_TYPE)

    def _set_options(self, converter: Any, tf: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
