"""Write other ranges into an int8 file, in place of another run of the quantizer.

Two int8 files of one model with the same weights differ only in the scales of activations, and in the biases, whose
scale is that of the input times that of the weights. The quantizer is called again for all files of which this is not
certain.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from tflq.calibrate.ranges import Range
from tflq.flatbuffer import ROLES, FileContent, Graph, Operator, Subgraph, Tensor, edit, read
from tflq.refine.operator_pairs import CONVERSIONS, operator_pairs

LEAST, STEPS = -128, 255
"""The least int8, and the number of steps from it to the largest."""
LARGEST_BIAS = 2**29
"""The largest absolute value of a bias in steps for which the quantizer certainly leaves the weights as they are."""
SAME_SCALE = 1e-5
"""The largest relative difference of scales that are the same but for float rounding."""


@dataclass(frozen=True)
class Int8Scale:
    """The quantization of an int8 activation."""

    scale: float
    zero_point: int

    @staticmethod
    def of(range_: Range) -> Int8Scale:
        """Return what the quantizer writes for the range: that of Jacob et al. 2018 (arXiv:1712.05877, section 3)."""
        low, high = float(np.float32(min(range_.minimum, 0.0))), float(np.float32(max(range_.maximum, 0.0)))
        scale = float(np.float32((high - low) / STEPS))
        zero_point = LEAST - low / scale if scale else 0.0
        return Int8Scale(scale, int(zero_point + math.copysign(0.5, zero_point)))  # a half is rounded away from 0

    def is_that_of(self, tensor: Tensor) -> bool:
        """Whether the tensor has this quantization, but for float rounding."""
        stored = tensor.quantization
        if tensor.dtype != "int8" or stored is None or len(stored.scales) != 1:
            return False
        is_same_scale = abs(stored.scales[0] - self.scale) <= SAME_SCALE * self.scale
        return is_same_scale and stored.first_zero_point == self.zero_point


@dataclass(frozen=True)
class _OpBias:
    """The bias of one op of the int8 file."""

    place: tuple[int, int]
    """The index of the op in the int8 file, and the position of the bias among its inputs."""
    real: Tensor
    """The bias in the float32 file."""
    stored: Tensor
    """The bias in the int8 file."""
    weights: Tensor
    activation: Tensor

    @property
    def weight_scales(self) -> tuple[float, ...]:
        return self.weights.quantization.scales if self.weights.quantization else ()

    def activation_scale(self, scales: Mapping[int, Int8Scale]) -> float:
        """Return the new scale of the input, or its own one if its op defines it."""
        if self.activation.index in scales:
            return scales[self.activation.index].scale
        return self.activation.quantization.scales[0] if self.activation.quantization else 0.0


@dataclass(frozen=True)
class _Files:
    """The int8 file and its float32 file, whose ops correspond."""

    float32: Subgraph
    quantized: Subgraph
    pairs: Mapping[int, Operator]
    """The op of the int8 file, by the index of that of the float32 file."""

    def biases(self) -> Iterator[_OpBias]:
        """Yield the bias of each op whose activation and weights are integers, and whose weights are constant."""
        for operator in self.float32.operators:
            other, roles = self.pairs[operator.index], ROLES.get(operator.type)
            if roles is None:
                continue
            real, stored = self.float32.input(operator, roles.bias), self.quantized.input(other, roles.bias)
            weights, activation = (self.quantized.input(other, each) for each in (roles.weights, roles.activation))
            if real and stored and weights and activation and real.is_constant and weights.is_constant:
                yield _OpBias((other.index, roles.bias), real, stored, weights, activation)

    def activations(self) -> dict[int, Tensor]:
        """Return the tensor of the int8 file for each float32 activation, by its index in the float32 file."""
        found: dict[int, Tensor] = {}
        for operator in self.float32.operators:
            other = self.pairs[operator.index]
            places = [*zip(operator.inputs, other.inputs), *zip(operator.outputs, other.outputs)]  # noqa: B905
            for index, place in places:
                if index >= 0 and place >= 0 and not self.float32.tensors[index].is_constant:
                    found[index] = self.quantized.tensors[place]
        return {index: tensor for index, tensor in found.items() if self.float32.tensors[index].dtype == "float32"}


def with_other_ranges(
    quantized: bytes, float32: FileContent, before: Sequence[Range], after: Sequence[Range]
) -> bytes | None:
    """Return the int8 file with the ranges `after`; None if it is not certain that the quantizer would write it.

    The file has the ranges `before`, and the weights and biases of the float32 file.
    """
    files = _files(read(quantized), read(float32))
    if files is None:
        return None
    scales = _scales(files, before, after)
    if scales is None or not _is_certain(files, scales):
        return None
    model = edit.unpack(quantized)
    for index, new in scales.items():
        stored = model.subgraphs[0].tensors[index].quantization
        stored.scale, stored.zeroPoint = [new.scale], [new.zero_point]
    for bias in files.biases():
        bias_scales = bias.activation_scale(scales) * np.array(bias.weight_scales)
        values = np.rint(np.asarray(bias.real.data, np.float64) / bias_scales)
        if max(np.abs(each).max(initial=0) for each in (values, np.asarray(bias.stored.data))) > LARGEST_BIAS:
            return None
        edit.set_constant(model, bias.place, values)
        model.subgraphs[0].tensors[bias.stored.index].quantization.scale = bias_scales.tolist()
    return edit.pack(model)


def _files(quantized: Graph, float32: Graph) -> _Files | None:
    """Return both files if they have one subgraph each, the same ops, and conversions at inputs and outputs alone."""
    if len(quantized.subgraphs) > 1 or len(float32.subgraphs) > 1:
        return None
    (inner,), (outer,) = quantized.subgraphs, float32.subgraphs
    pairs = operator_pairs(outer, inner)
    ends = {*inner.inputs, *inner.outputs}
    for operator in inner.operators:
        tensors = [*inner.read_by(operator), *inner.written_by(operator)]
        is_at_end = any(tensor.index in ends and tensor.dtype == "float32" for tensor in tensors)
        if operator.intermediates or (operator.type in CONVERSIONS and not is_at_end):
            return None
    return None if pairs is None else _Files(outer, inner, pairs)


def _scales(files: _Files, before: Sequence[Range], after: Sequence[Range]) -> dict[int, Int8Scale] | None:
    """Return the new quantization of each int8 activation, by its index; None if one has another than that of `before`.

    Activations whose op defines the scale keep it, and are left out.
    """
    old, new = ({range_.tensor: range_ for range_ in ranges if not range_.subgraph} for ranges in (before, after))
    scales: dict[int, Int8Scale] = {}
    for index, tensor in files.activations().items():
        if index in old and old[index].is_fixed:
            continue
        if index not in old or index not in new or not Int8Scale.of(old[index]).is_that_of(tensor):
            return None
        if scales.setdefault(tensor.index, Int8Scale.of(new[index])) != Int8Scale.of(new[index]):
            return None
    return scales if all(each.scale > 0 for each in scales.values()) else None


def _is_certain(files: _Files, scales: Mapping[int, Int8Scale]) -> bool:
    """Return whether the new scales suit each op: what had one scale, as some kernels need, has one scale again.

    A layer with weights needs no equal scales. Its input and output often have one scale by chance, as after ReLU6.
    A constant keeps its scale, so nothing is certain about an activation that has the scale of a constant of its op.
    All integers whose scale depends on an activation must be known: they are biases that one op reads.
    """
    subgraph = files.quantized
    biases = {bias.stored.index for bias in files.biases()}
    readers = Counter(index for operator in subgraph.operators for index in operator.inputs)
    if any(readers[index] > 1 for index in biases) or any(tensor.is_variable for tensor in subgraph.tensors):
        return False
    for operator in subgraph.operators:
        inputs, outputs = subgraph.read_by(operator), subgraph.written_by(operator)
        if any(each.dtype == "int32" and each.quantization and each.index not in biases for each in inputs):
            return False
        integers = [each for each in (*inputs, *outputs) if each.quantization and each.index not in biases]
        for one, other in combinations(integers if operator.type not in ROLES else (), 2):
            if one.quantization == other.quantization and scales.get(one.index) != scales.get(other.index):
                return False
    return True
