"""All that calibration knows of a float model, from which the ranges of every variant are taken; kept in one folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from tflq.calibrate.histogram import Histogram
from tflq.calibrate.observe import Observation
from tflq.calibrate.ranges import Range, RangeMethod, ranges
from tflq.flatbuffer import load

_RANGES: TypeAdapter[tuple[Range, ...]] = TypeAdapter(tuple[Range, ...])
_OBSERVED, _FOUND, _REASON, _MODEL = "observed.npz", "ranges.json", "observation_obstacle.txt", "model.tflite"


@dataclass(frozen=True)
class ActivationStatistics:
    """The activations of the float32 file, observed from within."""

    observation: Observation
    histograms: Mapping[int, Histogram]
    """How the values of each tensor are spread, over all calls, or over a few that show what clipping would do."""


@dataclass(frozen=True)
class CalibrationData:
    """Ranges, and the model that they are of."""

    model: Path
    found: ActivationStatistics | tuple[Range, ...]
    """The ranges themselves where TensorFlow's calibrator found them."""
    observation_obstacle: str | None = None
    """Why the activations could not be observed from within."""

    def ranges(self, span: RangeMethod) -> tuple[Range, ...]:
        """As TensorFlow's calibrator found them where it did."""
        if not isinstance(self.found, ActivationStatistics):
            return self.found
        return ranges(load(self.model), self.found.observation, self.found.histograms, span)

    def of(self, calls: Sequence[int], histograms: Mapping[int, Histogram] | None = None) -> CalibrationData:
        """What those calls alone show, of which the histograms are; without any there are no ranges but minmax."""
        assert isinstance(self.found, ActivationStatistics)
        seen = self.found.observation
        part = replace(seen, minima=seen.minima[list(calls)], maxima=seen.maxima[list(calls)])
        return replace(self, found=ActivationStatistics(part, histograms or {}))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        if isinstance(self.found, ActivationStatistics):
            _save(self.found, folder / _OBSERVED)
        else:
            (folder / _FOUND).write_bytes(_RANGES.dump_json(self.found))
            (folder / _REASON).write_text(self.observation_obstacle or "", encoding="utf-8")
            shutil.copy(self.model, folder / _MODEL)


def load_calibration_data(folder: Path, float32: Path) -> CalibrationData:
    """What was saved in the folder, of that float32 file."""
    if (folder / _OBSERVED).exists():
        return CalibrationData(float32, _load(folder / _OBSERVED))
    found = _RANGES.validate_json((folder / _FOUND).read_bytes())
    return CalibrationData(folder / _MODEL, found, (folder / _REASON).read_text(encoding="utf-8"))


def _save(observed: ActivationStatistics, path: Path) -> None:
    seen, spread = observed.observation, list(observed.histograms.values())
    np.savez(
        path,
        tensors=np.array(seen.tensors),
        minima=seen.minima,
        maxima=seen.maxima,
        is_finite=seen.is_finite,
        mean_tensors=np.array(list(seen.means), int),
        channels=np.array([len(mean) for mean in seen.means.values()], int),
        means=np.concatenate([*seen.means.values(), np.zeros(0)]),
        bins=np.array([len(one.counts) for one in spread]),
        lows=np.concatenate([one.lows for one in spread]),
        highs=np.concatenate([one.highs for one in spread]),
        counts=np.concatenate([one.counts for one in spread]),
    )


def _load(path: Path) -> ActivationStatistics:
    with np.load(path, allow_pickle=False) as held:
        tensors = tuple(int(tensor) for tensor in held["tensors"])
        means = np.split(held["means"], np.cumsum(held["channels"])[:-1])
        ends = np.cumsum(held["bins"])[:-1]
        columns = [np.split(held[name], ends) for name in ("lows", "highs", "counts")]
        return ActivationStatistics(
            Observation(
                tensors,
                held["minima"],
                held["maxima"],
                dict(zip(held["mean_tensors"].tolist(), means, strict=False)),
                held["is_finite"],
            ),
            dict(zip(tensors, map(Histogram, *columns), strict=True)),
        )
