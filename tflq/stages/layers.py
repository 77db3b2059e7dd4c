"""The comparison of each variant's activations along the graph, for report.html.

A standard report takes a few calls, and fewer if they would take more than a part of the time of the run so far. It
leaves out models of which even one call needs much memory or time. A full report has no such limits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np

from tflq import flatbuffer
from tflq.calibrate.observe import activations, obstacle
from tflq.calibrate.samples import KEPT_CALLS, CalibrationSamples, Samples
from tflq.datasets import Sample
from tflq.findings import Explanation
from tflq.flatbuffer import ROLES, Graph
from tflq.layerwise import Activation, LocalLoss, compare, first_bad, losses
from tflq.result import ActivationSqnr, LayerFigures, WeightRange
from tflq.stages.context import RunContext
from tflq.stages.state import PreparedRun
from tflq.stages.variant_build import VariantBuild
from tflq.worker import ProgressCallback

STANDARD_CALLS, FULL_CALLS = KEPT_CALLS, 32
MAX_SHARE = 0.08
"""The most of the time of the run so far that a standard report may take for this stage. One call is always made."""
MIN_SECONDS = 0.5
"""The time in which further calls of a variant begin in any case. So a second run has the calls of the first one."""
MAX_BYTES = 64 * 2**20
"""The largest size of all float activations of a call for a standard report."""
MAX_INT16_MULTIPLY_ADDS = 5e8
"""The most multiply-adds in int16 ops over all calls for a standard report. Their kernels are slow."""
MAX_LAYERS = 1000
MIN_LOSS_DB = 1.0
"""The least loss of an op whose weights are shown."""
MAX_WEIGHTS, MAX_CHANNELS = 3, 1024


@dataclass(frozen=True)
class ComparedLayers:
    """What to compare: the float32 file and the variant, and the samples of the calls."""

    float32: Path
    file: Path
    samples: Samples | None
    """The calibration samples; None to run only the call in `first`."""
    first: Sample
    calls: int
    folder: Path
    is_full: bool
    seconds: float = math.inf
    """The time from the first call after which no further call begins."""


class TimedCalls:
    """The calls of a comparison, until the time is over. The first one is always made."""

    def __init__(self, calls: Sequence[Sample], seconds: float) -> None:
        """`seconds`: the time from the first call after which no other one begins."""
        self._calls, self._seconds = calls, seconds
        self.made = 0
        """The number of calls so far."""

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Sample]:
        started = time.monotonic()
        for call in self._calls:
            if self.made and time.monotonic() - started > self._seconds:
                return
            self.made += 1
            yield call


def requests(context: RunContext, builds: Sequence[VariantBuild], prepared: PreparedRun) -> dict[str, ComparedLayers]:
    """Return what to compare for each build. Trained variants are left out: their weights differ."""
    compared = [
        (build, build.path)
        for build in builds
        if build.path and build.record and not build.error and build.variant
        if not build.variant.trained and build.variant.mode != "float32"
    ]
    spent = time.monotonic() - context.started
    seconds = MAX_SHARE * spent * min(context.jobs, len(compared)) / max(len(compared), 1)
    return {build.name: _request(context, build, path, prepared, seconds) for build, path in compared}


def standard_calls(build: VariantBuild) -> int:
    """Return the largest number of calls for a standard report. It is 0 if even one takes long."""
    slow = max(build.verified.int16_multiply_adds if build.verified else 0, 1)
    return min(STANDARD_CALLS, int(MAX_INT16_MULTIPLY_ADDS / slow))


def _request(
    context: RunContext,
    build: VariantBuild,
    path: Path,
    prepared: PreparedRun,
    seconds: float,
) -> ComparedLayers:
    is_full = context.recipe.report == "full"
    samples = prepared.calibration_samples
    calls = FULL_CALLS if is_full else standard_calls(build)
    folder = context.folder / f"activations of {build.name}"
    folder.mkdir()
    float32, first = build.origin or prepared.float32.path, prepared.evaluation_rows.arrays
    stored = samples.samples.first(calls) if isinstance(samples, CalibrationSamples) else None
    limit = math.inf if is_full else max(seconds, MIN_SECONDS)
    return ComparedLayers(float32, path, stored, first, calls, folder, is_full, limit)


def layer_figures(
    report: ProgressCallback, request: ComparedLayers, explanation: Explanation | None = None
) -> LayerFigures:
    """Return the fidelity of all activations that both files have.

    `explanation`, if given, has compared activations of the two files. A full report compares them in more calls.
    """
    graph = flatbuffer.load(request.float32)
    if (obstacle := _obstacle(graph, request)) is not None:
        return LayerFigures(0, obstacle=obstacle)
    if explanation and explanation.activations and not request.is_full:
        return _figures(graph, explanation.activations, explanation.calls)
    arrays = [request.first]
    if request.samples:
        arrays = list(request.samples.calls(range(request.samples.number_of_calls)))
    calls = TimedCalls(arrays, request.seconds)
    found = compare(report, (request.float32, request.file), calls, request.folder)
    return _figures(graph, found, calls.made)


def _figures(graph: Graph, activations: Sequence[Activation], calls: int) -> LayerFigures:
    found = activations[:MAX_LAYERS]
    lost = tuple(losses(graph, found))
    fall = first_bad(lost)
    places = [place for place, each in enumerate(found) if fall and each.operator == fall.operator]
    layers = tuple(_layer(graph, each) for each in found)
    place, before_db = (places[0], fall.before_db) if places and fall else (None, None)
    return LayerFigures(calls, layers, place, before_db, tuple(_weights(graph, lost)))


def _obstacle(graph: Graph, request: ComparedLayers) -> str | None:
    """Return why the activations are not compared, as a clause; None if they are."""
    if (reason := obstacle(graph)) is not None:
        return reason
    if not request.is_full and not request.calls:
        return "its int16 kernels are slow"
    (subgraph, *_) = graph.subgraphs
    size = sum(4 * math.prod(subgraph.tensors[index].shape) for index in activations(graph))
    if not request.is_full and size > MAX_BYTES:
        return f"the activations of a call have {size / 1e6:,.0f} MB"
    return None


def _layer(graph: Graph, each: Activation) -> ActivationSqnr:
    (subgraph, *_) = graph.subgraphs
    op = "input" if each.operator is None else subgraph.operators[each.operator].type
    return ActivationSqnr(op, each.name.partition(";")[0], round(each.sqnr_db, 2))


def _weights(graph: Graph, lost: Sequence[LocalLoss]) -> Iterator[WeightRange]:
    """Yield the weights of the ops that lose most, if they have more than one output channel."""
    (subgraph, *_), listed = graph.subgraphs, 0
    for loss in sorted(lost, key=attrgetter("relevant_loss_db"), reverse=True):
        operator = subgraph.operators[loss.operator]
        roles = ROLES.get(operator.type)
        weights = subgraph.input(operator, roles.weights) if roles else None
        if loss.relevant_loss_db < MIN_LOSS_DB or listed == MAX_WEIGHTS:
            return
        if roles is None or weights is None or not weights.is_constant or weights.data is None:
            continue
        values = np.moveaxis(np.abs(np.asarray(weights.data, np.float64)), roles.channels, 0)
        if 1 < len(values) <= MAX_CHANNELS:
            listed += 1
            peaks = tuple(values.reshape(len(values), -1).max(1).tolist())
            yield WeightRange(operator.type, weights.name.partition(";")[0], round(loss.relevant_loss_db, 2), peaks)
