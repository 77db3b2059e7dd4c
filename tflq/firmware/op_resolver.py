"""The calls that add the ops of a file to TensorFlow Lite Micro's `MicroMutableOpResolver`."""

from __future__ import annotations

from tflq.flatbuffer import Graph

_METHODS = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}
"""The methods whose names do not follow from the name of the op."""
_OF_CUSTOM_OPS = {"ethos-u": "AddEthosU", "TFLite_Detection_PostProcess": "AddDetectionPostprocess"}


def registrations(graph: Graph) -> tuple[str, ...]:
    """Return the name of a method for each type of op, by the name of the op.

    A custom op that the library does not have is `AddCustom`, with its name in quotes behind a space.
    """
    types = sorted({(operator.type, operator.is_custom) for _, operator in graph.operators()})
    return tuple(_custom(type_) if is_custom else method(type_) for type_, is_custom in types)


def method(type_: str) -> str:
    """Return the method for a built-in op, such as AddConv2D for CONV_2D."""
    return _METHODS.get(type_) or "Add" + "".join(part.capitalize() for part in type_.split("_")).replace("2d", "2D")


def _custom(type_: str) -> str:
    return _OF_CUSTOM_OPS.get(type_) or f'AddCustom "{type_}"'
