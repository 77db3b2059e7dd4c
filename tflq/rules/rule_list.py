"""The list of all rules, in the order in which reports list violations."""

from tflq.flatbuffer import Graph
from tflq.rules.activations import (
    activations_are_per_tensor,
    copies_keep_their_scale,
    integers_have_scales,
    known_ranges_are_used,
    scales_are_usable,
    scales_are_usual,
    zero_is_exact,
)
from tflq.rules.biases import bias_scales_fit, biases_are_typed, biases_are_whole, shared_biases_fit
from tflq.rules.files import constants_are_their_own, signatures_are_whole, size_is_loadable, variables_are_assigned
from tflq.rules.violation import Rule, Violation
from tflq.rules.weights import channels_have_scales, scales_match_shape, weights_are_symmetric

RULES: tuple[Rule, ...] = (
    weights_are_symmetric,
    scales_match_shape,
    channels_have_scales,
    activations_are_per_tensor,
    scales_are_usable,
    scales_are_usual,
    integers_have_scales,
    biases_are_typed,
    bias_scales_fit,
    biases_are_whole,
    shared_biases_fit,
    constants_are_their_own,
    known_ranges_are_used,
    copies_keep_their_scale,
    zero_is_exact,
    signatures_are_whole,
    size_is_loadable,
    variables_are_assigned,
)


def violations(graph: Graph) -> tuple[Violation, ...]:
    """Return the violations in all subgraphs, in the order of the rules."""
    return tuple(violation for rule in RULES for violation in rule(graph))
