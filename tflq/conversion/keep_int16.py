"""Put ops in 16 bits: they are quantized alone, and take the place of ops that stayed in float in the int8 file.

Each op gets the form that the 16-bit quantizer gives it: int16 activations, int8 weights and an int64 bias. A QUANTIZE
op converts between 8 and 16 bits, so nothing is in float between them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tflq.contract import ADAPTORS
from tflq.conversion.keep_float import OPTIONS
from tflq.errors import ConversionError, RecipeError
from tflq.flatbuffer import Graph, edit, read
from tflq.flatbuffer.metadata import raise_runtime_version, runtime_version
from tflq.modes import Mode
from tflq.op_dtypes import PRODUCTS, QUANTIZABLE
from tflq.op_selectors import select

QUANTIZE, DEQUANTIZE = (2, "1.15.0"), (3, "1.15.0")
"""The versions of the ops that convert to and from int16, and the first runtime that has them."""
SUFFIX = b"_int16"
"""The end of the names that the quantizer gives to int16 tensors beside float tensors of the same name."""
INT16, FLOAT32 = schema.TensorType.INT16, schema.TensorType.FLOAT32


def named_int16_ops(graph: Graph, variant: Mode, in_float: Collection[int]) -> frozenset[int]:
    """Return the indices of the ops that keep_int16 names and that compute with floats.

    RecipeError if a selector names no op, one without a 16-bit kernel, or one that must stay in float.
    """
    (subgraph, *_) = graph.subgraphs
    named = [subgraph.operators[index] for index in sorted(select(graph, variant.keep_int16, "keep_int16"))]
    computing = [
        op for op in named if op.type not in PRODUCTS and any(tensor.is_float for tensor in subgraph.written_by(op))
    ]
    in_both = [f"{op.type} #{op.index}" for op in computing if op.index in in_float]
    if in_both:
        raise RecipeError(f"keep_int16 and keep_float both name {_listed(in_both)}: remove them from one of the two")
    missing = [f"{op.type} #{op.index}" for op in computing if op.type not in QUANTIZABLE["int16"]]
    if missing:
        raise RecipeError(
            f"keep_int16: there is no kernel with 16-bit activations for {_listed(missing)}. Name other ops, or keep"
            " these in float with keep_float"
        )
    return frozenset(op.index for op in computing)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def quantize_alone(model: Any, ops: Collection[int], to_int16: Callable[[Any], bytes]) -> bytes:
    """Return a file of those ops of the float32 model alone, in 16 bits. Its inputs and outputs are float.

    The ranges of the model must be set. ConversionError if the quantizer leaves an op in float.
    """
    types = _extract(model, ops)
    made = to_int16(model)
    (graph, *_) = read(made).subgraphs
    found = [op for op in graph.operators if op.type not in ADAPTORS]
    in_float = [op.type for op in found if any(each.is_float for each in (*graph.read_by(op), *graph.written_by(op)))]
    if in_float or [op.type for op in found] != types:
        raise ConversionError(
            f"keep_int16: the quantizer makes no 16-bit form of {in_float[0] if in_float else 'these ops'} in this"
            " model. Name other ops, or keep these in float with keep_float"
        )
    return made


def _extract(model: Any, ops: Collection[int]) -> list[str]:
    """Leave only those ops of the first subgraph in the model, and return their types."""
    (subgraph, *_) = model.subgraphs
    inside = [operator for index, operator in enumerate(subgraph.operators) if index in ops]
    outside = [operator for index, operator in enumerate(subgraph.operators) if index not in ops]
    written = [int(index) for operator in inside for index in operator.outputs]
    read_inside = {int(index) for operator in inside for index in operator.inputs if index >= 0}
    needed = {int(index) for operator in outside for index in operator.inputs} | {int(i) for i in subgraph.outputs}
    subgraph.inputs = sorted(
        index for index in read_inside - {*written} if not edit.is_constant(model, subgraph.tensors[index])
    )
    subgraph.outputs = [index for index in written if index in needed or index not in read_inside]
    subgraph.operators = inside
    model.subgraphs, model.signatureDefs = [subgraph], []
    types = [edit.type_of(model.operatorCodes[operator.opcodeIndex]) for operator in inside]
    edit.drop_unused(model)
    return types


def with_int16_ops(
    content: bytes, alone: bytes, places: Sequence[int], is_output: bool
) -> tuple[bytes, dict[int, int]]:
    """Return the file with the ops at these places in 16 bits, and the new place of every op by its place before.

    `content` is an int8 file with these ops in float, and `alone` the file of `quantize_alone`. If `is_output`, the
    outputs that the ops write leave the file as int16. ConversionError if another op writes an output then.
    """
    model, source = edit.unpack(content), edit.unpack(alone)
    (subgraph, *_), (counterparts, *_) = model.subgraphs, source.subgraphs
    operators = list(subgraph.operators)
    types = [edit.type_of(code) for code in source.operatorCodes]
    of_ops = [counterpart for counterpart in counterparts.operators if types[counterpart.opcodeIndex] not in ADAPTORS]
    widening = _Widening(model, source)
    widening.widen({places[number]: counterpart for number, counterpart in enumerate(of_ops)}, is_output)
    raise_runtime_version(model, runtime_version(source))
    kept = {id(operator): place for place, operator in enumerate(operators)}
    edit.drop_unused(model)
    return edit.pack(model), {
        kept[id(operator)]: place for place, operator in enumerate(subgraph.operators) if id(operator) in kept
    }


@dataclass
class _Widening:
    """The change of a file whose ops get the 16-bit forms that they have in the source."""

    model: Any
    source: Any
    written: dict[int, int] = field(default_factory=dict)
    """The int16 tensor that takes the place of a float tensor which an op in 16 bits writes."""
    converted: dict[tuple[int, float], int] = field(default_factory=dict)
    """The int16 tensor with that scale that a QUANTIZE op makes of a tensor."""
    constants: dict[int, int] = field(default_factory=dict)
    """The copy of each constant of the source."""
    before: dict[int, list[Any]] = field(default_factory=dict)
    """New operators in front of the operator at that place."""

    def widen(self, counterparts: Mapping[int, Any], is_output: bool) -> None:
        """Give the operators at these places the form of their counterparts in the source."""
        operators = list(self.subgraph.operators)
        types = [edit.type_of(code) for code in self.model.operatorCodes]
        quantizing = [types[operator.opcodeIndex] == "QUANTIZE" for operator in operators]
        integers = self._integers([op for op in operators if types[op.opcodeIndex] == "DEQUANTIZE"])
        for place in sorted(counterparts):
            self._replace(operators[place], counterparts[place], self.before.setdefault(place, []), integers)
        if is_output:
            self._release_outputs()
        others = [op for op, is_conversion in zip(operators, quantizing, strict=True) if not is_conversion]
        in_float = {*map(int, self.subgraph.outputs), *(int(index) for op in others for index in op.inputs)}
        placed: list[Any] = []
        for place, operator in enumerate(operators):
            placed += [*self.before.get(place, ()), operator]
            placed += self._behind(operator, in_float) if place in counterparts else ()
            if quantizing[place] and int(operator.inputs[0]) in self.written:
                self._read_int16(operator)
        self.subgraph.operators = placed

    @property
    def subgraph(self) -> Any:
        return self.model.subgraphs[0]

    def _integers(self, dequantizing: Sequence[Any]) -> dict[int, int]:
        """Return the integers that a DEQUANTIZE op makes each float tensor of. Constants are left out."""
        pairs = [(int(op.outputs[0]), int(op.inputs[0])) for op in dequantizing]
        return {target: origin for target, origin in pairs if not self._is_constant(origin)}

    def _is_constant(self, index: int) -> bool:
        return edit.is_constant(self.model, self.subgraph.tensors[index])

    def _replace(self, operator: Any, counterpart: Any, before: list[Any], integers: Mapping[int, int]) -> None:
        tensors, inputs, outputs = self.source.subgraphs[0].tensors, list(operator.inputs), list(operator.outputs)
        for position, index in enumerate(counterpart.inputs):
            if index >= 0 and edit.is_constant(self.source, tensors[index]):
                inputs[position] = self._constant(int(index))
            elif index >= 0 and tensors[index].type == INT16:
                inputs[position] = self._as_int16(int(inputs[position]), tensors[index], before, integers)
        for position, index in enumerate(counterpart.outputs):
            if tensors[index].type == INT16:
                own = int(outputs[position])
                outputs[position] = self.written[own] = self._add(own, tensors[index])
        operator.opcodeIndex = edit.code_index(self.model, self.source.operatorCodes[counterpart.opcodeIndex])
        operator.inputs, operator.outputs = inputs, outputs
        for option in OPTIONS:
            setattr(operator, option, getattr(counterpart, option))

    def _constant(self, index: int) -> int:
        if index not in self.constants:
            self.constants[index] = edit.copy_constant(self.model, self.source, index)
            copied = self.subgraph.tensors[self.constants[index]]
            copied.quantization = self.source.subgraphs[0].tensors[index].quantization
        return self.constants[index]

    def _add(self, like: int, counterpart: Any) -> int:
        """Add an int16 tensor of that shape, and return its index."""
        index = edit.add_copy(self.subgraph, like)
        tensor = self.subgraph.tensors[index]
        tensor.name, tensor.type, tensor.buffer = counterpart.name.removesuffix(SUFFIX), INT16, 0
        tensor.quantization = schema.QuantizationParametersT(scale=[_scale(counterpart)], zeroPoint=[0])
        return index

    def _as_int16(self, index: int, counterpart: Any, before: list[Any], integers: Mapping[int, int]) -> int:
        """Return the int16 tensor that holds the float tensor with the scale of the counterpart."""
        origin, scale = self.written.get(index, integers.get(index, index)), _scale(counterpart)
        if index in self.written and _scale(self.subgraph.tensors[origin]) == scale:
            return origin
        if (origin, scale) not in self.converted:
            target = self.converted[origin, scale] = self._add(index, counterpart)
            before.append(self._conversion("QUANTIZE", origin, target))
        return self.converted[origin, scale]

    def _conversion(self, type_: str, source: int, target: int) -> Any:
        version, runtime = QUANTIZE if type_ == "QUANTIZE" else DEQUANTIZE
        raise_runtime_version(self.model, runtime)
        return edit.conversion(self.model, type_, source, target, version)

    def _behind(self, operator: Any, in_float: Collection[int]) -> list[Any]:
        """Return the DEQUANTIZE ops behind an op in 16 bits, for those that read its outputs as floats."""
        wide = {int(index) for index in operator.outputs}
        needed = [(index, target) for index, target in self.written.items() if target in wide and index in in_float]
        return [self._conversion("DEQUANTIZE", target, index) for index, target in needed]

    def _read_int16(self, operator: Any) -> None:
        """Let a QUANTIZE op read the int16 tensor in place of the float one."""
        source, target = self.written[int(operator.inputs[0])], int(operator.outputs[0])
        version = self.model.operatorCodes[operator.opcodeIndex].version
        operator.inputs = [source]
        if version < QUANTIZE[0]:
            operator.opcodeIndex = self._conversion("QUANTIZE", source, target).opcodeIndex

    def _release_outputs(self) -> None:
        """Let the outputs of the file be int16."""
        tensors, outputs = self.subgraph.tensors, [int(index) for index in self.subgraph.outputs]
        signatures = [each for each in self.model.signatureDefs or [] if each.subgraphIndex == 0]
        entries = [entry for signature in signatures for entry in signature.outputs]
        names = {int(entry.tensorIndex): entry.name for entry in entries}
        narrow = [index for index in outputs if tensors[index].type == FLOAT32 and index not in self.written]
        if narrow:
            raise ConversionError(
                "inference_output_type: int16 needs an op in 16 bits at every output, but the op that writes"
                f" {names.get(narrow[0], tensors[narrow[0]].name).decode()!r} is none. Name it in keep_int16, or choose"
                " another inference_output_type"
            )
        self.subgraph.outputs = [self.written.get(index, index) for index in outputs]
        for entry in entries:
            entry.tensorIndex = self.written.get(int(entry.tensorIndex), entry.tensorIndex)


def _scale(tensor: Any) -> float:
    return float(tensor.quantization.scale[0])
