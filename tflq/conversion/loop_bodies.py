"""Loops in integers: the body of each WHILE is quantized like a model of its own, and its operands become integers.

No quantizer enters a body. So each body is quantized alone, with float inputs and outputs. Then the operands that the
loop carries get the dtype that the body computes in, and conversions between equal dtypes disappear.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tflq.calibrate.ranges import JOINING, PASSING
from tflq.conversion.conversions import fold_conversions, move_integers, operator_type
from tflq.flatbuffer import Graph, constants, edit
from tflq.flatbuffer.loops import LOOP, Loop, append_subgraph, carried, loop_obstacle, loops

ToIntegers = Callable[[Any], bytes]
"""Quantizes a model of one subgraph whose inputs and outputs stay in float."""
DTYPES = {schema.TensorType.INT8: "int8", schema.TensorType.INT16: "int16"}
FLOAT32 = schema.TensorType.FLOAT32


def unite_carried_ranges(model: Any, loop: Loop) -> None:
    """Give each operand one range in the body and behind the loop: that of its values before and after an iteration.

    An empty tensor, which has no range, gets that of the tensor that its op passes on.
    """
    body = model.subgraphs[loop.body]
    for _, result, before, after in carried(model, loop):
        tensors = [body.tensors[before], body.tensors[after]]
        ranges = [ends for tensor in tensors if (ends := edit.range_of(tensor)) is not None]
        for place in ((loop.body, before), (loop.body, after), (0, result)) if ranges else ():
            edit.set_range(model, place, min(low for low, _ in ranges), max(high for _, high in ranges))
    for operator in body.operators:
        position = PASSING.get(operator_type(model, operator))
        passed = None if position is None else edit.range_of(body.tensors[operator.inputs[position]])
        for index in operator.outputs if passed else ():
            if passed and edit.range_of(body.tensors[index]) is None:
                edit.set_range(model, (loop.body, int(index)), *passed)


def _unite_with_readers(model: Any, results: Sequence[int]) -> None:
    """Give results of WHILE and the tensors that must have their scale one range.

    Otherwise the 8-bit quantizer leaves an op between them in float.
    """
    (main, *_) = model.subgraphs
    groups = [{result} for result in results if edit.range_of(main.tensors[result]) is not None]
    for _ in main.operators:  # a group grows by one op at least in each round, or it is complete
        for operator, group in itertools.product(main.operators, groups):
            tied = _of_one_scale(model, operator)
            if tied & group:
                group |= tied
    for group in groups:
        ranges = [ends for index in group if (ends := edit.range_of(main.tensors[index])) is not None]
        for index in group:
            if edit.range_of(main.tensors[index]) is not None:
                edit.set_range(model, (0, index), min(low for low, _ in ranges), max(high for _, high in ranges))


def _of_one_scale(model: Any, operator: Any) -> set[int]:
    """Return the tensors of the op that must have one scale. It is empty if each has its own."""
    type_ = operator_type(model, operator)
    outputs = {int(index) for index in operator.outputs}
    if type_ in PASSING:
        return outputs | {int(operator.inputs[PASSING[type_]])}
    return outputs | {int(index) for index in operator.inputs if index >= 0} if type_ in JOINING else set()


@dataclass(frozen=True)
class DetachedLoops:
    """The subgraphs that the loops of a model run. The model itself is quantized without them."""

    models: tuple[Any, ...] = ()
    """Each subgraph in a model of its own, in the order of the file."""
    bodies: tuple[int, ...] = ()
    """The places of the bodies that were quantized."""
    operators: tuple[int, ...] = ()
    """The indices of all WHILE ops in the first subgraph."""


def detach_loops(model: Any, graph: Graph, kept: Collection[int], to_integers: ToIntegers) -> DetachedLoops:
    """Remove the bodies and conditions from the model, and quantize the bodies.

    The body of a WHILE whose index is in `kept` stays in float. `graph` is the model before ranges were set.
    """
    found = loops(graph)
    if not found or loop_obstacle(graph) is not None:
        return DetachedLoops()
    bodies = [loop.body for loop in found if loop.operator not in kept]
    for loop in found:
        unite_carried_ranges(model, loop)
    _unite_with_readers(model, [result for loop in found for _, result, _, _ in carried(model, loop)])
    alone = [_alone(model, place) for place in range(1, len(model.subgraphs))]
    models = [edit.unpack(to_integers(each)) if place in bodies else each for place, each in enumerate(alone, start=1)]
    for body in bodies:
        _shorten_names(models[body - 1].subgraphs[0])
    model.subgraphs = model.subgraphs[:1]
    return DetachedLoops(tuple(models), tuple(bodies), tuple(loop.operator for loop in found))


def reattach_loops(
    content: bytes, places: Mapping[int, int], kept: Collection[int], detached: DetachedLoops
) -> tuple[bytes, dict[int, int]]:
    """Return the quantized file with its loops in integers, and the new places of the ops in `places`.

    `places` has the place of each restored op by its index in the float32 file. `kept` are the indices of those that
    keep_float names.
    """
    if not detached.models:
        return content, dict(places)
    model = edit.unpack(content)
    operators = {index: model.subgraphs[0].operators[place] for index, place in places.items()}
    for each in detached.models:
        append_subgraph(model, each, 0)
    carry_integers(model, detached.bodies, [operator for index, operator in operators.items() if index in kept])
    after = {id(operator): place for place, operator in enumerate(model.subgraphs[0].operators)}
    return edit.pack(model), {index: after[id(operator)] for index, operator in operators.items()}


def _shorten_names(body: Any) -> None:
    """Leave the last two parts of each tensor's name, and the first of joined names. They would be half of the file."""
    for tensor in body.tensors:
        first = (tensor.name or b"").split(b";")[0]
        tensor.name = b"/".join(first.split(b"/")[-2:])


