"""The cause of a loss at one op, from the activations of the float32 file around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tflq.flatbuffer import Graph, Operator
from tflq.layerwise import JOINS, Activation, unlike_channels, unlike_inputs

STEPS = {8: 255, 16: 32767}
"""The number of steps from 0 to the largest value, by bits of the activations."""
FAR_FROM_ZERO = 8.0
"""Values are far from 0 if they are this many times as large as they differ."""


@dataclass(frozen=True)
class LikelyCause:
    """The cause of a loss, and what to try."""

    text: str
    remedy: str
    tensor: str | None
    """The name of the activation that it is in."""


@dataclass(frozen=True)
class LayerEvidence:
    """The activations of both files on a few samples."""

    graph: Graph
    mode: str
    activations: Mapping[int, Activation]
    has_good_int16: bool = True
    """False if mode int16x8 is no remedy, because such a file of the run is ruined."""
    weighted: frozenset[int] = frozenset()
    """The ops with integer weights."""
    in_float: frozenset[int] = frozenset()
    """The ops that the file computes in float."""

    @property
    def has_integer_activations(self) -> bool:
        """Whether most activations are integers. It is assumed of a file whose mode is not known."""
        return not self.mode or self.mode.removeprefix("qat_").startswith("int")

    @property
    def bits(self) -> int:
        """The bits of the activations, as far as they are integers."""
        return 16 if "int16" in self.mode else 8


def cause_at(evidence: LayerEvidence, op: int) -> LikelyCause | None:
    """Return the likeliest cause at that op of the float32 graph, or None."""
    operator = evidence.graph.subgraphs[0].operators[op]
    inputs = [evidence.activations[index] for index in dict.fromkeys(operator.inputs) if index in evidence.activations]
    if evidence.has_integer_activations:
        outputs = [evidence.activations[index] for index in operator.outputs if index in evidence.activations]
        return next(_causes(evidence, operator, inputs, outputs), None)
    is_quantized_at_run_time = evidence.mode.startswith("dynamic") and op in evidence.weighted
    found = [cause for each in inputs for cause in _wide(each, evidence.bits)] if is_quantized_at_run_time else []
    return found[0] if found else None


def _causes(
    evidence: LayerEvidence, operator: Operator, inputs: list[Activation], outputs: list[Activation]
) -> Iterator[LikelyCause]:
    if operator.type in JOINS:
        found = unlike_inputs([*map(_width, inputs)], [*map(_in_words, inputs)])
        if found:
            yield LikelyCause(
                f"{operator.type} {_short(outputs)}: {found[0]}", "", outputs[0].name if outputs else None
            )
    for activation in inputs:
        yield from _far_from_zero(activation)
    for activation in [*inputs, *outputs]:
        yield from _wide(activation, evidence.bits)
    for activation in outputs:
        channels = unlike_channels(activation.peaks)
        if channels:
            yield LikelyCause(f"{_short([activation])}: {channels[0]}", "", activation.name)


def _far_from_zero(activation: Activation) -> Iterator[LikelyCause]:
    """Find values that differ little for their size: the range of integers includes 0, so few steps are left."""
    low, high = sorted((abs(activation.low), abs(activation.high)))
    if activation.low * activation.high > 0 and high > FAR_FROM_ZERO * (high - low):
        text = (
            f"the values of {_short([activation])} lie from {activation.low:.6g} to {activation.high:.6g}, and the"
            " range of its integers includes 0, so that few steps are left for them"
        )
        remedy = (
            "Subtract the mean outside of the model, such as with mean and std under inputs of the recipe, so that the"
            " values are near 0"
        )
        yield LikelyCause(text, remedy, activation.name)


def is_wide(activation: Activation, bits: int) -> bool:
    """Return whether most values are below one step of integers with so many bits."""
    return 0 < activation.typical < max(activation.peaks, default=0.0) / STEPS[bits]


def _wide(activation: Activation, bits: int) -> Iterator[LikelyCause]:
    """Find activations most of whose values are below one step."""
    if is_wide(activation, bits):
        peak = max(activation.peaks)
        text = (
            f"the median value of {_short([activation])} is {activation.typical:.2g}, but the largest one is"
            f" {peak:.3g}, so that most values are below one step of int{bits}"
        )
        yield LikelyCause(text, OF_INPUT if activation.operator is None else "", activation.name)


OF_INPUT = (
    "Bring the values of this input to one scale outside of the model, such as with mean and std under inputs of the"
    " recipe"
)


def _width(activation: Activation) -> float:
    return max(activation.high, 0.0) - min(activation.low, 0.0)


def _in_words(activation: Activation) -> str:
    return f"{_short([activation])} from {activation.low:.3g} to {activation.high:.3g}"


def _short(activations: list[Activation]) -> str:
    """Return the first name of the first one, which may be fused from several."""
    return repr(activations[0].name.split(";")[0]) if activations else ""
