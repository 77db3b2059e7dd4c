"""What was tried, and whether calls that had no part in it show that it is nearer to the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tflq.refine.request import RefinementConfig

MIN_GAIN_DB = 0.1
"""What has to be won, in the mean of all outputs."""
CLEAR_GAIN_DB = 3.0
"""How much nearer less of it has to come than all of it."""
CERTAIN_ERRORS, CERTAIN_GAIN_DB = 3.0, 0.5
"""Or how many standard errors nearer, and by how much then."""
MIN_CALLS = 8
"""Calls that tell a standard error."""
PERFECT_DB = 120.0
"""Float rounding is near it; what is beyond counts as that."""
_LARGEST = 1e300
"""In place of what is not finite, which JSON cannot hold."""


@dataclass(frozen=True)
class SignalAndNoise:
    """Of one output, on each call: the sum of squares of the float model's values, and of the errors."""

    signal: tuple[float, ...]
    noise: tuple[float, ...]

    @staticmethod
    def of(rows: np.ndarray) -> SignalAndNoise:
        """From rows of `metrics.errors`, [calls, 6]."""
        signal, noise = np.nan_to_num(rows[:, :2], nan=_LARGEST, posinf=_LARGEST).T.tolist()
        return SignalAndNoise(tuple(signal), tuple(noise))

    @property
    def sqnr_db(self) -> float:
        return float(_decibels(np.sum(self.signal), np.sum(self.noise)))

    def without_each(self) -> np.ndarray:
        """The SQNR in dB with each call left out in turn, [calls]."""
        signal, noise = np.asarray(self.signal), np.asarray(self.noise)
        return _decibels(signal.sum() - signal, noise.sum() - noise)


@dataclass(frozen=True)
class HoldoutScore:
    """One thing that was tried, and how near each output came."""

    config: RefinementConfig
    outputs: Mapping[str, SignalAndNoise]

    @property
    def sqnr_db(self) -> dict[str, float]:
        return {name: output.sqnr_db for name, output in self.outputs.items()}

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.sqnr_db.values())))

    def gain_db(self, other: HoldoutScore) -> tuple[float, float]:
        """How much nearer all outputs are here than there, in the mean, and the standard error of that."""
        without_each = [self.outputs[name].without_each() - other.outputs[name].without_each() for name in self.outputs]
        return self.mean - other.mean, _standard_error(np.mean(without_each, axis=0))

    def beats(self, other: HoldoutScore) -> bool:
        return self.mean >= other.mean + MIN_GAIN_DB

    def is_clearly_better(self, other: HoldoutScore) -> bool:
        """Whether it is nearer by so much that more calls would show the same."""
        gain, error = self.gain_db(other)
        calls = len(next(iter(self.outputs.values())).signal)
        is_certain = calls >= MIN_CALLS and gain >= max(CERTAIN_GAIN_DB, CERTAIN_ERRORS * error)
        return gain >= CLEAR_GAIN_DB or is_certain


def best_score(attempts: Sequence[HoldoutScore]) -> HoldoutScore:
    """The last, which does most, where it beats the first; or the nearest where that is nearer by far; or the first.

    Small differences are chance where calls are few, and what helps most models is the better guess. No single output
    has a veto: one that is near 0 or 1 on most calls depends on a few of them, whatever its standard error.
    """
    first, most = attempts[0], attempts[-1]
    nearest = max(attempts, key=lambda one: one.mean)
    if most.beats(first) and not nearest.is_clearly_better(most):
        return most
    return nearest if nearest.beats(first) else first


def _standard_error(without_each: np.ndarray) -> float:
    """The jackknife's, from what was found without each call in turn, [calls] (Efron and Stein 1981).

    One call may make most of the noise, and then the linear form of the ratio is too sure.
    """
    calls = len(without_each)
    return float(np.sqrt(np.square(without_each - without_each.mean()).sum() * (calls - 1) / calls))


def _decibels(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """10·log10(signal / noise), within ±PERFECT_DB."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(noise > 0, 10 * np.log10(signal / noise), PERFECT_DB)
    clipped: np.ndarray = np.clip(np.nan_to_num(found, nan=-PERFECT_DB), -PERFECT_DB, PERFECT_DB)
    return clipped