def _alone(model: Any, place: int) -> Any:
    """Return a copy of the model with only that subgraph."""
    alone = copy.copy(model)
    alone.subgraphs, alone.signatureDefs, alone.metadata = [copy.deepcopy(model.subgraphs[place])], None, None
    alone.operatorCodes, alone.buffers = [copy.copy(code) for code in model.operatorCodes], list(model.buffers)
    alone.subgraphs[0].name = b"main"
    edit.drop_unused(alone)
    return alone


def carry_integers(model: Any, bodies: Sequence[int], kept: Sequence[Any]) -> None:
    """Let the loops with these bodies carry integers, and remove conversions that nothing needs.

    The operators in `kept` stay in float.
    """
    (main, *_) = model.subgraphs
    for operator in [each for each in main.operators if operator_type(model, each) == LOOP]:
        options = operator.builtinOptions
        if options.bodySubgraphIndex in bodies:
            for position in range(len(operator.inputs)):
                _carry_integer(model, operator, position)
    for subgraph in model.subgraphs:
        move_integers(model, subgraph, kept)
        fold_conversions(model, subgraph)
    edit.drop_unused(model)


def _carry_integer(model: Any, operator: Any, position: int) -> None:
    """Make an operand of the loop an integer, if its body computes with integers."""
    options = operator.builtinOptions
    main, body, condition = (
        model.subgraphs[place] for place in (0, options.bodySubgraphIndex, options.condSubgraphIndex)
    )
    kind = _integer_kind(model, body, position)
    is_compared = any(condition.inputs[position] in other.inputs for other in condition.operators)
    if kind is None or is_compared:
        return
    _become(condition.tensors[condition.inputs[position]], kind)
    _retype_input(model, body, position, kind)
    body.outputs[position] = _quantized(model, body, int(body.outputs[position]), kind, len(body.operators))
    place = next(place for place, other in enumerate(main.operators) if other is operator)
    operator.inputs[position] = _quantized(model, main, int(operator.inputs[position]), kind, place)
    place = next(place for place, other in enumerate(main.operators) if other is operator)
    result = int(operator.outputs[position])
    operator.outputs[position] = _typed_copy(main, result, kind)
    main.operators.insert(place + 1, edit.conversion(model, "DEQUANTIZE", operator.outputs[position], result))


def _integer_kind(model: Any, body: Any, position: int) -> Any | None:
    """Return an integer tensor whose type and scale the operand gets; None if the operand stays as it is."""
    before, after = int(body.inputs[position]), int(body.outputs[position])
    if body.tensors[before].type != FLOAT32:
        return None
    for operator in body.operators:
        if operator_type(model, operator) == "QUANTIZE" and operator.inputs[0] == before:
            return body.tensors[operator.outputs[0]]
    for operator in body.operators:
        if operator_type(model, operator) == "DEQUANTIZE" and operator.outputs[0] == after:
            return body.tensors[operator.inputs[0]]
    return None


def _retype_input(model: Any, body: Any, position: int, kind: Any) -> None:
    outer = int(body.inputs[position])
    inner = edit.add_copy(body, outer)
    for holder in (body, *body.operators):
        field = "outputs" if holder is body else "inputs"
        setattr(holder, field, [inner if index == outer else index for index in getattr(holder, field)])
    _become(body.tensors[outer], kind)
    body.operators.insert(0, edit.conversion(model, "DEQUANTIZE", outer, inner))


def _quantized(model: Any, subgraph: Any, index: int, kind: Any, place: int) -> int:
    """Return a tensor with the integers of that one: a constant, or the output of a QUANTIZE at that place."""
    target = _typed_copy(subgraph, index, kind)
    source = subgraph.tensors[index]
    if edit.is_constant(model, source):
        (scale,), (zero,) = kind.quantization.scale, kind.quantization.zeroPoint
        limits = np.iinfo(DTYPES[kind.type])
        steps = np.rint(constants.float32_values(model, source).astype(np.float64) / scale) + zero
        values = np.clip(steps, limits.min, limits.max).astype(DTYPES[kind.type])
        subgraph.tensors[target].buffer = constants.add_buffer(model, values)
    else:
        subgraph.operators.insert(place, edit.conversion(model, "QUANTIZE", index, target))
    return target


def _typed_copy(subgraph: Any, index: int, kind: Any) -> int:
    target = edit.add_copy(subgraph, index)
    subgraph.tensors[target].buffer = 0
    _become(subgraph.tensors[target], kind)
    return target


def _become(tensor: Any, kind: Any) -> None:
    tensor.type, tensor.quantization = kind.type, copy.deepcopy(kind.quantization)
