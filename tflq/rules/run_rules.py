"""The rules about the files of one run. They need the recipe, the source or samples, not the file alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunRule:
    """A rule that `tflq convert` and `tflq evaluate` check beside the rules of files."""

    rule: str
    fact: str
    """What breaks the rule."""
    severity: str


RUN_RULES = (
    RunRule("V0", "a second conversion gives other bytes", "error"),
    RunRule("V11", "the file is not what its mode, its variant or its kept ops promise", "error"),
    RunRule("V12", "signature, inputs, outputs or shapes are not those of the source", "error"),
    RunRule("V12", "a custom op or a TensorFlow op that the recipe does not allow", "error"),
    RunRule("V13", "outputs that are NaN, infinite or constant, or a finding that the file is broken", "error"),
    RunRule("V13", "outputs of the float32 file that differ from those of the source", "error"),
    RunRule("V13", "an output without elements, or far fewer bytes of constants than the source has", "warning"),
    RunRule("V15", "fused recurrent ops keep their state from one call to the next", "warning"),
    RunRule("V16", "an integer input has not the scale that the recipe asks for", "error"),
    RunRule("V16", "an integer input does not cover the values that are fed", "warning"),
    RunRule("V17", "`sparse: on` stores nothing sparsely, or makes the file larger", "warning"),
    RunRule("V17", "sparse int8 weights, which need an interpreter without the default delegate", "warning"),
)
"""All rules of a run, in the order of their numbers."""
