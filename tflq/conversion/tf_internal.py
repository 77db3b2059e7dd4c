"""The converter's inner parts, each used alone; the only file that touches what TensorFlow does not promise to keep.

The public converter loads a SavedModel four times for each file, and calibrates anew for each integer file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tflq.calibrate import Range, Samples
from tflq.conversion import int16_io, keep_float
from tflq.conversion.converter_errors import explaining
from tflq.conversion.tf_public import feed, set_up
from tflq.errors import ConversionError
from tflq.flatbuffer import Graph, edit, read
from tflq.modes import Float32, Int8, Int16x8, Mode
from tflq.op_selectors import select
from tflq.sources import SIGNATURE, Prepared
from tflq.worker import ProgressCallback

ALWAYS_ZERO = 1.0
"""The range of int16 activations that were zero throughout, which would otherwise get a scale of 0."""


def convert(_: ProgressCallback, prepared: Prepared, variant: Mode, target: Path) -> None:
    """Make the file of a variant that needs no ranges, as the public converter does but for its redundant loads.

    A source with fake quantization brings the ranges of int8 with it.
    """
    if variant.keep_float and variant.is_integer:
        raise ConversionError(
            "keep_float: the source holds fake quantization, as quantization-aware training leaves it, and that decides"
            " which ops stay in float: leave layers out of it there"
        )
    with explaining():
        made = _converted(prepared, variant)
        if variant.keep_float:
            plain = Float32(allow_custom_ops=variant.allow_custom_ops, select_tf_ops=variant.select_tf_ops)
            float32 = _converted(prepared, plain)
            made = keep_float.with_float_weights(made, float32, select(read(float32), variant.keep_float))
    target.write_bytes(made)


def _converted(prepared: Prepared, variant: Mode) -> bytes:
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.lite.python import conversion_metadata_schema_py_generated as kinds
    from tensorflow.lite.python import lite

    class Direct(lite.TFLiteSavedModelConverterV2):  # type: ignore[misc]
        @lite._export_metrics  # type: ignore[untyped-decorator]
        def convert(self) -> bytes:
            held = saved_model_pb2.SavedModel.FromString(Path(self.saved_model_dir, "saved_model.pb").read_bytes())
            made: bytes = self._convert_from_saved_model(held.meta_graphs[0].graph_def)
            return made

    converter = Direct(str(prepared.saved_model), {"serve"}, [SIGNATURE])
    converter._metadata.environment.modelType = kinds.ModelType.TF_SAVED_MODEL
    set_up(converter, prepared, variant)
    if variant.needs_ranges:  # the source's own; the converter would ask for data that it does not need
        converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS]
    made: bytes = converter.convert()
    return made


def calibrate(report: ProgressCallback, float32: Path, samples: Samples, target: Path) -> tuple[Range, ...]:
    """The ranges that TensorFlow's own calibrator finds, and at `target` the model that they are of.

    That is the float32 file with the tensors added that are within fused ops.
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
            if found := edit.range_of(tensor):
                yield Range(place, index, (tensor.name or b"").decode(), *found, *found)


def quantize(_: ProgressCallback, model: Path, ranges: Sequence[Range], variant: Mode, target: Path) -> tuple[int, ...]:
    """Make the integer file of a variant from the float32 model and the ranges of its activations.

    The answer is which ops of the file are in float because keep_float names them.
    """
    with explaining():
        made, places = _quantized(model.read_bytes(), ranges, variant)
    target.write_bytes(made)
    return places


def _quantized(content: bytes, ranges: Sequence[Range], variant: Mode) -> tuple[bytes, tuple[int, ...]]:
    from tensorflow.lite.python import convert as inner

    model = edit.unpack(content)
    for found in ranges:
        is_empty = found.minimum == found.maximum == 0 and variant.activations == "int16"
        low, high = (-ALWAYS_ZERO, ALWAYS_ZERO) if is_empty else (found.minimum, found.maximum)
        edit.set_range(model, (found.subgraph, found.tensor), low, high)
    chosen = select(read(content), variant.keep_float) if variant.keep_float else ()
    hidden = keep_float.hide_ops(model, chosen, _sides_in_int16(variant))
    make = _to_int16 if variant.activations == "int16" else _to_int8
    made, places = keep_float.restore_ops(make(model, variant), hidden)
    return _with_metadata(inner.deduplicate_readonly_buffers(made), variant), places


