"""V3, V4, V8, V9 and V10: the valid scales and zero points of a tensor, by its dtype and its operators."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tflq.flatbuffer import Graph, Quantization
from tflq.rules.effect import (
    ACTIVATION_SCALES,
    COPIED_SCALE,
    INT16_ZERO_POINT,
    KNOWN_RANGE,
    NO_SCALE,
    UNUSABLE_SCALE,
    UNUSUAL_SCALE,
    ZERO_POINT_RANGE,
)
from tflq.rules.violation import Place, Violation, places
from tflq.rules.weights import WEIGHTS

_RANGES = {"int4": (-8, 7), "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_USUAL_SCALES = (1e-7, 1e4)
_FIXED = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("TANH", "int8"): (1 / 128, 0),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
    ("LOG_SOFTMAX", "int8"): (1 / 16, 127),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
    ("TANH", "int16"): (1 / 32768, 0),
}
_TOLERANCE, _KNOWN_TOLERANCE = 1e-6, 1e-4
"""The relative differences of scales that are rounding; kernels for int16 take known scales within a thousandth."""
_COPY_ERROR = 0.125
"""The largest error, in steps, of a value that is copied to a tensor of another scale; less than rounding."""
_SOFTMAX_OF_INT8 = (1 / 65536, -32768)
"""The scale and zero point of a SOFTMAX that reads int8 and writes int16."""
_INTEGERS = frozenset({*_RANGES, "int32", "int64", "int2", "uint4", "uint16"})
_COPYING = frozenset(
    {
        *("AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "CONCATENATION", "DEPTH_TO_SPACE"),
        *("DYNAMIC_UPDATE_SLICE", "EXPAND_DIMS", "FILL", "GATHER", "GATHER_ND", "MAXIMUM", "MAX_POOL_2D", "MINIMUM"),
        *("MIRROR_PAD", "PACK", "PAD", "PADV2", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR"),
        *("RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SELECT", "SELECT_V2", "SLICE", "SPACE_TO_BATCH_ND"),
        *("SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TOPK_V2", "TRANSPOSE", "UNPACK"),
    }
)
"""Operators whose kernels copy integers, choose among them, or average them."""


def activations_are_per_tensor(graph: Graph) -> Iterator[Violation]:
    """V3: an activation has one scale. If it is int16, its zero point is 0."""
    for place in places(graph):
        if place.tensor.is_constant:
            continue
        if place.quantization.is_per_axis:
            yield place.breaks(
                ACTIVATION_SCALES, f"an activation with {len(place.quantization.scales)} scales: kernels use one"
            )
        has_zero_point = any(place.quantization.zero_points) and not _is_softmax_of_int8(place)
        if place.tensor.dtype == "int16" and has_zero_point:
            yield place.breaks(
                INT16_ZERO_POINT, f"int16 with zero point {place.quantization.zero_points[0]}: kernels assume 0"
            )


def scales_are_usable(graph: Graph) -> Iterator[Violation]:
    """V4: scales of integers are finite and above 0. Old converters also wrote scales of 0 for floats and strings."""
    for place in places(graph):
        scales = place.quantization.scales if place.tensor.dtype in _INTEGERS else ()
        unusable = [scale for scale in scales if not (math.isfinite(scale) and scale > 0)]
        if unusable:
            yield place.breaks(
                UNUSABLE_SCALE, f"has a scale of {unusable[0]:g}: with it integers cannot represent the values"
            )


def scales_are_usual(graph: Graph) -> Iterator[Violation]:
    """V4: warn of scales of activations that are far too small or too large."""
    scales = [(place, place.quantization.scales[0]) for place in places(graph) if place.quantization.scales]
    unusual = [
        (place, scale)
        for place, scale in scales
        if place.tensor.dtype in _INTEGERS
        and not place.tensor.is_constant
        and (0 < scale < _USUAL_SCALES[0] or _USUAL_SCALES[1] < scale < math.inf)
    ]
    for place, scale in unusual[:1]:
        others = f", and {len(unusual) - 1} more like it" if len(unusual) > 1 else ""
        values = "hardly differed from 0" if scale < 1 else "were in the millions"
        yield place.breaks(UNUSUAL_SCALE, f"has a scale of {scale:.2g}{others}: in calibration its values {values}")


def integers_have_scales(graph: Graph) -> Iterator[Violation]:
    """V4: an int8 or int16 tensor has a scale if its operator has weights, or another scaled tensor of that dtype."""
    without_scale: dict[tuple[int, int], Place] = {}
    for subgraph, operator in graph.operators():
        tensors = (*subgraph.read_by(operator), *subgraph.written_by(operator))
        scaled = {tensor.dtype for tensor in tensors if tensor.quantization}
        for tensor in tensors:
            needs_scale = operator.type in WEIGHTS or tensor.dtype in scaled
            if tensor.dtype in ("int8", "int16") and needs_scale and not tensor.quantization:
                without_scale.setdefault((subgraph.index, tensor.index), Place(subgraph, operator, tensor))
    for place in without_scale.values():
        yield place.breaks(NO_SCALE, f"{place.tensor.dtype} without a scale")


def known_ranges_are_used(graph: Graph) -> Iterator[Violation]:
    """V8: the output of an operator with a known range has the scale and zero point that its kernel writes."""
    for place in places(graph):
        expected = _FIXED.get((place.operator.type, place.tensor.dtype))
        if _is_softmax_of_int8(place):
            expected = _SOFTMAX_OF_INT8
        if expected is None or place.tensor.index not in place.operator.outputs:
            continue
        tolerance = _KNOWN_TOLERANCE if place.tensor.dtype == "int16" else _TOLERANCE
        if not _are_close(place.quantization, Quantization((expected[0],), (expected[1],)), tolerance):
            message = f"{_text(place.quantization)}: the kernel writes 1/{1 / expected[0]:g}, {expected[1]}"
            yield place.breaks(KNOWN_RANGE, message)


def copies_keep_their_scale(graph: Graph) -> Iterator[Violation]:
    """V9: if an operator copies integers, all its inputs and outputs have one scale and zero point."""
    for subgraph, operator in graph.operators():
        if operator.type not in _COPYING:
            continue
        tensors = (*subgraph.read_by(operator), *subgraph.written_by(operator))
        copied = [Place(subgraph, operator, tensor) for tensor in tensors if tensor.dtype in _RANGES]
        copied = [place for place in copied if place.quantization.scales]
        for place in copied[1:]:
            tolerance = _COPY_ERROR / max(map(abs, _RANGES[place.tensor.dtype]))
            if not _are_close(place.quantization, copied[0].quantization, tolerance):
                other = f"{_text(copied[0].quantization)} of {copied[0].tensor.name!r}"
                yield place.breaks(COPIED_SCALE, f"{_text(place.quantization)} beside {other}: the kernel only copies")


def zero_is_exact(graph: Graph) -> Iterator[Violation]:
    """V10: the dtype can hold the zero point, because padding and ReLU write it."""
    for place in places(graph):
        lowest, highest = _RANGES.get(place.tensor.dtype, (-math.inf, math.inf))
        outside = [point for point in place.quantization.zero_points if not lowest <= point <= highest]
        if outside:
            yield place.breaks(ZERO_POINT_RANGE, f"zero point {outside[0]}, which {place.tensor.dtype} cannot hold")


def _is_softmax_of_int8(place: Place) -> bool:
    """Return whether a SOFTMAX that reads int8 writes this int16 tensor. Its kernel has a zero point."""
    if place.operator.type != "SOFTMAX" or place.tensor.index not in place.operator.outputs:
        return False
    data = place.subgraph.input(place.operator, 0)
    return place.tensor.dtype == "int16" and data is not None and data.dtype == "int8"


def _are_close(first: Quantization, second: Quantization, tolerance: float = _TOLERANCE) -> bool:
    is_close = all(math.isclose(a, b, rel_tol=tolerance) for a, b in zip(first.scales, second.scales, strict=False))
    return is_close and len(first.scales) == len(second.scales) and first.zero_points == second.zero_points


def _text(quantization: Quantization) -> str:
    return f"scale {', '.join(f'{scale:.6g}' for scale in quantization.scales[:3])}, zero point" + (
        f" {', '.join(str(point) for point in quantization.zero_points[:3])}"
    )
