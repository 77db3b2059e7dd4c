"""The input of corrections of a file without activation ranges: samples, choices of the recipe, and pairs of ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflq.calibrate.samples import Samples
from tflq.errors import ConversionError
from tflq.flatbuffer import Graph, Operator, Subgraph
from tflq.modes import Choice, Mode
from tflq.refine.operator_pairs import operator_pairs


@dataclass(frozen=True)
class CorrectionData:
    """The calibration samples of a correction."""

    samples: Samples
    fitting: Sequence[int]
    """The calls that the corrections are fitted to."""
    holdout: Sequence[int]
    means: tuple[Path, ...] = ()
    """The files of the means of the layers' inputs for the float32 file and the fitting calls, if there are any."""


@dataclass(frozen=True)
class CorrectionChoices:
    """The corrections that a variant without activation ranges requests."""

    bias: Choice
    rounding: Choice = "off"

    @staticmethod
    def by(variant: Mode) -> CorrectionChoices:
        """Return the choices of a variant, with each `auto` that its mode decides replaced by its value."""
        rounding = "off" if "rounding" in variant.ignored else variant.rounding
        return CorrectionChoices(
            variant.bias_correction, "off" if rounding == "auto" and variant.bias_correction == "off" else rounding
        )

    @property
    def is_demanded(self) -> bool:
        """Whether it is an error if a correction fails."""
        return "on" in (self.bias, self.rounding)


def operators_of(float32: Graph, subgraph: Subgraph) -> dict[int, Operator]:
    """Return the ops of a file by the index of each op of its float32 file. ConversionError if they do not fit."""
    operators = operator_pairs(float32.subgraphs[0], subgraph)
    if operators is None:
        raise ConversionError(
            "bias_correction: the dynamic range file has other ops than the float32 file, so its biases cannot be"
            ' matched with those of the float32 file; write bias_correction: "off"'
        )
    return operators