def _sides_in_int16(variant: Mode) -> list[int16_io.Side]:
    asked: dict[int16_io.Side, str] = {"inputs": variant.inference_input_type, "outputs": variant.inference_output_type}
    return [side for side, dtype in asked.items() if dtype == "int16"]


def _to_int8(model: Any, variant: Mode) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python import convert as inner

    made: bytes = inner.mlir_quantize(
        edit.pack(model),
        disable_per_channel=not variant.per_channel,
        input_data_type=tf.dtypes.as_dtype(variant.inference_input_type),
        output_data_type=tf.dtypes.as_dtype(variant.inference_output_type),
        disable_per_channel_for_dense_layers=not variant.per_channel_dense,
    )
    return made


def _to_int16(model: Any, variant: Mode) -> bytes:
    from tensorflow.lite.python.optimize import calibrator

    edit.unshare(model)
    content = edit.pack(model)  # which the calibrator reads on, and does not keep alive
    made: bytes = calibrator.Calibrator(content)._calibrator.QuantizeModel(
        np.dtype(variant.inference_input_type).num,
        np.dtype(variant.inference_output_type).num,
        not variant.is_strict or bool(variant.keep_float),
        np.dtype(np.int16).num,
        np.dtype(np.int64).num,
        not variant.per_channel,
        not variant.per_channel_dense,
    )
    return made


def _with_metadata(content: bytes, variant: Mode) -> bytes:
    """The file says how it was made, as the public converter lets it: until now it says so of the float32 file."""
    from tensorflow.lite.python import conversion_metadata_schema_py_generated as kinds
    from tensorflow.lite.python import util

    metadata = util.get_conversion_metadata(content)
    if metadata is None:
        return content
    made = kinds.ModelOptimizationMode
    metadata.options.modelOptimizationModes = [
        made.PTQ_INT16 if variant.activations == "int16" else made.PTQ_FULL_INTEGER
    ]
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    metadata.environment.modelHash = util.get_model_hash(model)
    return edit.pack(util.populate_conversion_metadata(model, metadata))


def missing_internals(_: ProgressCallback) -> str | None:
    """What is not as this file expects it, found by quantizing a model of one op; None where all is."""
    doubled = Range(0, 1, "y", -2.0, 2.0, -2.0, 2.0), Range(0, 0, "x", -1.0, 1.0, -1.0, 1.0)
    try:
        from tensorflow.lite.python import lite

        lite.TFLiteSavedModelConverterV2._convert_from_saved_model  # noqa: B018
        made = {mode: read(_quantized(_one_op(), doubled, mode())[0]) for mode in (Int8, Int16x8)}
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    in_float = [mode.activations for mode, graph in made.items() if not _is_integer(graph, mode.activations)]
    return f"quantizing to {in_float[0]} leaves a model of one op in float" if in_float else None


def _is_integer(graph: Graph, dtype: str) -> bool:
    return any(tensor.dtype == dtype for tensor in graph.subgraphs[0].tensors)


def _one_op() -> bytes:
    """A model that adds its input to itself."""
    tensors = [schema.TensorT(name=name, shape=[1, 4], hasRank=True) for name in (b"x", b"y")]
    add = schema.OperatorT(
        inputs=[0, 0],
        outputs=[1],
        builtinOptionsType=schema.BuiltinOptions.AddOptions,
        builtinOptions=schema.AddOptionsT(),
    )
    graph = schema.SubGraphT(tensors=tensors, inputs=[0], outputs=[1], operators=[add], name=b"main")
    codes = [schema.OperatorCodeT(builtinCode=schema.BuiltinOperator.ADD, version=1)]
    return edit.pack(schema.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], buffers=[schema.BufferT()]))
