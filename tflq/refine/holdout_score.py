"""Scores of refinement configurations on hold-out calls, and the rule by which `auto` selects one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflq.refine.request import RefinementConfig

MIN_GAIN_DB = 0.1
"""The least gain in mean SQNR over the first configuration, in dB."""
CLEAR_GAIN_DB = 3.0
"""The gain over the last configuration with which another is selected in place of it, in dB."""
CERTAIN_ERRORS, CERTAIN_GAIN_DB = 3.0, 0.5
"""The smaller gain that is enough if it is this number of standard errors: standard errors, dB."""
MIN_CALLS = 8
"""The least number of calls from which a standard error is estimated."""
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
        """Return the sums from rows of `metrics.errors`, [calls, 6]."""
        signal, noise = np.nan_to_num(rows[:, :2], nan=_LARGEST, posinf=_LARGEST).T.tolist()
        return SignalAndNoise(tuple(signal), tuple(noise))

    @property
    def sqnr_db(self) -> float:
        """The signal-to-quantization-noise ratio over all calls, in dB."""
        return float(_decibels(np.sum(self.signal), np.sum(self.noise)))

    def without_each(self) -> np.ndarray:
        """Return the SQNR in dB with each call left out in turn, [calls]."""
        signal, noise = np.asarray(self.signal), np.asarray(self.noise)
        return _decibels(signal.sum() - signal, noise.sum() - noise)


@dataclass(frozen=True)
class HoldoutScore:
    """The fidelity of each output on hold-out calls with one configuration."""

    config: RefinementConfig
    outputs: Mapping[str, SignalAndNoise]

    @property
    def sqnr_db(self) -> dict[str, float]:
        """The SQNR of each output, in dB."""
        return {name: output.sqnr_db for name, output in self.outputs.items()}

    @property
    def mean(self) -> float:
        """The mean SQNR of all outputs, in dB."""
        return float(np.mean(list(self.sqnr_db.values())))

    def gain_db(self, other: HoldoutScore) -> tuple[float, float]:
        """Return the gain in mean SQNR over the other score, and the standard error of the gain, both in dB."""
        without_each = [self.outputs[name].without_each() - other.outputs[name].without_each() for name in self.outputs]
        return self.mean - other.mean, _standard_error(np.mean(without_each, axis=0))

    def beats(self, other: HoldoutScore) -> bool:
        return self.mean >= other.mean + MIN_GAIN_DB

    def is_clearly_better(self, other: HoldoutScore) -> bool:
        """Whether this mean is larger by so much that more calls would very likely confirm it."""
        gain, error = self.gain_db(other)
        calls = len(next(iter(self.outputs.values())).signal)
        is_certain = calls >= MIN_CALLS and gain >= max(CERTAIN_GAIN_DB, CERTAIN_ERRORS * error)
        return gain >= CLEAR_GAIN_DB or is_certain


def best_score(scores: Sequence[HoldoutScore]) -> HoldoutScore:
    """Return the score of the configuration to keep; the first is the baseline, and the last is the full combination.

    Return the full combination if it beats the baseline and no other one is clearly better. Otherwise return the best
    one that beats the baseline. If there is none, return the baseline.

    Small differences may be noise if there are few calls, and the full combination helps most models. The rule looks at
    the mean of all outputs. A single output that is near 0 or 1 on most calls depends on a few of them.
    """
    baseline, full = scores[0], scores[-1]
    best = max(scores, key=lambda score: score.mean)
    if full.beats(baseline) and not best.is_clearly_better(full):
        return full
    return best if best.beats(baseline) else baseline


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
