"""Internal functions of the converter, each called alone. No other file uses TensorFlow's internal functions.

The public converter loads a SavedModel four times for each file, and calibrates again for each integer file.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.tools import flatbuffer_utils

from tflq.calibrate.ranges import Range
from tflq.calibrate.samples import Samples
from tflq.contract import NO_OPS, NamedOps
from tflq.conversion import int16_io, keep_float, keep_int16, known_ops, loop_bodies
from tflq.conversion.comparisons import with_equal_steps
from tflq.conversion.converter_errors import explaining
from tflq.conversion.int32_biases import with_int32_biases
from tflq.conversion.lstm_scales import with_equal_scales
from tflq.conversion.quantizer_ranges import mark_zeros, set_ranges, with_zeros, without_zero_scales
from tflq.conversion.tf_public import feed, set_up
from tflq.conversion.unsupported_ops import unsupported_ops
from tflq.conversion.weight_only import with_integer_weights
from tflq.errors import ConversionError
from tflq.flatbuffer import edit, read
from tflq.modes import Float32, Int16x8, Mode, WeightOnly
from tflq.op_selectors import select
from tflq.sources.prepared import SIGNATURE, PreparedSource
from tflq.worker import ProgressCallback

OPTIMIZATIONS = {
    "dynamic": "PTQ_DYNAMIC_RANGE",
    "float16": "PTQ_FLOAT16",
    "int8": "PTQ_FULL_INTEGER",
    "int8_only": "PTQ_FULL_INTEGER",
    "int16x8": "PTQ_INT16",
    "int16x8_only": "PTQ_INT16",
}
"""The names by mode in the metadata of the file, which has none for weight-only modes."""


def convert(_: ProgressCallback, prepared: PreparedSource, variant: Mode, target: Path) -> NamedOps:
    """Write the file of a variant that needs no calibration, as the public converter does, without redundant loads.

    Return the ops of a weight-only file that keep_float names. A source with fake-quantize ops has the
    ranges of int8 in it. A .tflite source is the float32 file itself. ConversionError, with cause and remedy, if
    TensorFlow fails.
    """
    if prepared.is_tflite:
        assert isinstance(variant, Float32)
        shutil.copyfile(prepared.path, target)
        return NO_OPS
    _refuse_named_ops(variant)
    with explaining(variant.select_tf_ops):
        content = _convert(prepared, variant)
        if isinstance(variant, WeightOnly):
            return write_weight_only(content, variant, target)
        if variant.keep_float:
            plain = Float32(allow_custom_ops=variant.allow_custom_ops, select_tf_ops=variant.select_tf_ops)
            float32 = _convert(prepared, plain)
            content = keep_float.with_float_weights(content, float32, select(read(float32), variant.keep_float))
        write_file(content, variant, target)
    return NO_OPS


def write_file(content: bytes, variant: Mode, target: Path) -> None:
    """Write the file, with sparse weights if the variant asks for them."""
    from tensorflow.lite.python import convert as inner

    with explaining():
        target.write_bytes(bytes(inner.mlir_sparsify(content)) if variant.sparse == "on" else content)


def _refuse_named_ops(variant: Mode) -> None:
    """Raise ConversionError if an integer variant of a source with fake-quantize ops names ops."""
    if variant.is_integer and variant.keep_float:
        raise ConversionError(
            "keep_float: the source has fake-quantize ops of quantization-aware training, which decide which ops stay"
            " in float. Remove keep_float, and leave those layers out of quantization-aware training"
        )
    if variant.is_integer and variant.keep_int16:
        raise ConversionError(
            "keep_int16: the source has fake-quantize ops of quantization-aware training, which decide the bits of each"
            " op. Remove keep_int16, or convert a source without them"
        )


def write_weight_only(float32: bytes, variant: Mode, target: Path) -> NamedOps:
    """Write the file of a weight-only mode, and return its ops that keep_float names."""
    content, kept_ops = with_integer_weights(float32, variant)
    target.write_bytes(with_metadata(content, variant))
    return NamedOps(kept_ops)


def _convert(prepared: PreparedSource, variant: Mode) -> bytes:
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.lite.python import conversion_metadata_schema_py_generated as kinds
    from tensorflow.lite.python import lite

    class Direct(lite.TFLiteSavedModelConverterV2):  # type: ignore[misc]
        @lite._export_metrics  # type: ignore[untyped-decorator]
        def convert(self) -> bytes:
            stored = saved_model_pb2.SavedModel.FromString(Path(self.saved_model_dir, "saved_model.pb").read_bytes())
            content: bytes = self._convert_from_saved_model(stored.meta_graphs[0].graph_def)
            return content

    converter = Direct(str(prepared.path), {"serve"}, [SIGNATURE])
    converter._metadata.environment.modelType = kinds.ModelType.TF_SAVED_MODEL
    set_up(converter, prepared, variant)
    if variant.needs_ranges:  # the ranges are in the source, but the converter would ask for samples
        converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS]
    content: bytes = converter.convert()
    return content


def calibrate(report: ProgressCallback, float32: Path, samples: Samples, target: Path) -> tuple[Range, ...]:
    """Return the ranges by TensorFlow's calibrator, and write the model that they belong to to `target`.

    That model is the float32 file with additional tensors for the intermediate values of fused ops.
    """
    from tensorflow.lite.python.optimize import calibrator

    with explaining():
        content = calibrator.add_intermediate_tensors(float32.read_bytes())
        calibrated = calibrator.Calibrator(content).calibrate(feed(report, samples))
    target.write_bytes(content)
    return tuple(_ranges(edit.unpack(calibrated)))


def _ranges(model: Any) -> Iterator[Range]:
    for place, subgraph in enumerate(model.subgraphs):
        for index, tensor in enumerate(subgraph.tensors):
            if ends := edit.range_of(tensor):
                yield Range(place, index, (tensor.name or b"").decode(), *ends, *ends)


def quantize(_: ProgressCallback, model: Path, ranges: Sequence[Range], variant: Mode, target: Path) -> NamedOps:
    """Write the integer file of a variant from the float32 model and the ranges of its activations.

    Return the ops of the file that keep_float and keep_int16 name. RecipeError or ConversionError, with cause and
    remedy, if they name the wrong ops or if TensorFlow fails.
    """
    with explaining():
        content, named = quantize_bytes(model.read_bytes(), ranges, variant)
        content = complete(content, variant)
    write_file(content, variant, target)
    return named


def quantize_to_compare(model: Path, ranges: Sequence[Range], variant: Mode, target: Path) -> None:
    """Write a file that has the outputs of the file of `quantize`, but no metadata. It raises the same errors."""
    with explaining():
        content, _ = quantize_bytes(model.read_bytes(), ranges, variant)
    target.write_bytes(content)


def complete(content: bytes, variant: Mode) -> bytes:
    """Return the file of `quantize_bytes` with equal constants stored once, and with metadata."""
    from tensorflow.lite.python import convert as inner

    return with_metadata(bytes(inner.deduplicate_readonly_buffers(content)), variant)


def quantize_bytes(content: bytes, ranges: Sequence[Range], variant: Mode) -> tuple[bytes, NamedOps]:
    """Return the integer file without metadata, and its ops that keep_float and keep_int16 name."""
    model, graph, sides = edit.unpack(content), read(content), _int16_sides(variant)
    set_ranges(model, ranges, variant.activations == "int16")
    in_float = select(graph, variant.keep_float) if variant.keep_float else frozenset()
    wide = keep_int16.named_int16_ops(graph, variant, in_float) if variant.keep_int16 else frozenset()
    inside = variant.model_copy(update={"inference_input_type": "float32", "inference_output_type": "float32"})
    loops = loop_bodies.detach_loops(model, graph, in_float, lambda body: quantize_all(body, inside))
    unseen = in_float | wide | unsupported_ops(graph, variant.activations, sides)
    hidden = keep_float.hide_ops(model, unseen, sides, loops.operators)
    quantized, places = keep_float.restore_ops(quantize_all(model, variant), hidden)
    quantized, places = with_equal_steps(quantized, places, in_float)
    quantized, places = loop_bodies.reattach_loops(quantized, places, in_float, loops)
    if wide:
        alone = _wide_ops(content, ranges, variant, wide)
        release = variant.inference_output_type == "int16"
        quantized, moved = keep_int16.with_int16_ops(quantized, alone, [places[op] for op in sorted(wide)], release)
        places = {op: moved[place] for op, place in places.items()}
    named = NamedOps(*(tuple(sorted(places[op] for op in ops if op in places)) for ops in (in_float, wide)))
    return quantized, named


def quantize_all(model: Any, variant: Mode) -> bytes:
    """Return the integer file of a float model that has ranges. Ops stay in float only if the quantizer decides so."""
    known_ops.write_products(model)
    content = _to_int16(model, variant) if variant.activations == "int16" else _to_int8(model, variant)
    return with_equal_steps(content)[0]


def _wide_ops(content: bytes, ranges: Sequence[Range], variant: Mode, ops: Collection[int]) -> bytes:
    """Return a file of those ops alone, in 16 bits. Their ranges hold all observed values, also what 8 bits clip."""
    model = edit.unpack(content)
    whole = [
        replace(each, minimum=min(each.minimum, each.lowest), maximum=max(each.maximum, each.highest))
        for each in ranges
    ]
    set_ranges(model, whole, is_int16=True)
    granularity = Int16x8(
        per_channel=variant.per_channel, per_channel_dense=variant.per_channel_dense, bias_type="int64"
    )
    return keep_int16.quantize_alone(model, ops, lambda extracted: _to_int16(extracted, granularity))


def _int16_sides(variant: Mode) -> list[int16_io.Side]:
    """Return the sides whose int16 tensors a float op may read or write. keep_int16 makes those of an int8 file."""
    if variant.activations != "int16":
        return []
    dtypes: dict[int16_io.Side, str] = {
        "inputs": variant.inference_input_type,
        "outputs": variant.inference_output_type,
    }
    return [side for side, dtype in dtypes.items() if dtype == "int16"]


def _to_int8(model: Any, variant: Mode) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python import convert as inner

    is_wide = variant.inference_output_type == "int16"  # ops in 16 bits write such outputs
    content: bytes = inner.mlir_quantize(
        edit.pack(model),
        disable_per_channel=not variant.per_channel,
        input_data_type=tf.dtypes.as_dtype(variant.inference_input_type),
        output_data_type=tf.dtypes.as_dtype("float32" if is_wide else variant.inference_output_type),
        disable_per_channel_for_dense_layers=not variant.per_channel_dense,
    )
    return with_equal_scales(content)


def _to_int16(model: Any, variant: Mode) -> bytes:
    from tensorflow.lite.python.optimize import calibrator

    known_ops.own_constants(model)
    hidden = known_ops.hide_selections(model)
    edit.drop_unused_codes(model)  # the quantizer registers only the ops in use
    edit.unshare(model)
    zeros = mark_zeros(model)
    content = edit.pack(model)  # the calibrator reads these bytes later, but holds no reference to them
    quantized: bytes = calibrator.Calibrator(content)._calibrator.QuantizeModel(
        np.dtype(variant.inference_input_type).num,
        np.dtype(variant.inference_output_type).num,
        True,  # the contract of a strict mode names all ops in float, where the quantizer names the first
        np.dtype(np.int16).num,
        np.dtype(np.int64).num,
        not variant.per_channel,
        not variant.per_channel_dense,
    )
    quantized = known_ops.restore_selections(without_zero_scales(with_zeros(quantized, zeros)), hidden)
    has_int32_biases = variant.bias_type == "int32" or (variant.bias_type == "auto" and isinstance(variant, Int16x8))
    return with_int32_biases(quantized) if has_int32_biases else quantized


def with_metadata(content: bytes, variant: Mode) -> bytes:
    """Return the file with metadata about its quantization, as the public converter writes it.

    The metadata that the file has is that of the float32 file.
    """
    from tensorflow.lite.python import conversion_metadata_schema_py_generated as kinds
    from tensorflow.lite.python import util

    metadata = util.get_conversion_metadata(content)
    if metadata is None:
        return content
    modes = [OPTIMIZATIONS[variant.mode]] if variant.mode in OPTIMIZATIONS else []
    metadata.options.modelOptimizationModes = [getattr(kinds.ModelOptimizationMode, name) for name in modes]
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    metadata.environment.modelHash = util.get_model_hash(model)
    return edit.pack(util.populate_conversion_metadata(model, metadata))
