"""The calibration data of a float32 file, from which the ranges of every variant are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from tflq import cache
from tflq.calibrate.histogram import Histogram
from tflq.calibrate.loop_ranges import loop_ranges
from tflq.calibrate.lower_masks import MaskReport
from tflq.calibrate.observe import Observation
from tflq.calibrate.ranges import Range, RangeMethod, ranges
from tflq.flatbuffer import Graph, mapped

_RANGES: TypeAdapter[tuple[Range, ...]] = TypeAdapter(tuple[Range, ...])
_MASKS: TypeAdapter[MaskReport | None] = TypeAdapter(MaskReport | None)
_OBSERVED, _FOUND, _REASON, _MODEL = "observed.npz", "ranges.json", "observation_obstacle.txt", "model.tflite"
_MASKS_FILE, _LOOPS, _RECURRENT_FILE = "masks.json", "loops.npz", "recurrent.json"
_OF_LOOP = ("tensors", "minima", "maxima", "is_finite")


@dataclass(frozen=True)
class ActivationStatistics:
    """The activations of the float32 file, as they were observed on the calibration samples."""

    observation: Observation
    histograms: Mapping[int, Histogram]
    """The histogram of each tensor, by its index. It counts all calls, or a few that show the effect of clipping."""
    loops: Mapping[int, Observation] = field(default_factory=dict)
    """The observation of the body of each WHILE, by the index of its subgraph."""

    def ranges(self, graph: Graph, method: RangeMethod) -> tuple[Range, ...]:
        """Return the ranges by that method, those inside loops last."""
        inside = loop_ranges(graph, self.loops, method)
        return (*ranges(graph, self.observation, self.histograms, method), *inside)


@dataclass(frozen=True)
class RecurrentForm:
    """The form of the recurrent layers in the file that is quantized."""

    is_fused: bool
    """Whether the file has fused ops where the float32 file has loops."""
    in_words: str


@dataclass(frozen=True)
class CalibrationData:
    """The statistics or the ranges of a model's activations."""

    model: Path
    statistics: ActivationStatistics | tuple[Range, ...]
    """The observed statistics, or the ranges that TensorFlow's calibrator computed."""
    observation_obstacle: str | None = None
    """The reason why tflq could not observe the activations itself, if it could not."""
    masks: MaskReport | None = None
    """The attention masks that are too large; None if there are none. If they were lowered, `model` is a copy."""
    recurrent: RecurrentForm | None = None
    """The form of the recurrent layers in `model`; None if it has none that could have another form."""

    def ranges(self, method: RangeMethod) -> tuple[Range, ...]:
        """Return the ranges by that method. If TensorFlow's calibrator computed the ranges, return those."""
        if not isinstance(self.statistics, ActivationStatistics):
            return self.statistics
        return self.statistics.ranges(mapped(self.model), method)

    def for_calls(self, calls: Sequence[int], histograms: Mapping[int, Histogram] | None = None) -> CalibrationData:
        """Return the data of those calls alone, with their histograms. Without histograms only minmax is possible."""
        assert isinstance(self.statistics, ActivationStatistics)
        part, *inside = (
            replace(whole, minima=whole.minima[list(calls)], maxima=whole.maxima[list(calls)])
            for whole in (self.statistics.observation, *self.statistics.loops.values())
        )
        loops = dict(zip(self.statistics.loops, inside, strict=True))
        return replace(self, statistics=ActivationStatistics(part, histograms or {}, loops))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        if isinstance(self.statistics, ActivationStatistics):
            _save(self.statistics, folder / _OBSERVED)
            _save_loops(self.statistics.loops, folder / _LOOPS)
        else:
            (folder / _FOUND).write_bytes(_RANGES.dump_json(self.statistics))
            (folder / _REASON).write_text(self.observation_obstacle or "", encoding="utf-8")
        (folder / _MASKS_FILE).write_bytes(_MASKS.dump_json(self.masks))
        (folder / _RECURRENT_FILE).write_bytes(_RECURRENT.dump_json(self.recurrent))
        if self._has_own_model:
            cache.link(self.model, folder / _MODEL)

    @property
    def _has_own_model(self) -> bool:
        """Whether the model is another file than the float32 file."""
        is_fused = self.recurrent is not None and self.recurrent.is_fused
        is_lowered = self.masks is not None and not self.masks.obstacle
        return self.observation_obstacle is not None or is_lowered or is_fused


_RECURRENT: TypeAdapter[RecurrentForm | None] = TypeAdapter(RecurrentForm | None)


def load_calibration_data(folder: Path, float32: Path) -> CalibrationData:
    """Return the data that was saved in the folder for that float32 file."""
    masks = _MASKS.validate_json((folder / _MASKS_FILE).read_bytes())
    recurrent = _RECURRENT.validate_json((folder / _RECURRENT_FILE).read_bytes())
    model = folder / _MODEL if (folder / _MODEL).exists() else float32
    if (folder / _OBSERVED).exists():
        statistics = replace(_load(folder / _OBSERVED), loops=_load_loops(folder / _LOOPS))
        return CalibrationData(model, statistics, masks=masks, recurrent=recurrent)
    by_tensorflow = _RANGES.validate_json((folder / _FOUND).read_bytes())
    reason = (folder / _REASON).read_text(encoding="utf-8")
    return CalibrationData(model, by_tensorflow, reason, masks, recurrent)


def _save(statistics: ActivationStatistics, path: Path) -> None:
    observation, histograms = statistics.observation, list(statistics.histograms.values())
    np.savez(
        path,
        tensors=np.array(observation.tensors),
        minima=observation.minima,
        maxima=observation.maxima,
        is_finite=observation.is_finite,
        bins=np.array([len(histogram.counts) for histogram in histograms]),
        lows=np.concatenate([histogram.lows for histogram in histograms]),
        highs=np.concatenate([histogram.highs for histogram in histograms]),
        counts=np.concatenate([histogram.counts for histogram in histograms]),
    )


def _load(path: Path) -> ActivationStatistics:
    with np.load(path, allow_pickle=False) as arrays:
        tensors = tuple(int(tensor) for tensor in arrays["tensors"])
        ends = np.cumsum(arrays["bins"])[:-1]
        columns = [np.split(arrays[name], ends) for name in ("lows", "highs", "counts")]
        return ActivationStatistics(
            Observation(tensors, arrays["minima"], arrays["maxima"], arrays["is_finite"]),
            dict(zip(tensors, map(Histogram, *columns), strict=True)),
        )


def _save_loops(loops: Mapping[int, Observation], path: Path) -> None:
    parts = {
        f"{body} {name}": np.asarray(getattr(observation, name))
        for body, observation in loops.items()
        for name in _OF_LOOP
    }
    np.savez(path, allow_pickle=False, **parts)


def _load_loops(path: Path) -> dict[int, Observation]:
    with np.load(path, allow_pickle=False) as arrays:
        bodies = dict.fromkeys(int(name.split()[0]) for name in arrays.files)
        parts = {body: [arrays[f"{body} {name}"] for name in _OF_LOOP] for body in bodies}
    return {
        body: Observation(tuple(tensors.tolist()), minima, maxima, is_finite)
        for body, (tensors, minima, maxima, is_finite) in parts.items()
    }
