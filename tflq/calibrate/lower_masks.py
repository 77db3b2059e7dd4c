"""Lower attention masks to what the range of the logits needs, in a copy of the float32 file.

A mask of −1e9 takes the whole range of the tensor that it is added to, so that the integers of all logits are equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tflq.calibrate.attention_masks import Mask, find_masks, masking, passed_on
from tflq.calibrate.logit_ranges import ObservedTensors, bounds
from tflq.calibrate.samples import Samples
from tflq.errors import EvaluationError
from tflq.flatbuffer import Graph, Subgraph, edit, read
from tflq.interpreter import Runner
from tflq.worker import ProgressCallback

MAX_COMPARED_CALLS = 64
"""The largest number of calls on which the logits are observed, and the copy is compared with the float32 file."""
LEAST_GAIN = 1.5
"""A mask is lowered if it is at least this many times as large as it needs to be."""
MAX_COPIED_BYTES = 1024
"""Up to this size, each reader of a constant gets its own value. The readers of a larger one share the largest."""
TOLERANCE = 1e-5
"""The largest difference between the outputs of both files, as a share of the largest value of the output."""

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class LoweredMask:
    """A constant that was lowered in the copy of the float32 file from which the variants are quantized."""

    tensor: str
    before: float
    """The value that is the furthest from 0. An infinite value is given as the largest of float32."""
    after: float


@dataclass(frozen=True)
class MaskReport:
    """The masks that were lowered, or the reason why they were not."""

    lowered: tuple[LoweredMask, ...]
    calls: int
    """The number of calls on which the copy was compared with the float32 file."""
    obstacle: str = ""
    """The reason why no mask was lowered although one is too large, as a clause; empty if there is none."""

    @property
    def in_words(self) -> str:
        """The sentence for the notes of the report."""
        count = len(self.lowered)
        names = ", ".join(f"{each.tensor!r} from {each.before:.6g} to {each.after:g}" for each in self.lowered[:3])
        names += f" and {count - 3} more" if count > 3 else ""
        if self.obstacle:
            return f"attention masks were not lowered{f' ({names})' if names else ''}, because {self.obstacle}"
        masks = "1 attention mask was" if count == 1 else f"{count} attention masks were"
        return (
            f"{masks} lowered in the variants with calibrated ranges: {names}. The outputs of the float32 model with"
            f" lower masks are the same on {self.calls} calls with calibration samples"
        )


def lower_masks(report: ProgressCallback, float32: Path, samples: Samples, target: Path) -> MaskReport | None:
    """Write the file with lower masks to `target`. Return None, and write nothing, if no mask is too large.

    If the outputs of that file differ on calibration samples, nothing is written, and the report has the reason.
    """
    content = float32.read_bytes()
    graph, model = read(content), edit.unpack(content)
    masks, count = find_masks(graph), samples.number_of_calls
    if not masks:
        return None
    calls = range(0, count, -(-count // MAX_COMPARED_CALLS))
    try:
        limits = bounds(graph, masks, _betas(model, masks), _observe(graph, masks, (float32, samples, calls)))
        lowered = _lower(graph, model, limits)
        if not lowered:
            return None
        edit.write(model, target)
        difference = _difference(report, (float32, target), samples, calls)
    except EvaluationError as error:
        return MaskReport((), 0, str(error))
    if difference is None:
        return MaskReport(lowered, len(calls))
    target.unlink()
    return MaskReport(lowered, len(calls), difference)


def _lower(graph: Graph, model: Any, limits: Mapping[Mask, float]) -> tuple[LoweredMask, ...]:
    """Write lower values into the model, and return what was lowered."""
    (subgraph, *_), groups = graph.subgraphs, dict[tuple[int, float], list[Mask]]()
    for mask, limit in limits.items():
        is_small = subgraph.tensors[mask.tensor].size_bytes <= MAX_COPIED_BYTES
        largest = max(limits[other] for other in limits if other.tensor == mask.tensor)
        groups.setdefault((mask.tensor, limit if is_small else largest), []).append(mask)
    lowered: dict[LoweredMask, None] = {}
    for (index, limit), masks in groups.items():
        tensor = subgraph.tensors[index]
        assert tensor.data is not None
        furthest = float(tensor.data.flat[np.argmax(np.abs(tensor.data))])
        if abs(furthest) < LEAST_GAIN * limit:
            continue
        after = float(math.ceil(limit))
        values = np.where(masking(tensor), np.clip(tensor.data, -after, after), tensor.data)
        edit.set_constants(model, [mask.place for mask in masks], values)
        before = float(np.clip(furthest, -LARGEST, LARGEST))
        lowered[LoweredMask(tensor.name, before, math.copysign(after, before))] = None
    return tuple(lowered)


def _betas(model: Any, masks: Iterable[Mask]) -> dict[int, float]:
    operators = model.subgraphs[0].operators
    return {path.softmax: operators[path.softmax].builtinOptions.beta for mask in masks for path in mask.paths}


def _observe(graph: Graph, masks: Sequence[Mask], data: tuple[Path, Samples, range]) -> ObservedTensors:
    """Return the ranges of all tensors that meet a mask, and the signs of the indicators."""
    (float32, samples, calls), (subgraph, *_) = data, graph.subgraphs
    masked = passed_on(subgraph, masks)
    meeting = [operator for operator in subgraph.operators if masked & {*operator.outputs}]
    near = {index for operator in meeting for index in operator.inputs if _is_activation(subgraph, index)}
    near |= {subgraph.operators[path.softmax].inputs[0] for mask in masks for path in mask.paths}
    indicators = {index for mask in masks for path in mask.paths for index in path.indicators}
    path = _add_outputs(float32, sorted(near), sorted(indicators), samples.folder / "logits.tflite")
    run, extremes, values = Runner(path), list[np.ndarray](), dict[int, set[float]]()
    for arrays in samples.calls(calls):
        outputs = run(arrays)
        extremes.append(np.array([[outputs[f"min {index}"], outputs[f"max {index}"]] for index in sorted(near)], float))
        for index in indicators:
            values.setdefault(index, set()).update(np.unique(outputs[f"indicator {index}"]).tolist())
    path.unlink()
    lowest, highest = np.moveaxis(np.stack(extremes), 0, -1).swapaxes(0, 1)
    return ObservedTensors(
        {index: (lowest[place], highest[place]) for place, index in enumerate(sorted(near))},
        {index: _sign(values[index]) for index in indicators},
    )


def _is_activation(subgraph: Subgraph, index: int) -> bool:
    return index >= 0 and subgraph.tensors[index].dtype == "float32" and not subgraph.tensors[index].is_constant


def _sign(values: set[float]) -> float:
    others = values - {0.0}
    return 0.0 if not others else others.pop() if others in ({1.0}, {-1.0}) else math.nan


def _add_outputs(float32: Path, tensors: Sequence[int], indicators: Sequence[int], target: Path) -> Path:
    """Write the model with the extremes of the tensors, and the indicators, as its outputs. Return the path."""
    content = float32.read_bytes()
    (subgraph, *_), model = read(content).subgraphs, edit.unpack(content)
    outputs, added = {f"indicator {index}": index for index in indicators}, dict[int, list[Any]]()
    for index in tensors:
        axes = edit.add_constant(model, f"axes of {index}", np.arange(len(subgraph.tensors[index].shape)))
        for name, type_ in (("min", "REDUCE_MIN"), ("max", "REDUCE_MAX")):
            outputs[f"{name} {index}"] = index
            if subgraph.tensors[index].shape:
                outputs[f"{name} {index}"] = edit.add_tensor(model, f"{name} {index}", [])
                reduction = edit.reduction(model, type_, [index, axes], outputs[f"{name} {index}"])
                added.setdefault(index, []).append(reduction)
    edit.place_behind(model, added)
    edit.set_outputs(model, outputs)
    edit.write(model, target)
    return target


def _difference(
    report: ProgressCallback, files: tuple[Path, Path], samples: Samples, calls: Sequence[int]
) -> str | None:
    """Return how the outputs of the second file differ from those of the first, as a clause; None if they do not."""
    run, run_copy = Runner(files[0]), Runner(files[1])
    for number, arrays in enumerate(samples.calls(calls), 1):
        answers = run_copy(arrays)
        for name, expected in run(arrays).items():
            if not _is_equal(answers[name], expected):
                return (
                    f"with lower ones the output {name!r} differs on calibration samples, as it does if all values of a"
                    " row are masked. If so, let the model select the mask in place of the logits, as tf.where does,"
                    " instead of adding it"
                )
        report(number, len(calls))
    return None


def _is_equal(answer: np.ndarray, expected: np.ndarray) -> bool:
    if expected.dtype.kind != "f":
        return np.array_equal(answer, expected)
    largest = np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)
    return np.allclose(answer, expected, rtol=0, atol=TOLERANCE * float(largest), equal_nan=True)
