"""Scores of refinement configurations on hold-out calls, and the rule by which `auto` keeps one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tflq.refine.request import RefinementConfig

MIN_GAIN_DB = 0.1
"""The least gain in mean SQNR over the demanded configuration, in dB."""
SIMILAR_DB = 0.3
"""The largest loss in mean SQNR for which a simpler configuration is kept, in dB; and at most its standard error."""
MAX_HEADROOM_LOSS_DB = 1.0
"""The largest loss in mean SQNR for which headroom is kept, in dB."""
OUTLIER_RATIO, CALLS_PER_OUTLIER = 10.0, 16
"""An outlier has at least so many times the median signal, and there is at most one outlier in so many calls."""
HALF_WEIGHT_DB = 1.0
"""The standard error of the SQNR, in dB, at which an output has half the weight of one whose SQNR is certain."""
PERFECT_DB = 120.0
"""The largest SQNR in dB, which is near that of float rounding; larger values are clipped to it."""
_LARGEST = 1e300
"""The number in place of values that are not finite, which JSON cannot hold."""


@dataclass(frozen=True)
class SignalAndNoise:
    """The sums of squares of one output's float values and of its errors, for each call."""

    signal: tuple[float, ...]
    noise: tuple[float, ...]

    @staticmethod
    def of(rows: np.ndarray) -> SignalAndNoise:
        """Return the sums from rows of `metrics.errors`, [calls, 8]."""
        signal, noise = np.nan_to_num(rows[:, :2], nan=_LARGEST, posinf=_LARGEST).T.tolist()
        return SignalAndNoise(tuple(signal), tuple(noise))

    def joined(self, other: SignalAndNoise) -> SignalAndNoise:
        """Return the sums of the calls of both."""
        return SignalAndNoise(self.signal + other.signal, self.noise + other.noise)

    @property
    def sqnr_db(self) -> float:
        """The signal-to-quantization-noise ratio in dB, over all calls that are not outliers."""
        signal, noise = self._usual
        return float(_decibels(signal.sum(), noise.sum()))

    def without_each(self) -> np.ndarray:
        """Return the SQNR in dB with each call left out in turn, [calls]; nothing changes without an outlier."""
        signal, noise = self._usual
        return _decibels(signal.sum() - signal, noise.sum() - noise)

    @property
    def weight(self) -> float:
        """The weight in a mean of outputs, above 0 and at most 1.

        It is 1 / (1 + e²), where e is the standard error of the SQNR in units of HALF_WEIGHT_DB.
        """
        return 1 / (1 + (_standard_error(self.without_each()) / HALF_WEIGHT_DB) ** 2)

    @property
    def _usual(self) -> tuple[np.ndarray, np.ndarray]:
        """The sums, with 0 for outliers: a few calls whose signal is much larger than that of most calls.

        Otherwise one odd sample would decide alone, since its values are a large part of all sums.
        """
        signal, noise = np.array(self.signal), np.array(self.noise)
        largest = np.argsort(-signal, kind="stable")[: len(signal) // CALLS_PER_OUTLIER]
        outliers = largest[signal[largest] > OUTLIER_RATIO * np.median(signal)]
        signal[outliers] = noise[outliers] = 0
        return signal, noise


@dataclass(frozen=True)
class HoldoutScore:
    """The fidelity of each output on hold-out calls with one configuration."""

    config: RefinementConfig
    outputs: Mapping[str, SignalAndNoise]
    weights: Mapping[str, float] = field(default_factory=dict)
    """The weight of each output in the mean, in any unit; empty if all have the same."""

    def weighted_by(self, first: HoldoutScore) -> HoldoutScore:
        """Return the score with the weights of the outputs of the first score.

        All compared scores must have the same weights. An output to which few calls contribute has an uncertain SQNR.
        Without weights, it would decide by chance.
        """
        return replace(self, weights={name: output.weight for name, output in first.outputs.items()})

    @property
    def sqnr_db(self) -> dict[str, float]:
        """The SQNR of each output, in dB."""
        return {name: output.sqnr_db for name, output in self.outputs.items()}

    @property
    def calls(self) -> int:
        """The number of calls."""
        return len(next(iter(self.outputs.values())).signal)

    @property
    def mean(self) -> float:
        """The weighted mean of the SQNR of all outputs, in dB."""
        return float(np.average(list(self.sqnr_db.values()), weights=self._weights))

    @property
    def _weights(self) -> list[float]:
        return [self.weights.get(name, 1.0) for name in self.outputs]

    def gain_db(self, other: HoldoutScore) -> tuple[float, float]:
        """Return the gain in mean SQNR over the other score, and the standard error of the gain, both in dB."""
        without_each = [self.outputs[name].without_each() - other.outputs[name].without_each() for name in self.outputs]
        return self.mean - other.mean, _standard_error(np.average(without_each, axis=0, weights=self._weights))


def simplest(scores: Sequence[HoldoutScore], demanded: HoldoutScore) -> HoldoutScore:
    """Return the score to keep: of all that are about as near as the nearest, the one with the fewest corrections.

    About as near means that the loss is within the standard error of the paired difference, and at most SIMILAR_DB.
    Return the demanded one if no other one gains MIN_GAIN_DB on it.
    """
    best = max(scores, key=lambda score: score.mean)
    similar = [score for score in scores if _is_similar(best, score)]
    kept = min(similar, key=lambda score: (score.config.complexity, -score.mean))
    return kept if kept.mean >= demanded.mean + MIN_GAIN_DB else demanded


def prefer_headroom(kept: HoldoutScore, scores: Sequence[HoldoutScore], demanded: HoldoutScore) -> HoldoutScore:
    """Return the nearest score of the same corrections with headroom if it loses at most MAX_HEADROOM_LOSS_DB.

    Headroom is for samples that are rarer than the hold-out calls can show. It is not kept if it gains less than
    MIN_GAIN_DB on the demanded one.
    """
    nearest = max(scores, key=lambda score: score.mean, default=kept)
    is_near = nearest.mean >= kept.mean - MAX_HEADROOM_LOSS_DB
    return nearest if is_near and nearest.mean >= demanded.mean + MIN_GAIN_DB else kept


def _is_similar(best: HoldoutScore, score: HoldoutScore) -> bool:
    loss, error = best.gain_db(score)
    return loss <= min(SIMILAR_DB, error)


def _standard_error(without_each: np.ndarray) -> float:
    """Return the jackknife's standard error from the values with each call left out (Efron and Stein 1981).

    One call may make most of the noise; then the linear approximation of a ratio gives an error that is too small.
    """
    calls = len(without_each)
    return float(np.sqrt(np.square(without_each - without_each.mean()).sum() * (calls - 1) / calls))


def _decibels(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return 10·log10(signal / noise), within ±PERFECT_DB."""
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels = np.where(noise > 0, 10 * np.log10(signal / noise), PERFECT_DB)
    clipped: np.ndarray = np.clip(np.nan_to_num(decibels, nan=-PERFECT_DB), -PERFECT_DB, PERFECT_DB)
    return clipped
