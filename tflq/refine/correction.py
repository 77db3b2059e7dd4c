"""The declaration of a correction: its key in recipes, its name, and its effect on the float32 model.

A file of this folder declares each of them, and `correction_list.py` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tflq.calibrate.samples import Samples
from tflq.refine.corrected_layer import CorrectedLayer
from tflq.refine.fitted_layers import FittedValues
from tflq.refine.second_moments import SecondMoments
from tflq.refine.weighted_ops import WeightGranularity
from tflq.worker import ProgressCallback

FittingData = tuple[Samples, Sequence[int]]
"""The calibration samples, and the calls that are used of them."""
Constant = Literal["weights", "bias"]


@dataclass(frozen=True, kw_only=True)
class Correction:
    """The declaration of a correction, for recipes, `auto`, searches and reports."""

    key: str
    """The key of variants. `Converter` has a field of this name, with its description and values."""
    in_words: str
    """The name in reports and stages."""
    stage: str = ""
    """The first words of the names of tasks that fit it; empty if the mean inputs of layers suffice."""
    searched_values: tuple[object, ...] = ("on", "off")
    """The values that a search tries."""
    is_compared_for_int16: bool = True
    """Whether `auto` also compares it for int16 activations. Otherwise `auto` is off for them."""
    compared_with: tuple[str, ...] = ()
    """Keys of corrections whose effect depends on this one. If these are open, both values are scored with it."""


@dataclass(frozen=True)
class RewrittenModel:
    """A float32 file whose layers have other weights, and whose outputs are the same but for float rounding."""

    path: Path
    tensors: int
    """The number of activations whose channels were scaled."""
    factors: Path
    """The file of the factors of channels by the index of the activation; see `fitted_layers.save`."""


@dataclass(frozen=True, kw_only=True)
class ModelCorrection(Correction):
    """A correction of the whole model. Its activations are observed anew, since they change."""

    participle: str
    """The word for the rewritten file in the names of stages, such as `equalized`."""
    rewrite: Callable[[ProgressCallback, Path, FittingData, Path], RewrittenModel]
    """Write the float32 file with scaled channels to the last path, and return what was scaled."""


@dataclass(frozen=True)
class LayerFit:
    """The tasks that fit values to the layers of one file. Each writes a file for its part of the layers."""

    parts: int
    """The number of tasks. It is fixed, whatever the number of processors."""
    fit: Callable[[ProgressCallback, Path, SecondMoments, WeightGranularity, tuple[int, Path]], Path]
    """Write arrays by kind and index, as `fitted_layers.save` does. The kinds are those of this fit alone.

    The arguments are the float32 file, the second moments of its layers, the granularity, and the number of the part
    with the path to write to.
    """


@dataclass(frozen=True, kw_only=True)
class LayerwiseCorrection(Correction):
    """A correction of the weights or the bias of each layer."""

    changes: tuple[Constant, ...]
    """The constants that it changes. What changes weights is applied first."""
    apply: Callable[[CorrectedLayer, FittedValues], CorrectedLayer]
    """Return the layer with this correction added. The values hold the mean inputs of layers, and what `fit` wrote."""
    layer_fit: LayerFit | None = None
    """The fit beside the mean inputs of layers; None if these suffice."""
